"""Class-balanced cross-entropy: by hand, what weighs nothing, gradients."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atrous.edges.losses import balanced_cross_entropy, deep_supervision


def draw(seed, batch=2, outputs=3, size=(4, 5)):
    """Logits, and labels of five annotators, half of them 0."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, outputs, *size, generator=g).double()
    labels = torch.randint(-5, 6, (batch, *size), generator=g).clamp(min=0) / 5
    return logits, labels


def by_hand(logits, labels, eta, negative):
    """Pixel by pixel, in Python's own numbers."""
    total = 0.0
    for z, gt in zip(logits.tolist(), labels.tolist(), strict=True):
        pixels = [v for row in gt for v in row]
        edges = sum(v >= eta for v in pixels)
        others = sum(v == 0 for v in pixels)
        for score, v in zip(
            (s for row in z for s in row), pixels, strict=True
        ):
            p = 1 / (1 + math.exp(-score))
            if v >= eta:
                total -= others / (edges + others) * math.log(p)
            elif v == 0:
                weight = negative * edges / (edges + others)
                total -= weight * math.log(1 - p)
    return total / len(logits)


@given(st.integers(0, 99), st.sampled_from([0.2, 0.5, 0.6, 1.0]))
def test_loss_by_hand(seed, eta):
    logits, labels = draw(seed)
    found = balanced_cross_entropy(logits, labels, eta=eta, negative=1.3)
    assert found.shape == (3,)
    for k, loss in enumerate(found.tolist()):
        expected = by_hand(logits[:, k], labels, eta, 1.3)
        assert loss == pytest.approx(expected, rel=1e-12)


def test_defaults_are_the_published_ones():
    logits, labels = draw(3, outputs=11)
    losses = [by_hand(logits[:, k], labels, 0.5, 1.1) for k in range(11)]
    found = balanced_cross_entropy(logits, labels).tolist()
    assert found == pytest.approx(losses)
    expected = 0.5 * sum(losses[:10]) + 1.1 * losses[10]
    assert deep_supervision(logits, labels).item() == pytest.approx(expected)


def test_deep_supervision_weighs_the_fusion_and_passes_the_rest_on():
    logits, labels = draw(5)
    losses = balanced_cross_entropy(logits, labels, eta=0.9, negative=1)
    found = deep_supervision(
        logits, labels, side=2, fusion=3, eta=0.9, negative=1
    )
    expected = 2 * (losses[0] + losses[1]) + 3 * losses[2]
    assert found.item() == pytest.approx(expected.item())


def test_doubtful_pixels_have_no_gradient_and_classes_balance():
    """At logit 0 the gradients of edges and of others cancel, up to 1.1."""
    _, labels = draw(7)
    logits = torch.zeros(2, 1, 4, 5, dtype=torch.double, requires_grad=True)
    balanced_cross_entropy(logits, labels).sum().backward()
    gradient = logits.grad[:, 0]
    doubtful = (labels > 0) & (labels < 0.5)
    assert doubtful.any()
    assert (gradient[doubtful] == 0).all()
    assert (gradient[labels >= 0.5] < 0).all()
    assert (gradient[labels == 0] > 0).all()
    for each in gradient:
        up, down = -each[each < 0].sum().item(), each[each > 0].sum().item()
        assert down == pytest.approx(1.1 * up)


@pytest.mark.parametrize("value", [0.0, 0.2, 1.0])
def test_pictures_of_one_kind_weigh_nothing(value):
    logits, labels = draw(0)
    labels = torch.full_like(labels, value)
    assert balanced_cross_entropy(logits, labels).tolist() == [0, 0, 0]


def test_labels_may_be_boolean_and_logits_large():
    logits, labels = draw(1)
    edges = labels >= 0.5
    expected = balanced_cross_entropy(logits, edges.double())
    found = balanced_cross_entropy(logits, edges)
    torch.testing.assert_close(found, expected)
    large = balanced_cross_entropy(1e4 * logits.float(), edges)
    assert large.isfinite().all()
    assert large.dtype == torch.float32


LOGITS, LABELS = draw(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: balanced_cross_entropy(LOGITS, LABELS[:1]),
            r"\(2, 3, 4, 5\).*\(1, 4, 5\)",
        ),
        (lambda: balanced_cross_entropy(LOGITS[0], LABELS), r"\(3, 4, 5\)"),
        (lambda: balanced_cross_entropy(LOGITS, LABELS, eta=0), "eta=0"),
        (lambda: balanced_cross_entropy(LOGITS, LABELS, eta=1.1), "eta=1.1"),
        (lambda: balanced_cross_entropy(LOGITS, 255 * LABELS), "255.0"),
        (lambda: balanced_cross_entropy(LOGITS, LABELS - 1), "-1.0"),
        (lambda: balanced_cross_entropy(LOGITS, LABELS * torch.nan), "nan"),
        (lambda: deep_supervision(LOGITS, LABELS, eta=2), "eta=2"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
