"""Xception: its plan, its units, its rates, its counts."""

import pytest
import torch
import torch.nn.functional as F
from references import count
from torch import nn

from atrous.arithmetic import fields
from atrous.backbones.xception import (
    BLOCKS,
    EPS,
    Block,
    Xception,
    XceptionUnit,
)
from atrous.experiments.parity import reference_fill_


def on_meta(*args, **options):
    with torch.device("meta"):
        return Xception(*args, **options).eval()


def depthwise(module):
    return [
        m
        for m in module.modules()
        if isinstance(m, nn.Conv2d) and m.groups > 1
    ]


def filled(block, channels, **options):
    unit = XceptionUnit(block, channels, **options).double().eval()
    reference_fill_(unit)
    return unit


@pytest.mark.parametrize("depth", BLOCKS)
def test_the_depth_is_the_number_of_convolutions(depth):
    """The two of the stem, and separable ones count once."""
    network = on_meta(depth)
    assert len(depthwise(network)) + 2 == depth
    assert network.channels == 2048


def test_counts():
    """65 is published; 41 has eight middle units fewer, 71 two units more."""

    def unit(c, *widths, projected=True):
        total = (c * widths[-1] + 2 * widths[-1]) * projected
        for w in widths:
            total, c = total + 9 * c + 2 * c + c * w + 2 * w, w
        return total

    assert count(on_meta(65)) == 37_867_312
    middle = unit(*[728] * 4, projected=False)
    assert count(on_meta(65)) - count(on_meta(41)) == 8 * middle
    added = unit(*[256] * 4) + unit(*[728] * 4)
    assert count(on_meta(71)) - count(on_meta(65)) == added


# ---- one unit


@pytest.mark.parametrize("relu", ["before", "inside"])
@pytest.mark.parametrize("shortcut", ["projected", "identity", "none"])
@torch.no_grad()
def test_a_unit_by_hand(relu, shortcut):
    """The shortcut takes the input as it is, its negative part too."""
    block = Block((5, 6, 4), shortcut=shortcut, relu=relu)
    stride = 2 if shortcut == "projected" else 1
    unit = filled(block, 4, stride=stride, rates=(1, 2, 3))
    x = torch.randn(2, 4, 11, 14, dtype=torch.float64)
    kept = x.clone()
    y = x
    for i, (stack, rate) in enumerate(zip(unit.path, (1, 2, 3), strict=True)):
        y = y.relu() if relu == "before" else y
        s = stride if i == 2 else 1
        y = F.conv2d(
            y, stack.depthwise.weight, None, s, rate, rate, y.shape[1]
        )
        y = stack.depthwise_bn(y)
        y = y.relu() if relu == "inside" else y
        y = stack.pointwise_bn(F.conv2d(y, stack.pointwise.weight))
        y = y.relu() if relu == "inside" else y
    if shortcut == "identity":
        y = y + x
    elif shortcut == "projected":
        weight = unit.project.conv.weight
        y = y + unit.project.conv_bn(F.conv2d(x, weight, None, stride))
    torch.testing.assert_close(unit(x), y)
    assert torch.equal(x, kept)


def test_which_units_are_which():
    network = on_meta(65)
    assert [unit.shortcut for unit in network.units] == [
        *["projected"] * 3,
        *["identity"] * 16,
        "projected",
        "none",
    ]
    assert [unit.relu_before for unit in network.units] == [
        *[True] * 20,
        False,
    ]
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {m.eps for m in norms} == {EPS} == {1e-3}
    assert not any(
        m.inplace for m in network.modules() if isinstance(m, nn.ReLU)
    )


# ---- strides and rates


@pytest.mark.parametrize("depth", BLOCKS)
@pytest.mark.parametrize(
    ("output_stride", "middle", "exit1", "exit2"),
    [
        (2, 8, 8, 16),
        (4, 4, 4, 8),
        (8, 2, 2, 4),
        (16, 1, 1, 2),
        (32, 1, 1, 1),
    ],
)
def test_rates(depth, output_stride, middle, exit1, exit2):
    """A unit whose stride is left out keeps the rate before it."""
    network = on_meta(depth, output_stride=output_stride, multi_grid=(1, 2, 4))
    *_, before, last, final = network.units
    found = [
        [m.dilation[0] for m in depthwise(unit)]
        for unit in (before, last, final)
    ]
    assert found == [
        [middle] * 3,
        [exit1] * 3,
        [exit2, 2 * exit2, 4 * exit2],
    ]
    strides = 1
    for module in depthwise(network):
        strides *= module.stride[0]
    assert 2 * strides == output_stride
    for unit in network.units:
        strides = [m.stride[0] for m in depthwise(unit)]
        assert strides[:2] == [1, 1]
        if unit.shortcut == "projected":
            assert unit.project.conv.stride[0] == strides[2]


@pytest.mark.parametrize("depth", BLOCKS)
def test_the_field_is_the_same_at_every_output_stride(depth):
    found = {
        stride: fields(on_meta(depth, output_stride=stride).windows)[-1]
        for stride in (2, 4, 8, 16, 32)
    }
    assert len({last.size for last in found.values()}) == 1
    for stride, last in found.items():
        assert (last.jump, last.start) == (stride, 0)


def test_the_field_is_the_gradients():
    """Of the first two units, with positive weights that keep a mean."""
    network = Xception(41).double().eval()
    del network.units[2:]
    for parameter in network.parameters():
        if parameter.ndim == 4:
            nn.init.constant_(parameter, 1 / parameter[0].numel())
    last = fields(network.windows)[-1]
    reach, cell = last.size // 2, 6
    x = torch.ones(1, 3, 97, 97, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x)[0, 0, cell, cell], x)
    seen = gradient[0, 0].sum(1).nonzero().flatten()
    centre = cell * last.jump
    assert (seen[0], seen[-1]) == (centre - reach, centre + reach)


@pytest.mark.parametrize("depth", BLOCKS)
def test_low_level_features_are_the_last_of_stride_4(depth):
    for output_stride in (8, 16, 32):
        network = on_meta(depth, output_stride=output_stride)
        maps = network.features(torch.empty(1, 3, 61, 90, device="meta"))
        assert maps["low"].shape == (1, 256, 16, 23)
        names = [n for n in maps if n != "low"]
        fine = [n for n in names if maps[n].shape[2:] == (16, 23)]
        following = names[names.index(fine[-1]) + 1]
        assert maps[following].shape[2:] == (8, 12)
        assert list(maps).index("low") == list(maps).index(following) - 1
        shape = network(torch.empty(1, 3, 61, 90, device="meta")).shape
        cells = [-(-side // output_stride) for side in (61, 90)]
        assert shape == (1, 2048, *cells)


@torch.no_grad()
def test_low_level_features_are_normalised_and_not_rectified():
    network = Xception(41).eval()
    maps = network.features(torch.randn(1, 3, 32, 32))
    unit = network.units[1]
    expected = unit.path[1](unit.path[0](maps["unit1"].relu()).relu())
    torch.testing.assert_close(maps["low"], expected)
    assert maps["low"].min() < 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Xception(66), r"depth=66.*41, 65, 71"),
        (lambda: Xception(output_stride=1), "output_stride=1"),
        (lambda: Xception(output_stride=64), r"=64.*16, 32"),
        (lambda: Xception(multi_grid=(1, 2)), r"multi_grid=\(1, 2\)"),
        (lambda: Xception(multi_grid=(1, 0, 1)), r"\(1, 0, 1\)"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
