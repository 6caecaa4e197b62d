"""MobileNetV2: counts, units, strides and rates."""

import pytest
import torch
import torch.nn.functional as F
from references import count
from torch import nn

from atrous.arithmetic import fields
from atrous.backbones.mobilenet import (
    InvertedResidual,
    MobileNetV2,
    MobileNetV2Classifier,
)
from atrous.experiments.parity import reference_fill_, reference_input


def depthwise(network):
    return [
        m
        for m in network.modules()
        if isinstance(m, nn.Conv2d) and m.groups > 1
    ]


def test_counts():
    """The first is torchvision's."""
    with torch.device("meta"):
        assert count(MobileNetV2Classifier()) == 3_504_872
        trunk = count(MobileNetV2())
        assert 3_504_872 - trunk == 1281 * 1000
        assert trunk - count(MobileNetV2(last=None)) == 1280 * (320 + 2)
        assert count(MobileNetV2(expand_first=True)) - trunk == 32 * (32 + 2)


@pytest.mark.parametrize(
    ("width", "stride", "expansion"),
    [(4, 1, 6), (5, 1, 6), (4, 2, 2), (4, 1, None), (4, 1, 1)],
)
@torch.no_grad()
def test_a_unit_by_hand(width, stride, expansion):
    """Both ReLUs stop at 6, the projection is linear."""
    unit = InvertedResidual(
        4, width, expansion=expansion, stride=stride, dilation=2
    )
    unit = unit.double().eval()
    reference_fill_(unit)
    x = 20 * torch.randn(2, 4, 9, 12, dtype=torch.float64)
    y, layers = x, [*unit.path]
    if expansion:
        conv, norm, *_ = layers.pop(0)
        y = norm(F.conv2d(y, conv.weight)).clamp(0, 6)
    (conv, norm, *_), project = layers
    inside = 4 * (expansion or 1)
    y = norm(F.conv2d(y, conv.weight, None, stride, 2, 2, inside))
    y = y.clamp(0, 6)
    assert (y == 6).any()
    y = project[1](F.conv2d(y, project[0].weight))
    if stride == 1 and width == 4:
        y = x + y
    torch.testing.assert_close(unit(x), y)


@pytest.mark.parametrize(
    ("output_stride", "rates"),
    [
        (32, [1] * 17),
        (16, [1] * 14 + [2] * 3),
        (8, [1] * 7 + [2] * 7 + [4] * 3),
        (4, [1] * 4 + [2] * 3 + [4] * 7 + [8] * 3),
    ],
)
def test_rates(output_stride, rates):
    """The first unit of a stage without its stride keeps the rate before."""
    with torch.device("meta"):
        network = MobileNetV2(output_stride=output_stride)
    found = depthwise(network)
    assert [m.dilation[0] for m in found] == rates
    strides = 2
    for module in found:
        strides *= module.stride[0]
    assert strides == output_stride


def test_the_field_is_the_same_at_every_output_stride():
    """And, to stage 3, it is the gradient's: positive weights, ReLU6 open."""
    sizes = set()
    for stride in (2, 4, 8, 16, 32):
        with torch.device("meta"):
            last = fields(MobileNetV2(output_stride=stride).windows)[-1]
        assert (last.jump, last.start) == (stride, 0)
        sizes.add(last.size)
    assert len(sizes) == 1
    network = MobileNetV2(last=None).double().eval()
    network.stage4 = network.stage5 = network.stage6 = nn.Identity()
    network.stage7 = nn.Identity()
    for parameter in network.parameters():
        if parameter.ndim == 4:
            nn.init.constant_(parameter, 1 / parameter[0].numel())
    last = fields(network.windows)[-1]
    side = last.size + last.size % 2 + 32
    x = torch.full((1, 3, side, side), 0.01, dtype=torch.float64)
    x.requires_grad_(True)
    cell = side // last.jump // 2
    y = network(x)[0, 0, cell, cell]
    seen = torch.autograd.grad(y, x)[0][0, 0].sum(1).nonzero().flatten()
    assert seen[0] == cell * last.jump - last.size // 2
    assert seen[-1] == cell * last.jump + last.size // 2


@pytest.mark.parametrize("size", [(65, 97), (64, 71)])
@torch.no_grad()
def test_features_are_exact_at_every_output_stride(size):
    coarse = MobileNetV2().double().eval()
    reference_fill_(coarse)
    x = reference_input(1, 3, *size)
    expected = coarse(x)
    for stride in (16, 8, 4):
        network = MobileNetV2(output_stride=stride).double().eval()
        network.load_state_dict(coarse.state_dict())
        step = 32 // stride
        torch.testing.assert_close(network(x)[..., ::step, ::step], expected)


def test_features_by_name():
    with torch.device("meta"):
        x = torch.empty(1, 3, 65, 90)
        maps = MobileNetV2().features(x)
        assert list(maps) == [
            "stem",
            *(f"stage{number}" for number in range(1, 8)),
            "last",
        ]
        shapes = {name: tuple(y.shape[1:]) for name, y in maps.items()}
        assert shapes["stage2"] == (24, 17, 23)
        assert shapes["stage7"] == (320, 3, 3)
        bare = MobileNetV2(last=None)
        assert bare.channels == 320
        assert bare(x).shape == (1, 320, 3, 3)
        assert MobileNetV2Classifier(num_classes=7)(x).shape == (1, 7)


@torch.no_grad()
def test_the_classifier_sees_the_mean():
    network = MobileNetV2Classifier(num_classes=5).eval()
    x = torch.rand(2, 3, 40, 33)
    pooled = network.features(x)["last"].mean((2, 3))
    torch.testing.assert_close(network(x), network.fc(pooled))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MobileNetV2(output_stride=64), "output_stride=64"),
        (lambda: MobileNetV2Classifier(num_classes=0), "num_classes=0"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
