"""Units of vocoders and codecs: the released ones, and by definition."""

import pytest
import torch
import torch.nn.functional as F
from references import assert_equal, filled, sequence
from torch import nn

from atrous.arithmetic import Window, receptive_field
from atrous.layers.residual import Unit
from atrous.sequences.causal import CausalConv1d, causal_window
from atrous.sequences.residual_unit import (
    CODEC_STYLE,
    SequenceUnit,
    Snake,
    Style,
    VocoderBlock,
    codec_unit,
    path_layers,
    separator_style,
    unit_windows,
    vocoder_unit,
)


@torch.no_grad()
def test_the_block_is_hifigans():
    block, outputs = filled(VocoderBlock(32, 7), "hifigan_resblock1_32_k7")
    assert_equal(block(sequence(32, 120)), outputs["out_len120"])


@torch.no_grad()
def test_the_unit_is_dacs():
    unit = SequenceUnit(codec_unit(16, 9), 16, CODEC_STYLE)
    unit, outputs = filled(unit, "dac_residual_unit_16_d9")
    assert_equal(unit(sequence(16, 120)), outputs["out_len120"])


# ---- siblings


def convolved(layer, x, dilation):
    """What a centred convolution of a layer makes of x, by its weights."""
    conv = next(m for m in layer if isinstance(m, nn.Conv1d))
    side = (conv.kernel_size[0] // 2) * dilation
    return F.conv1d(x, conv.weight, conv.bias, 1, side, dilation)


@pytest.mark.parametrize(
    ("second", "dilations"), [(True, (1, 3, 5)), (False, (1, 3))]
)
@pytest.mark.parametrize("kernel", [3, 11])
@torch.no_grad()
def test_blocks_of_vocoders_by_definition(kernel, second, dilations):
    """ResBlock1 and ResBlock2 of HiFi-GAN."""
    block = VocoderBlock(4, kernel, dilations=dilations, second=second)
    block = block.double()
    assert len(block.layers) == 1 + second
    x = torch.randn(2, 4, 50, dtype=torch.float64)
    expected = x
    for i, rate in enumerate(dilations):
        y = torch.where(expected > 0, expected, 0.1 * expected)
        y = convolved(block.layers[0][i], y, rate)
        if second:
            y = torch.where(y > 0, y, 0.1 * y)
            y = convolved(block.layers[1][i], y, 1)
        expected = expected + y
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("dilation", [1, 3, 9])
@torch.no_grad()
def test_units_of_codecs_by_definition(dilation):
    unit = SequenceUnit(codec_unit(5, dilation), 5, CODEC_STYLE).double()
    for snake in (unit.path[0][0], unit.path[1][0]):
        snake.alpha.uniform_(0.5, 2)
    x = torch.randn(2, 5, 60, dtype=torch.float64)
    y = x
    for layer, rate in zip(unit.path, (dilation, 1), strict=True):
        a = layer[0].alpha
        y = y + (a * y).sin() ** 2 / (a + 1e-9)
        y = convolved(layer, y, rate)
    torch.testing.assert_close(unit(x), x + y)


def test_snake_repeats_with_its_frequency():
    snake = Snake(2).double()
    snake.alpha.data = torch.tensor([[[0.5], [3.0]]]).double()
    x = torch.randn(1, 2, 30, dtype=torch.float64)
    period = torch.pi / snake.alpha
    torch.testing.assert_close(snake(x + period), snake(x) + period)
    snake.alpha.data.zero_()
    assert snake(x).isfinite().all()


def test_fields_of_vocoders_and_codecs():
    """25, 73 and 121 samples for the three kernels of HiFi-GAN."""
    fields = [
        receptive_field(unit_windows(VocoderBlock(1, kernel).plan))
        for kernel in (3, 7, 11)
    ]
    assert fields == [25, 73, 121]
    units = [codec_unit(1, dilation) for dilation in (1, 3, 9)]
    assert receptive_field(unit_windows(units)) == 79


# ---- the plan


def test_a_style_says_what_stands_around_a_convolution():
    style = Style(("relu",), ("prelu", "channel"), ("snake",), bias=False)
    unit = Unit((causal_window(2, 3), Window(1)), (6, 4))
    found = [
        [type(m).__name__ for m in layer]
        for layer in path_layers(unit, 4, style)
    ]
    assert found == [
        ["ReLU", "ParametrizedCausalConv1d", "PReLU", "ChannelNorm"],
        ["ReLU", "ParametrizedConv1d", "Snake"],
    ]
    layers = path_layers(unit, 6, separator_style("global"))
    assert isinstance(layers[0][0], CausalConv1d)
    assert [layer[0].groups for layer in layers] == [6, 1]
    assert all(layer[0].bias is None for layer in layers)


def test_gradients_reach_every_weight():
    block = VocoderBlock(3, 3)
    unit = SequenceUnit(codec_unit(3, 3), 3, CODEC_STYLE)
    x = torch.randn(2, 3, 20)
    unit(block(x)).square().sum().backward()
    for parameter in (*block.parameters(), *unit.parameters()):
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: VocoderBlock(4, 4), "effective kernel 4 is even"),
        (lambda: VocoderBlock(4, 3, dilations=()), r"dilations=\(\)"),
        (lambda: VocoderBlock(4, 3, dilations=(0,)), "dilation=0"),
        (lambda: vocoder_unit(4, 0, 1), "kernel=0"),
        (lambda: codec_unit(4, 0), "dilation=0"),
        (lambda: separator_style("batch"), "norm='batch': .*'cumulative'"),
        (
            lambda: SequenceUnit(codec_unit(4, 1), 3, CODEC_STYLE),
            "channels=3: the unit gives 4",
        ),
        (
            lambda: VocoderBlock(2, 3)(torch.zeros(1, 2, 0)),
            "T at least 1",
        ),
        (
            lambda: SequenceUnit(codec_unit(4, 1), 4, CODEC_STYLE)(
                torch.zeros(4, 5)
            ),
            r"\(4, 5\)",
        ),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
