"""DCLS: the references, each form by its definition, where taps may go."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from references import assert_equal, assert_same_state, count, record
from torch import nn

from atrous.experiments.parity import reference_fill_, reference_input
from atrous.large_kernels.dcls import VERSIONS, DCLSConv2d


def layer(version, *, taps=3, size=7, channels=2, **options):
    options = {"groups": channels, "bias": False, **options}
    found = DCLSConv2d(
        channels, channels, taps=taps, size=size, version=version, **options
    )
    return found.double()


def put_(module, rows, columns):
    """Taps at these places, from the centre."""
    first = (rows, columns) if module.version == "v0" else (columns, rows)
    places = [torch.tensor(axis, dtype=torch.float64) for axis in first]
    with torch.no_grad():
        module.P.copy_(torch.stack(places)[:, None, None].expand_as(module.P))
    return module


@pytest.mark.parametrize(
    ("version", "channels", "taps", "size", "side"),
    [
        ("v0", 8, 5, (30, 34), 7),
        ("v1", 16, 9, (40, 48), 17),
        ("gauss", 16, 26, (40, 48), 17),
    ],
)
@torch.no_grad()
def test_forms_are_the_released_ones(version, channels, taps, size, side):
    reference = record(f"dcls2d_{version}_{channels}_n{taps}_s{side}")
    module = layer(version, taps=taps, size=side, channels=channels, bias=True)
    assert_same_state(module, reference)
    reference_fill_(module)
    # Places are filled over the whole kernel, and SIG without a factor.
    factor = (module.P[0].numel() / 24) ** 0.5
    module.P.mul_(factor * 2 * (side // 2))
    if version == "gauss":
        module.SIG.mul_(factor)
    assert_equal(module.kernel(), reference["outputs"]["built_kernel"])
    x = reference_input(1, channels, *size)
    expected = reference["outputs"][f"out_{size[0]}x{size[1]}"]
    assert_equal(module(x), expected)


# ---- each form by its definition


def share(version, distance, sig):
    if version == "gauss":
        return math.exp(-((distance / (abs(sig) + 0.27)) ** 2) / 2)
    width = 1 + (abs(sig) if version == "max" else 0)
    return max(width - abs(distance), 0)


def defined(module, o, c):
    """One kernel of a module, tap by tap and pixel by pixel."""
    height, width = module.size
    row, column = (0, 1) if module.version == "v0" else (1, 0)
    kernel = torch.zeros(height, width, dtype=torch.float64)
    for n, weight in enumerate(module.weight[o, c].tolist()):
        y, x = (module.P[i, o, c, n].item() for i in (row, column))
        sigs = [0, 0]
        if hasattr(module, "SIG"):
            sigs = [module.SIG[i, o, c, n].item() for i in (row, column)]
        shares = torch.tensor(
            [
                [
                    share(module.version, i - height // 2 - y, sigs[0])
                    * share(module.version, j - width // 2 - x, sigs[1])
                    for j in range(width)
                ]
                for i in range(height)
            ],
            dtype=torch.float64,
        )
        if module.version != "v0":
            shares = shares / (shares.sum() + 1e-7)
        kernel += weight * shares
    return kernel


@given(
    st.sampled_from(VERSIONS),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 9),
)
@torch.no_grad()
def test_kernels_by_their_definition(version, height, width, seed):
    """Of any sides: each place is measured from the middle of its axis."""
    module = layer(version, size=(height, width), padding=0, groups=1)
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.normal_(std=1.5, generator=generator)
    kernel = module.kernel()
    assert kernel.shape == (2, 2, height, width)
    for o in range(2):
        for c in range(2):
            expected = defined(module, o, c)
            torch.testing.assert_close(kernel[o, c], expected)


@pytest.mark.parametrize("version", VERSIONS)
@torch.no_grad()
def test_a_tall_kernel_has_its_taps_in_its_centre(version):
    """Released, 7 x 3 with places 0 is all zeros in v1."""
    module = put_(layer(version, size=(7, 3), taps=1), [0], [0])
    nn.init.ones_(module.weight)
    kernel = module.kernel()[0, 0]
    assert kernel.argmax() == 3 * 3 + 1
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    # One down and one to the left of it.
    kernel = put_(module, [1], [-1]).kernel()[0, 0]
    assert kernel.argmax() == 4 * 3 + 0


@torch.no_grad()
def test_the_first_places_are_columns_but_in_v0():
    for version in VERSIONS:
        module = layer(version, taps=1, size=9)
        nn.init.ones_(module.weight)
        module.P[0], module.P[1] = 3, 0
        kernel = module.kernel()[0, 0]
        row, column = divmod(kernel.argmax().item(), 9)
        expected = (7, 4) if version == "v0" else (4, 7)
        assert (row, column) == expected, version


@torch.no_grad()
def test_v1_is_v0_where_a_tap_lies_inside():
    """Both are bilinear. On the border v1 gives a cut tap its full weight."""
    rows, columns = [0.3, -1.6, 2.0], [2.9, -0.4, -3.0]
    modules = [put_(layer(v), rows, columns) for v in ("v0", "v1")]
    modules[1].weight.copy_(modules[0].weight)
    one, other = (m.kernel() for m in modules)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    for module in modules:
        put_(module, [3.5, 0, 0], [0, 0, 0])  # beyond the last pixel, 3
    sums = [m.kernel().sum((2, 3)) / m.weight.sum(2) for m in modules]
    assert sums[0].min() != pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(
        sums[1], torch.ones_like(sums[1]), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("version", ["v0", "v1", "max"])
@pytest.mark.parametrize("rate", [1, 2, 3])
@torch.no_grad()
def test_taps_on_a_grid_are_a_dilated_convolution(version, rate):
    """Fixed spacing is a special case, in all but the Gaussian."""
    module = layer(version, taps=9, size=2 * rate + 1)
    grid = torch.cartesian_prod(*[torch.arange(-rate, rate + 1, rate)] * 2)
    put_(module, grid[:, 0].tolist(), grid[:, 1].tolist())
    x = torch.randn(1, 2, 12, 11, dtype=torch.float64)
    weight = module.weight.unflatten(2, (3, 3))
    expected = F.conv2d(x, weight, padding=rate, dilation=rate, groups=2)
    torch.testing.assert_close(module(x), expected, rtol=1e-6, atol=1e-6)


# ---- training


@pytest.mark.parametrize("version", VERSIONS)
def test_gradients(version):
    module = layer(version, bias=True)
    names = [name for name, _ in module.named_parameters()]
    x = torch.randn(1, 2, 6, 5, dtype=torch.float64, requires_grad=True)

    def call(x, *values):
        state = dict(zip(names, values, strict=True))
        return torch.func.functional_call(module, state, (x,))

    values = [p + 0.05 for p in module.parameters()]  # SIG is not at a kink
    assert torch.autograd.gradcheck(
        call, (x, *(v.detach().requires_grad_() for v in values))
    )


@pytest.mark.parametrize(("version", "pixels"), [("v1", 4), ("gauss", 49)])
def test_how_far_a_tap_feels_a_gradient(version, pixels):
    """Bilinear: from its four neighbours only. A wide Gaussian: from all."""
    module = put_(layer(version, taps=1), [0.4], [-0.3])
    if version == "gauss":
        nn.init.constant_(module.SIG, 3.0)
    felt = 0
    for i in range(49):
        module.zero_grad()
        module.kernel()[0, 0].flatten()[i].backward()
        felt += int(module.P.grad.abs().sum() > 0)
    assert felt == pixels


@torch.no_grad()
def test_places_are_kept_inside():
    module = layer("v1", size=(7, 4), padding=0)
    nn.init.constant_(module.P, 9.0)
    module.clamp_()
    assert (module.P[1] == 3).all()  # rows
    assert (module.P[0] == 2).all()
    nn.init.constant_(module.P, -9.0)
    module.clamp_()
    assert (module.P[1] == -3).all()
    assert (module.P[0] == -2).all()


def test_first_values():
    module = layer("gauss", taps=26, size=17, channels=64, bias=True)
    torch.testing.assert_close(
        module.SIG, torch.full_like(module.SIG, 0.23), rtol=0, atol=1e-7
    )
    assert (layer("max").SIG == 0).all()
    assert module.P.std().item() == pytest.approx(0.5, rel=0.05)
    assert module.P.mean().item() == pytest.approx(0, abs=0.05)
    bound = 26**-0.5
    assert module.weight.abs().max() < bound
    assert module.weight.abs().max() > 0.95 * bound
    assert bound > module.bias.abs().max() > 0.8 * bound
    assert layer("v1", size=1).P.count_nonzero() == 0  # clamped


def test_what_is_stored_and_what_is_run():
    module = layer("v1", taps=9, size=17, channels=16, bias=True)
    assert count(module) == 16 * (9 + 2 * 9 + 1) == 448
    assert module.kernel().shape == (16, 1, 17, 17)
    assert [n for n, _ in module.named_parameters()] == ["weight", "P", "bias"]
    strided = DCLSConv2d(4, 6, taps=3, size=5, stride=2, groups=2)
    assert strided(torch.rand(1, 4, 9, 8)).shape == (1, 6, 5, 4)
    assert strided.weight.shape == (6, 2, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layer("v2"), "version='v2': .*gauss"),
        (lambda: layer("v1", taps=0), "taps=0"),
        (lambda: layer("v1", groups=3), "groups=3: .* channels=2"),
        (lambda: layer("v1", groups=0), "groups=0"),
        (lambda: layer("v1", size=(0, 3)), r"size=\(0, 3\)"),
        (lambda: layer("v1", size=(3, 3, 3)), r"size=\(3, 3, 3\)"),
        (lambda: layer("v1", size=6), "size=6: .* even.* padding"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
