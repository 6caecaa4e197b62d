"""One plan for the residual units of sequences, and their variants.

All of them are x + F(x) along time. F is a few convolutions, one of them
dilated, as a `Unit` says; a `Style` says what stands around each.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from atrous.arithmetic import Window
from atrous.layers.residual import Unit
from atrous.sequences.causal import (
    centred_window,
    check_sequences,
    time_convolution,
)
from atrous.sequences.sequence_norms import NORMS

EPS = 1e-9  # keeps Snake finite. Source: descript-audio-codec.


class Snake(nn.Module):
    """x + sin^2(a x) / a, with a frequency a for each channel.

    Keeps (B, C, T). It rises like x, and repeats: what it makes of a wave
    is a wave, beyond what was trained as well.

    Source:
        Ziyin, Hartwig & Ueda, NeurIPS 2020; descript-audio-codec, where
        a + 1e-9 stands below the fraction.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The activation, (B, C, T)."""
        return x + (self.alpha * x).sin().square() / (self.alpha + EPS)


class Style(NamedTuple):
    """What stands around the convolutions of a unit's main path.

    Attributes:
        before: Modules before each convolution, names of `MODULES`.
        after: Modules after each convolution but the last.
        last: Modules after the last convolution.
        depthwise: Whether convolutions of several taps take each channel on
            its own.
        weight_norm: Whether convolutions have weight normalisation.
        bias: Whether they have a bias.
    """

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    depthwise: bool = False
    weight_norm: bool = True
    bias: bool = True


MODULES = {
    "relu": lambda channels: nn.ReLU(),
    "leaky_relu": lambda channels: nn.LeakyReLU(0.1),
    "prelu": lambda channels: nn.PReLU(),
    "snake": Snake,
    **NORMS,
}
TCN_STYLE = Style(after=("relu",), last=("relu",))
VOCODER_STYLE = Style(before=("leaky_relu",))
CODEC_STYLE = Style(before=("snake",))


def separator_style(norm: str) -> Style:
    """PReLU and a normalisation, after all convolutions but the last.

    Raises:
        ValueError: If `norm` is not one of `NORMS`.
    """
    if norm not in NORMS:
        raise ValueError(f"norm={norm!r}: must be one of {[*NORMS]}")
    after = ("prelu", norm)
    return Style(after=after, depthwise=True, weight_norm=False, bias=False)


def path_layers(
    unit: Unit, channels: int, style: Style
) -> list[nn.Sequential]:
    """The convolutions of a unit's main path, with what stands around each.

    Args:
        unit: Their windows, from `causal_window` or `centred_window`, and
            their widths.
        channels: Input channels of the first.
        style: What stands around them.

    Raises:
        ValueError: As `time_convolution`.
    """
    layers, last = [], len(unit.widths) - 1
    path = zip(unit.windows, unit.widths, strict=True)
    for i, (window, width) in enumerate(path):
        convolution = time_convolution(
            channels,
            width,
            window,
            depthwise=style.depthwise and window.kernel > 1,
            bias=style.bias,
            weight_norm=style.weight_norm,
        )
        after = style.last if i == last else style.after
        layers.append(
            nn.Sequential(
                *(MODULES[name](channels) for name in style.before),
                convolution,
                *(MODULES[name](width) for name in after),
            )
        )
        channels = width
    return layers


def unit_windows(units: Iterable[Unit]) -> tuple[Window, ...]:
    """The windows of units one after another, for `atrous.arithmetic`."""
    return tuple(window for unit in units for window in unit.windows)


def codec_unit(channels: int, dilation: int, *, kernel: int = 7) -> Unit:
    """A dilated convolution, then a 1x1; centred.

    Raises:
        ValueError: As `centred_window`.

    Source:
        SoundStream and descript-audio-codec, at dilations 1, 3, 9.
    """
    windows = centred_window(kernel, dilation), Window(1)
    return Unit(windows, (channels, channels))


def vocoder_unit(
    channels: int, kernel: int, dilation: int, *, second: bool = True
) -> Unit:
    """A dilated convolution, then one of the same kernel at dilation 1.

    Args:
        channels: Channels in and out.
        kernel: Taps of both, odd.
        dilation: Steps between taps of the first.
        second: Whether there is a second one.

    Raises:
        ValueError: As `centred_window`.

    Source:
        jik876/hifi-gan: ResBlock1; without the second, ResBlock2.
    """
    windows = (centred_window(kernel, dilation), centred_window(kernel))
    count = 1 + second
    return Unit(windows[:count], (channels,) * count)


class SequenceUnit(nn.Module):
    """x + F(x) along time: keeps (B, C, T).

    Args:
        unit: The plan of F, whose last width is C.
        channels: C.
        style: What stands around the convolutions of F.

    Raises:
        ValueError: If the last width is not C; else as `path_layers`; from
            a call, as `check_sequences`.
    """

    def __init__(self, unit: Unit, channels: int, style: Style):
        super().__init__()
        if unit.widths[-1] != channels:
            raise ValueError(
                f"channels={channels}: the unit gives {unit.widths[-1]}, and "
                "the sum needs as many"
            )
        self.path = nn.Sequential(*path_layers(unit, channels, style))

    def forward(self, x: Tensor) -> Tensor:
        """The unit's output, (B, C, T)."""
        check_sequences(x)
        return x + self.path(x)


class VocoderBlock(nn.Module):
    """HiFi-GAN's residual block: a unit for each dilation; keeps (B, C, T).

    Its state dict has the dilated convolutions of all units first, and then
    the others, as the released files.

    Args:
        channels: C.
        kernel: Taps, odd: 3, 7 and 11 side by side in the generator.
        dilations: Of the units.
        second: Whether each unit has a second convolution, of dilation 1:
            ResBlock1 of the released code, without it ResBlock2, whose
            dilations there are 1 and 3.

    Raises:
        ValueError: If there is no dilation; else as `vocoder_unit`.

    Source:
        Kong, Kim & Bae, NeurIPS 2020; jik876/hifi-gan, models.py.
    """

    def __init__(
        self,
        channels: int,
        kernel: int,
        *,
        dilations: Sequence[int] = (1, 3, 5),
        second: bool = True,
    ):
        super().__init__()
        if not dilations:
            raise ValueError("dilations=(): at least one is needed")
        self.plan = tuple(
            vocoder_unit(channels, kernel, dilation, second=second)
            for dilation in dilations
        )
        paths = [
            path_layers(unit, channels, VOCODER_STYLE) for unit in self.plan
        ]
        columns = zip(*paths, strict=True)
        self.layers = nn.ModuleList(map(nn.ModuleList, columns))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, (B, C, T)."""
        check_sequences(x)
        for layers in zip(*self.layers, strict=True):
            y = x
            for layer in layers:
                y = layer(y)
            x = x + y
        return x
