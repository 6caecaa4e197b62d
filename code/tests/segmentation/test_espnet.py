"""ESPNet: the released networks, and what fusion does."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from references import (
    assert_equal,
    assert_same_state,
    count,
    error,
    meta,
    multiply_adds,
    record,
    recorded,
)
from torch import nn

from atrous import zoo
from atrous.experiments.parity import reference_fill_, reference_input
from atrous.gridding.impulse_response import impulse_response, support
from atrous.gridding.spectrum import gain, gains
from atrous.segmentation.espnet import ESP, RATES, ESPNet, ESPNetC

# ---- the released networks


@torch.no_grad()
def test_the_unit_is_the_released_one():
    reference = record("esp_block_128")
    unit = ESP(128, 128).double().eval()
    assert_same_state(unit, reference)
    reference_fill_(unit)
    expected = reference["outputs"]["out_40x48"]
    assert_equal(unit(reference_input(1, 128, 40, 48)), expected)


@pytest.mark.parametrize(
    ("name", "reference", "options"),
    [
        ("espnet_c", "espnet_c_p2q8_20", {}),
        ("espnet", "espnet_p1q2_23", {"num_classes": 23, "p": 1, "q": 2}),
    ],
)
@torch.no_grad()
def test_networks_are_the_released_ones(name, reference, options):
    reference = record(reference)
    network = zoo.build(name, **options).double().eval()
    assert_same_state(network, reference)
    reference_fill_(network)
    for _, x, expected in recorded(reference):
        scores = network.logits(x)
        assert_equal(scores, expected)
        upsampled = F.interpolate(scores, x.shape[2:], mode="bilinear")
        # At stride 1 that is the scores themselves.
        assert error(network(x), upsampled) < 1e-12


@torch.no_grad()
def test_the_other_released_form_reads_the_stem():
    """Its shapes are those of the released Cityscapes file with q = 3."""
    first, second = meta("espnet", q=3), meta("espnet", q=3, variant="test")
    shapes = {n: t.shape for n, t in first.state_dict().items()}
    assert shapes.pop("merge1.0.weight") == (20, 39, 3, 3)
    others = {n: t.shape for n, t in second.state_dict().items()}
    assert others.pop("merge1.0.weight") == (20, 36, 3, 3)
    assert others == shapes
    network = zoo.build("espnet", num_classes=6, p=1, q=1, variant="test")
    network = network.double().eval()
    reference_fill_(network)
    x = torch.randn(1, 3, 32, 40, dtype=torch.float64)
    maps = network.encoder.features(x)
    # Without the weights of the 16 channels of the stem nothing of it is
    # left; the picture's own three channels are not among them.
    network.merge1[0].weight[:, 6:] = 0
    without = network(x)
    network.encoder.features = lambda x: maps | {"stem": 0 * maps["stem"]}
    assert torch.equal(network(x), without)


def test_published_numbers():
    network = meta("espnet")
    assert count(network) == 365_109
    assert count(network.encoder) == count(meta("espnet_c")) == 349_449
    assert count(meta("espnet", num_classes=20, p=2, q=8)) == 365_109
    found = multiply_adds(network, 512, 1024)
    assert found == pytest.approx(4.78e9, abs=0.005e9)


# ---- the unit


def filters(module):
    return sum(p.numel() for p in module.parameters() if p.ndim == 4)


def test_a_unit_has_a_fifth_of_the_weights():
    unit = ESP(128, 128)
    assert filters(unit) == 32_000
    assert count(unit) == 32_000 + 3 * 128
    assert filters(nn.Conv2d(128, 128, 3, bias=False)) == 147_456


@given(st.integers(1, 9), st.integers(1, 30), st.integers(1, 5))
def test_branches_share_the_width(channels, width, branches):
    rates = RATES[:branches]
    if width < branches:
        with pytest.raises(ValueError, match=f"width={width}.*{branches}"):
            ESP(channels, width, rates=rates)
        return
    unit = ESP(channels, width, rates=rates)
    n = width // branches
    assert unit.reduce.weight.shape == (n, channels, 1, 1)
    shapes = [branch.weight.shape for branch in unit.branches]
    assert shapes[1:] == [(n, n, 3, 3)] * (branches - 1)
    assert shapes[0] == (width - (branches - 1) * n, n, 3, 3)
    assert [b.dilation for b in unit.branches] == [(r, r) for r in rates]


@pytest.mark.parametrize("stride", [1, 2, 3])
@torch.no_grad()
def test_fusion_sums_all_branches_but_the_first(stride):
    """Before batch normalisation, which only scales at first."""
    fused = ESP(3, 11, stride=stride).double().eval()
    plain = ESP(3, 11, stride=stride, fusion=False).double().eval()
    plain.load_state_dict(fused.state_dict())
    for unit in (fused, plain):
        nn.init.ones_(unit.norm[1].weight)  # the PReLU: linear
    x = torch.randn(2, 3, 41, 36, dtype=torch.float64)
    first, *maps = plain(x).split([3, 2, 2, 2, 2], 1)
    sums = torch.stack(maps).cumsum(0)
    expected = torch.cat([first, *sums], 1)
    assert expected.shape[2:] == (-(-41 // stride), -(-36 // stride))
    torch.testing.assert_close(fused(x), expected)


@pytest.mark.parametrize(
    ("channels", "stride", "added"),
    [(7, 1, True), (7, 2, False), (6, 1, False)],
)
@torch.no_grad()
def test_the_input_is_added_where_it_fits(channels, stride, added):
    unit = ESP(channels, 7, stride=stride).eval()
    for branch in unit.branches:
        nn.init.zeros_(branch.weight)
    x = torch.randn(1, channels, 5, 6)
    if added:
        expected = F.prelu(x / 1.001**0.5, torch.full((7,), 0.25))
        torch.testing.assert_close(unit(x), expected)
    else:
        assert unit(x).count_nonzero() == 0


# ---- gridding


def responses(rates=RATES, **options):
    """What one pixel turns into, branch by branch, all weights 1."""
    unit = ESP(1, len(rates), rates=rates, **options)
    for parameter in unit.parameters():
        if parameter.ndim == 4:
            nn.init.ones_(parameter)
    side = 2 * max(rates) + 1
    response = impulse_response(unit, side + 2)[0]
    return [channel[1:-1, 1:-1] for channel in response]


def test_gains_of_the_fused_sum():
    """At 2 pi / 16, 2 pi / 8 and pi, where nothing is attenuated."""
    fused = responses()[4]
    found = [gain(fused, rate) for rate in (16, 8, 2)]
    assert found == pytest.approx([0.451, 0.5, 1.0], abs=5e-4)
    line = gains(fused, 16)[0, [1, 2, 8]].tolist()
    assert line == pytest.approx(found)
    plain = responses(fusion=False)[4]
    for rate in (16, 8, 4, 2):
        assert gain(plain, rate) == pytest.approx(1)


def test_fusion_touches_33_pixels_of_1089_instead_of_9():
    for fusion, pixels in ((True, 33), (False, 9)):
        touched = support(responses(fusion=fusion)[4])
        assert touched.numel() == 1089
        assert touched.sum() == pixels


@given(st.lists(st.integers(1, 9), min_size=2, max_size=5))
def test_fused_branches_contain_the_smaller_ones(rates):
    """From the second on: the first is in no sum."""
    fused, plain = responses(rates), responses(rates, fusion=False)
    assert torch.equal(fused[0], plain[0])
    for k in range(1, len(rates)):
        touched = torch.stack(plain[1 : k + 1]).any(0)
        assert torch.equal(fused[k] != 0, touched)
        assert plain[k].count_nonzero() == 9
        assert (fused[k] != 0)[fused[k - 1] != 0].all() or k == 1


# ---- networks


@pytest.mark.parametrize("name", ["espnet", "espnet_c"])
def test_pictures_of_any_size(name):
    network = meta(name, num_classes=9, p=1, q=1)
    for size in ((64, 96), (61, 83), (1, 9), (15, 2)):
        x = torch.empty(2, 3, *size, device="meta")
        cells = size if name == "espnet" else [-(-n // 8) for n in size]
        assert network.logits(x).shape == (2, 9, *cells)
        assert network(x).shape == (2, 9, *size)


@torch.no_grad()
def test_each_doubled_map_is_cut_where_the_picture_ends():
    """A picture that ends early: far from there nothing has changed."""
    network = ESPNet(num_classes=5, p=1, q=1).double().eval()
    x = torch.randn(1, 3, 16, 600, dtype=torch.float64)
    whole = network(x)[..., :100]
    for width in (599, 597, 593):
        assert error(network(x[..., :width])[..., :100], whole) < 1e-12


def test_features_by_name():
    network = meta("espnet_c", p=3, q=1)
    assert (len(network.level2), len(network.level3)) == (3, 1)
    maps = network.features(torch.empty(1, 3, 61, 130, device="meta"))
    assert {name: tuple(m.shape) for name, m in maps.items()} == {
        "stem": (1, 16, 31, 65),
        "level1": (1, 19, 31, 65),
        "level2": (1, 131, 16, 33),
        "level3": (1, 256, 8, 17),
    }


def test_options_reach_every_unit():
    network = ESPNet(num_classes=4, p=2, q=2, rates=(1, 3, 5), fusion=False)
    units = [m for m in network.modules() if isinstance(m, ESP)]
    assert len(units) == 2 + 2 + 2 + 1
    for unit in units:
        assert not unit.fusion
        assert [b.dilation[0] for b in unit.branches] == [1, 3, 5]
    assert all(m.fusion for m in meta("espnet").modules() if type(m) is ESP)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16]
)
@pytest.mark.parametrize("name", ["espnet", "espnet_c"])
def test_dtypes_and_gradients(name, dtype):
    network = zoo.build(name, num_classes=5, p=1, q=1).to(dtype)
    y = network(torch.rand(2, 3, 40, 41, dtype=dtype))
    assert y.dtype == dtype
    y.square().mean().backward()
    for parameter in network.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.dtype == dtype


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ESP(4, 5, stride=0), "stride=0"),
        (lambda: ESP(4, 5, rates=()), r"rates=\(\)"),
        (lambda: ESP(4, 5, rates=(1, 0)), r"rates=\(1, 0\)"),
        (lambda: ESP(4, 4), "width=4: .* 5"),
        (lambda: ESPNetC(num_classes=0), "num_classes=0"),
        (lambda: ESPNetC(p=0), "p=0"),
        (lambda: ESPNetC(q=0), "q=0"),
        (lambda: meta("espnet", num_classes=4), "num_classes=4: .* 5"),
        (lambda: meta("espnet", q=-1), "q=-1"),
        (lambda: meta("espnet", variant="camvid"), "'camvid': .*'test'"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
