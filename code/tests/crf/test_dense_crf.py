import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage import data, transform

from atrous.crf.dense_crf import dense_crf, dense_crf_exact

SETTINGS = {"w1": 4.0, "sigma_alpha": 30.0, "sigma_beta": 6.0}
FORMS = (dense_crf, dense_crf_exact)
names = [form.__name__ for form in FORMS]


def case(h=24, w=32, labels=4, seed=0):
    """Noisy probabilities, and a small picture of floats."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(labels, h, w, generator=generator).double()
    small = transform.resize(data.astronaut(), (h, w), anti_aliasing=True)
    return logits.softmax(0), torch.from_numpy(small)


@pytest.mark.parametrize("form", FORMS, ids=names)
@pytest.mark.parametrize("channels", [1, 3])
def test_definition(form, channels):
    """Three iterations written out, pixel by pixel, with numbers by hand."""
    p, image = case(4, 5, 3)
    image = image[..., :channels]
    q = p.flatten(1).T
    places = torch.tensor([[r, c] for r in range(4) for c in range(5)])
    places = places.double()
    near = (places[:, None] - places).square().sum(-1)
    alike = (image.flatten(0, 1)[:, None] - image.flatten(0, 1)) * 255
    alike = alike.square().sum(-1)
    log_p = q.log()
    for _ in range(3):
        total = log_p
        for weight, exponent in (
            (5, near / (2 * 7**2) + alike / (2 * 40**2)),
            (2, near / (2 * 1.5**2)),
        ):
            kernel = (-exponent).exp()
            norm = kernel.sum(1).sqrt()
            total = total + weight * (kernel / norm / norm[:, None]) @ q
        q = total.exp() / total.exp().sum(1, keepdim=True)
    out = form(
        p,
        image,
        w1=5,
        sigma_alpha=7,
        sigma_beta=40,
        w2=2,
        sigma_gamma=1.5,
        iterations=3,
    )
    tolerance = 1e-12 if form is dense_crf_exact else 0.12
    torch.testing.assert_close(
        out, q.T.reshape(p.shape), rtol=0, atol=tolerance
    )


@pytest.mark.parametrize("seed", range(3))
def test_lattice_is_near_exact(seed):
    """On smooth scores; measured: 0.985 or more, 0.0097 or less."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 4, 4, 5, generator=generator).double()
    fine = torch.nn.functional.interpolate(coarse, (40, 56), mode="bicubic")
    p, image = (2 * fine[0]).softmax(0), case(40, 56)[1]
    ours = dense_crf(p, image, **SETTINGS)
    exact = dense_crf_exact(p, image, **SETTINGS)
    same = (ours.argmax(0) == exact.argmax(0)).double().mean()
    off = (ours - exact).abs().mean()
    assert same > 0.98, (same, off)
    assert off < 0.011, (same, off)


def test_defaults_are_deeplabs():
    p, image = case()
    stated = dense_crf(
        p, image, **SETTINGS, w2=3, sigma_gamma=3, iterations=10
    )
    assert torch.equal(stated, dense_crf(p, image, **SETTINGS))


