"""RefineNet and its light-weight form: references, counts, parts."""

import pytest
import torch
import torch.nn.functional as F
from references import (
    assert_equal,
    assert_same_state,
    count,
    meta,
    multiply_adds,
    record,
    recorded,
)
from torch import nn

from atrous import zoo
from atrous.experiments.parity import reference_fill_, reference_input
from atrous.gridding.impulse_response import impulse_response, support
from atrous.layers.refine_block import (
    ChainedResidualPooling,
    RefineBlock,
    ResidualConvUnit,
)
from atrous.segmentation.refinenet import (
    MobileRefineNetDecoder,
    RefineNetDecoder,
    refinenet_resnet,
)

NAMES = [name for name in zoo.names() if name.startswith("refinenet")]


def normal(*shape):
    return torch.randn(shape, dtype=torch.float64)


def filled(module):
    module.double().eval()
    reference_fill_(module)
    return module


def upsampled(x, like):
    return F.interpolate(
        x, like.shape[2:], mode="bilinear", align_corners=True
    )


# ---- the references


@torch.no_grad()
def test_light_weight_refinenet_is_the_released_one():
    reference = record("lw_refinenet101_21")
    network = zoo.build("refinenet_lw_resnet101").double().eval()
    assert_same_state(network, reference)
    reference_fill_(network)
    for _, x, expected in recorded(reference):
        assert_equal(network.logits(x), expected)


@pytest.mark.parametrize(
    ("name", "parameters", "billions"),
    [
        ("refinenet_resnet101", 118_052_437, 298.3),
        ("refinenet_lw_resnet101", 46_349_653, 59.3),
        ("refinenet_lw_mobilenetv2", 3_284_565, 9.7),
    ],
)
def test_exact_counts(name, parameters, billions):
    """Multiply-adds at 468 x 625."""
    network = meta(name)
    assert count(network) == parameters
    found = multiply_adds(network, 468, 625) / 1e9
    assert found == pytest.approx(billions, abs=0.05)


def test_the_order_of_the_ports():
    """Shapes by position; one level after another, or kind after kind."""
    state = meta("refinenet_resnet101").head.state_dict()
    shapes = [tuple(t.shape) for t in state.values()]
    level = 1 + 2 * 3 + 4 + 3 * 3
    assert len(shapes) == level + 1 + 2 * (level + 2) + level + 1 + 2
    assert shapes[0] == (512, 2048, 3, 3)
    assert shapes[1:4] == [(512, 512, 3, 3), (512,), (512, 512, 3, 3)]
    assert shapes[level : level + 2] == [
        (256, 512, 3, 3),
        (256, 1024, 3, 3),
    ]
    assert shapes[-2:] == [(21, 256, 3, 3), (21,)]
    state = meta("refinenet_lw_mobilenetv2").head.state_dict()
    inputs = [t.shape[1] for t in state.values() if t.ndim == 4]
    assert inputs == [320, 160, 96, 64, 32, 24] + [256] * (16 + 3 + 1)


# ---- the parts


@torch.no_grad()
def test_a_residual_unit_does_not_rectify_its_input():
    unit = filled(ResidualConvUnit(3))
    x = normal(1, 3, 7, 8)
    kept = x.clone()
    y = F.conv2d(x.clamp(min=0), unit.conv1.weight, unit.conv1.bias, 1, 1)
    y = F.conv2d(y.clamp(min=0), unit.conv2.weight, None, 1, 1)
    torch.testing.assert_close(unit(x), kept + y)
    assert torch.equal(x, kept)
    assert unit.conv2.bias is None


