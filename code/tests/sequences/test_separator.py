"""Conv-TasNet's separator: the released one, its norms, its siblings."""

import pytest
import torch
import torch.nn.functional as F
from references import assert_equal, filled, sensitivity, sequence

from atrous.arithmetic import receptive_field
from atrous.sequences.residual_unit import unit_windows
from atrous.sequences.separator import (
    Separator,
    SeparatorBlock,
    separator_plan,
)
from atrous.sequences.sequence_norms import (
    NORMS,
    ChannelNorm,
    CumulativeNorm,
    GlobalNorm,
)

SMALL = {"bottleneck": 4, "hidden": 6, "blocks": 3, "repeats": 2}


@torch.no_grad()
def test_the_network_is_the_released_one():
    options = {"bottleneck": 16, "hidden": 32, "blocks": 4, "repeats": 2}
    network, outputs = filled(Separator(24, **options), "convtasnet_tcn_gln")
    x = sequence(24, 140).relu()
    assert_equal(network.scores(x), outputs["score_len140"])
    assert_equal(network(x), outputs["mask_len140"])
    assert receptive_field(network.windows) == 61


@pytest.mark.parametrize(("repeats", "field"), [(3, 1531), (4, 2041)])
def test_fields(repeats, field):
    plan = separator_plan(4, 4, repeats=repeats)
    assert receptive_field(unit_windows(plan)) == field


# ---- normalisation, by definition


def random_norm(kind, channels):
    norm = NORMS[kind](channels).double()
    torch.nn.init.normal_(norm.gamma)
    torch.nn.init.normal_(norm.beta)
    return norm


def standardised(x, part):
    """x minus the mean of a part of it, by the deviation of that part."""
    variance = (part - part.mean()).square().mean()
    return (x - part.mean()) / (variance + 1e-8) ** 0.5


@pytest.mark.parametrize("kind", NORMS)
@torch.no_grad()
def test_norms_by_definition(kind):
    norm = random_norm(kind, 3)
    x = 2 + torch.randn(2, 3, 7, dtype=torch.float64)
    seen = {
        "global": lambda b, t: x[b],
        "channel": lambda b, t: x[b, :, t],
        "cumulative": lambda b, t: x[b, :, : t + 1],
    }[kind]
    expected = torch.empty_like(x)
    for b in range(2):
        for t in range(7):
            y = standardised(x[b, :, t], seen(b, t))
            expected[b, :, t] = norm.gamma[0, :, 0] * y + norm.beta[0, :, 0]
    torch.testing.assert_close(norm(x), expected)
    # What is left of a constant's variance may be rounded below 0.
    constant = torch.full((1, 3, 9), 1e6 / 3, dtype=torch.float64)
    assert norm(constant).isfinite().all()


def test_which_norms_are_causal():
    x = torch.randn(1, 3, 9, dtype=torch.float64)
    seen = {
        kind: (sensitivity(random_norm(kind, 3), x, 4) > 0).tolist()
        for kind in NORMS
    }
    assert seen["global"] == [True] * 9
    assert seen["cumulative"] == [True] * 5 + [False] * 4
    assert seen["channel"] == [t == 4 for t in range(9)]


# ---- siblings


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("skip", [None, 5])
@torch.no_grad()
def test_blocks_by_definition(causal, norm, skip):
    kernel, rate = 3, 4
    plan = separator_plan(4, 6, kernel=kernel, blocks=3, causal=causal)[2]
    block = SeparatorBlock(plan, 4, norm=norm, skip=skip).double()
    x = torch.randn(2, 4, 30, dtype=torch.float64)
    (wide, prelu1, norm1), (deep, prelu2, norm2) = block.inner
    y = norm1(prelu1(torch.einsum("bct,oc->bot", x, wide.weight[..., 0])))
    y = F.pad(y, (2 * rate, 0) if causal else (rate, rate))
    taps = [
        deep.weight[:, 0, j, None] * y[..., j * rate : j * rate + 30]
        for j in range(kernel)
    ]
    y = norm2(prelu2(sum(taps)))
    on, found = block(x)
    torch.testing.assert_close(on, x + block.residual(y))
    assert isinstance(norm1, NORMS[norm])
    if skip is None:
        assert found is None
    else:
        torch.testing.assert_close(found, block.skip(y))


@torch.no_grad()
def test_skips_are_summed_and_make_the_scores():
    network = Separator(5, skip=3, mask="sigmoid", **SMALL).double()
    x = torch.randn(1, 5, 20, dtype=torch.float64)
    y, skips = network.first(network.norm(x)), []
    for block in network.blocks:
        y, skip = block(y)
        skips.append(skip)
    total = F.prelu(torch.stack(skips).sum(0), network.prelu.weight)
    scores = network.last(total)
    torch.testing.assert_close(network.scores(x), scores)
    expected = torch.sigmoid(scores).view(1, 2, 5, 20)
    torch.testing.assert_close(network(x), expected)
    softmax = Separator(5, 3, mask="softmax", **SMALL)
    masks = softmax(x.float())
    assert masks.shape == (1, 3, 5, 20)
    torch.testing.assert_close(masks.sum(1), torch.ones(1, 5, 20))


@pytest.mark.parametrize("skip", [None, 3])
def test_a_step_reaches_every_weight(skip):
    network = Separator(5, skip=skip, **SMALL)
    network.scores(torch.randn(2, 5, 12)).square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("norm", ["cumulative", "channel"])
def test_causal_networks_see_nothing_later(norm):
    network = Separator(3, causal=True, norm=norm, kernel=2, **SMALL).double()
    field = receptive_field(network.windows)
    assert field == 15
    x = torch.randn(1, 3, 30, dtype=torch.float64)
    found = sensitivity(network.scores, x, 20)
    assert not found[21:].any()
    assert (found[21 - field : 21] > 0).all()
    # The running mean reaches back to the first frame.
    assert found[: 21 - field].any() == (norm == "cumulative")


def test_kinds():
    network = Separator(5, **SMALL)
    assert isinstance(network.norm, ChannelNorm)
    assert isinstance(network.blocks[0].inner[0][2], GlobalNorm)
    network = Separator(5, causal=True, norm="cumulative", **SMALL)
    assert isinstance(network.blocks[0].inner[1][2], CumulativeNorm)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Separator(0), "filters=0"),
        (lambda: Separator(speakers=0), "speakers=0"),
        (lambda: Separator(bottleneck=0), "bottleneck=0"),
        (lambda: Separator(hidden=0), "hidden=0"),
        (lambda: Separator(blocks=0), "blocks=0"),
        (lambda: Separator(repeats=0), "repeats=0"),
        (lambda: Separator(kernel=1), "kernel=1"),
        (lambda: Separator(kernel=2), "effective kernel 2 is even"),
        (lambda: Separator(causal=True), "causal=True, norm='global'"),
        (lambda: Separator(norm="batch"), "norm='batch'"),
        (lambda: Separator(mask="tanh"), "mask='tanh': .*'sigmoid'"),
        (lambda: Separator(skip=0), "skip=0"),
        (
            lambda: Separator(4, **SMALL)(torch.zeros(1, 4, 0)),
            "T at least 1",
        ),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