@pytest.mark.parametrize("form", FORMS, ids=names)
def test_forms_of_the_inputs(form):
    p, image = case(6, 9)
    out = form(p, image, **SETTINGS)
    assert out.shape == p.shape
    assert out.dtype == p.dtype
    torch.testing.assert_close(out.sum(0), torch.ones(6, 9).double())
    levels = (image * 255).round().byte()
    close = {"rtol": 0, "atol": 1e-12}
    torch.testing.assert_close(
        form(p, levels, **SETTINGS),
        form(p, levels.double() / 255, **SETTINGS),
        **close,
    )
    torch.testing.assert_close(
        form(p.log() + 7, image, **SETTINGS, logits=True), out, **close
    )
    grey = image.mean(-1)
    torch.testing.assert_close(
        form(p, grey, **SETTINGS), form(p, grey[..., None], **SETTINGS)
    )
    turned = form(p.flip(0).roll(1, 0), image, **SETTINGS)
    torch.testing.assert_close(turned, out.flip(0).roll(1, 0), **close)
    other, view = p.flip(1), image.flip(1)
    both = form(
        torch.stack([p, other]), torch.stack([image, view]), **SETTINGS
    )
    torch.testing.assert_close(both[0], out, **close)
    torch.testing.assert_close(both[1], form(other, view, **SETTINGS), **close)
    single = form(p.float(), image.float(), **SETTINGS)
    torch.testing.assert_close(single, out.float(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("form", FORMS, ids=names)
def test_nothing_changes_without_iterations_or_weights(form):
    p, image = case(6, 9)
    torch.testing.assert_close(form(p, image, **SETTINGS, iterations=0), p)
    off = SETTINGS | {"w1": 0, "w2": 0}
    torch.testing.assert_close(form(p, image, **off), p)


@given(scale=st.sampled_from([0.25, 0.5]), seed=st.integers(0, 5))
def test_colours_and_their_width_scale_together(scale, seed):
    p, image = case(5, 7, seed=seed)
    narrow = SETTINGS | {"sigma_beta": 6 * scale}
    torch.testing.assert_close(
        dense_crf(p, image * scale, **narrow),
        dense_crf(p, image, **SETTINGS),
        rtol=0,
        atol=1e-9,
    )


def test_edges_of_the_picture_hold():
    """Noisy labels of two flat halves become those of the halves."""
    truth = torch.zeros(20, 30, dtype=torch.long)
    truth[:, 13:] = 1
    generator = torch.Generator().manual_seed(0)
    wrong = torch.rand(20, 30, generator=generator) < 0.2
    p = torch.where((truth == 1) ^ wrong, 0.7, 0.3)
    out = dense_crf(torch.stack([1 - p, p]), truth.float(), **SETTINGS)
    assert wrong.any()
    assert torch.equal(out.argmax(0), truth)


@pytest.mark.parametrize("form", FORMS, ids=names)
def test_gradients(form):
    p, image = case(3, 4, 2)
    logits = p.log().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: form(x.softmax(0), image, **SETTINGS, iterations=2), logits
    )


def test_certain_labels_have_finite_gradients():
    p, image = case(4, 4, 2)
    certain = (p > 0.5).double().requires_grad_()
    out = dense_crf(certain, image, **SETTINGS)
    out.square().sum().backward()
    assert out.isfinite().all()
    assert certain.grad.isfinite().all()


@pytest.mark.parametrize("form", FORMS, ids=names)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"w1": -1}, "w1=-1"),
        ({"w2": float("nan")}, "w2=nan"),
        ({"sigma_alpha": 0}, "sigma_alpha=0"),
        ({"sigma_beta": -2}, "sigma_beta=-2"),
        ({"sigma_gamma": float("inf")}, "sigma_gamma=inf"),
        ({"iterations": -1}, "iterations=-1"),
        ({"probabilities": torch.ones(4, 5)}, r"shape \(4, 5\)"),
        ({"probabilities": torch.ones(2, 4, 5).half()}, "float16"),
        ({"probabilities": torch.ones(2, 4, 5)}, "within 1 over C"),
        ({"probabilities": -torch.ones(2, 4, 5)}, "probabilities hold -1"),
        ({"probabilities": torch.ones(2, 4, 5) / 0 * 0}, "hold nan"),
        ({"probabilities": torch.ones(2, 4, 5) / 0}, "within inf"),
        (
            {"probabilities": torch.ones(2, 4, 5) / 0, "logits": True},
            "nan or inf",
        ),
        (
            {"probabilities": torch.ones(1, 4, 5)},
            r"shape \(1, 4, 5\): one class .* torch.stack\(\[0 \* z, z\]\)",
        ),
        ({"image": torch.zeros(5, 4, 3)}, r"image of shape \(5, 4, 3\)"),
        ({"image": torch.zeros(3, 4, 5)}, r"image of shape \(3, 4, 5\)"),
        ({"image": torch.zeros(4, 5, 4)}, r"image of shape \(4, 5, 4\)"),
        ({"image": torch.zeros(4, 5).long()}, r"image of torch\.int64"),
        ({"image": torch.full((4, 5), 255.0)}, "floats from 255 to 255"),
        ({"image": torch.full((4, 5), torch.nan)}, "floats from nan"),
    ],
)
def test_wrong_arguments_are_named(form, changes, message):
    right = {
        "probabilities": torch.full((2, 4, 5), 0.5),
        "image": torch.zeros(4, 5, 3),
    }
    with pytest.raises(ValueError, match=message):
        form(**(right | SETTINGS | changes))


def test_a_sigma_too_small_for_the_type_is_named():
    image = torch.rand(9, 9, 3, generator=torch.Generator().manual_seed(0))
    p, tiny = torch.full((2, 9, 9), 0.5), SETTINGS | {"sigma_beta": 1e-6}
    with pytest.raises(ValueError, match=r"too far for torch.float32.* sigma"):
        dense_crf(p, image, **tiny)
    tiny["sigma_beta"] = 0.1
    assert dense_crf(p, image, **tiny).isfinite().all()


def test_one_logit_against_a_background_of_zero():
    p, image = case(5, 7, 2)
    z = p[1].log() - p[0].log()
    both = torch.stack([0 * z, z])
    torch.testing.assert_close(
        dense_crf(both, image, logits=True, **SETTINGS),
        dense_crf(p, image, **SETTINGS),
    )


def test_arrays_of_numpy():
    p, image = case(5, 7, 2)
    found = dense_crf(p.numpy(), image.numpy(), **SETTINGS)
    assert torch.equal(found, dense_crf(p, image, **SETTINGS))


def test_the_exact_form_refuses_large_pictures():
    p = torch.full((2, 65, 64), 0.5)
    with pytest.raises(ValueError, match="at most 4096 pixels"):
        dense_crf_exact(p, torch.zeros(65, 64), **SETTINGS)