@torch.no_grad()
def test_chained_pooling_by_hand():
    for kernel in (1, 3):
        module = filled(ChainedResidualPooling(3, kernel=kernel, steps=2))
        x = normal(2, 3, 9, 11)
        steps = [x]
        for convolution in module.convolutions:
            pooled = F.max_pool2d(steps[-1], 5, 1, 2)
            steps.append(
                F.conv2d(pooled, convolution.weight, None, 1, kernel // 2)
            )
        torch.testing.assert_close(module(x), sum(steps))


@pytest.mark.parametrize(("kernel", "window"), [(1, 17), (3, 25)])
def test_what_chained_pooling_sees(kernel, window):
    module = ChainedResidualPooling(1, kernel=kernel)
    for convolution in module.convolutions:
        nn.init.ones_(convolution.weight)
    seen = support(impulse_response(module, 41))
    assert int(seen.any(0).sum()) == int(seen.any(1).sum()) == window


@pytest.mark.parametrize("light", [True, False])
@torch.no_grad()
def test_a_level_by_hand(light):
    """Corners aligned, the coarser level at any size; ReLU after the sum."""
    block = filled(RefineBlock(5, 4, 3, light=light))
    x, coarser = normal(1, 5, 9, 12), normal(1, 4, 4, 5)
    pad = 0 if light else 1

    def conv(module, x):
        return F.conv2d(x, module.weight, None, 1, pad)

    y = conv(block.reduce, x)
    for unit in block.before:
        y = unit(y)
    y = conv(block.adapt, y) + upsampled(coarser, x)
    y = block.pooling(y.relu())
    for unit in block.after:
        y = unit(y)
    torch.testing.assert_close(block(x, coarser), conv(block.out, y))
    assert (len(block.before), len(block.after)) == (
        (0, 0) if light else (2, 3)
    )


@torch.no_grad()
def test_the_decoder_goes_from_coarse_to_fine():
    decoder = filled(RefineNetDecoder((6, 5, 4, 3), 2, light=True))
    maps = [
        normal(1, c, *size)
        for c, size in zip(
            (6, 5, 4, 3), ((2, 3), (4, 5), (8, 9), (15, 18)), strict=True
        )
    ]
    y = None
    for block, x in zip(decoder.blocks, maps, strict=True):
        y = block(x, y)
    expected = F.conv2d(y, decoder.score.weight, decoder.score.bias, 1, 1)
    torch.testing.assert_close(decoder(*maps), expected)


@torch.no_grad()
def test_the_mobile_decoder_by_hand():
    channels = ((6, 5), (4, 3), (2,))
    decoder = filled(MobileRefineNetDecoder(channels, 2, width=4))
    sizes = ((2, 3), (4, 5), (7, 9))
    levels = [
        [10 * normal(1, c, *size) for c in level]
        for level, size in zip(channels, sizes, strict=True)
    ]
    y = None
    for i, level in enumerate(levels):
        x = sum(
            F.conv2d(x, conv.weight)
            for x, conv in zip(level, decoder.reduce[i], strict=True)
        )
        if y is not None:
            x = x + upsampled(F.conv2d(y, decoder.outs[i - 1].weight), x)
        y = decoder.poolings[i](x.clamp(0, 6))
    expected = F.conv2d(y, decoder.score.weight, decoder.score.bias, 1, 1)
    flat = [x for level in levels for x in level]
    torch.testing.assert_close(decoder(*flat), expected)


def test_dropout_is_before_two_levels_and_the_scores():
    seen = []
    network = refinenet_resnet(18, num_classes=2, dropout=0.25)
    network.head.dropout.register_forward_hook(
        lambda module, args, y: seen.append(args[0].shape[1])
    )
    network(torch.rand(1, 3, 64, 64))
    assert seen == [512, 256, 256]
    assert network.head.dropout.p == 0.25
    assert refinenet_resnet(18).head.dropout.p == 0.5
    assert refinenet_resnet(18, light=True).head.dropout.p == 0


# ---- whole networks


@torch.no_grad()
def test_forward_is_the_scores_upsampled():
    network = filled(refinenet_resnet(18, num_classes=2, light=True))
    x = reference_input(1, 3, 65, 49)
    expected = F.interpolate(
        network.logits(x), (65, 49), mode="bilinear", align_corners=False
    )
    torch.testing.assert_close(network(x), expected)


@torch.no_grad()
def test_a_dilated_backbone_keeps_the_finest_levels():
    dense = refinenet_resnet(18, light=True, output_stride=8)
    maps = dense.backbone.features(torch.rand(1, 3, 65, 65))
    assert [maps[n].shape[2] for n in dense.levels] == [9, 9, 9, 17]
    assert dense.logits(torch.rand(1, 3, 65, 65)).shape == (1, 21, 17, 17)


@pytest.mark.parametrize("light", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes_and_gradients(light, dtype):
    network = refinenet_resnet(18, num_classes=3, light=light).to(dtype)
    y = network(torch.rand(2, 3, 33, 40, dtype=dtype))
    assert y.dtype == dtype
    y.square().mean().backward()
    for parameter in network.parameters():
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: meta(NAMES[0], num_classes=0), "num_classes=0"),
        (lambda: meta(NAMES[-1], num_classes=0), "num_classes=0"),
        (lambda: meta(NAMES[-1], output_stride=5), "output_stride=5"),
        (lambda: refinenet_resnet(20), "depth=20"),
        (lambda: refinenet_resnet(18, dropout=2), "dropout"),
        (lambda: zoo.build("refinenet_resnet102"), "did you mean"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
