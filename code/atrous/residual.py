"""The residual unit: its plan, and the module that the plan describes."""

from typing import NamedTuple

from torch import Tensor, nn

from atrous.arithmetic import Window

EXPANSION = 4


class Unit(NamedTuple):
    """One residual unit of a plan: the convolutions of its main path."""

    windows: tuple[Window, ...]
    widths: tuple[int, ...]

    @property
    def stride(self) -> int:
        """Stride of the whole unit."""
        return max(window.stride for window in self.windows)


def _window(dilation: int, stride: int = 1) -> Window:
    return Window(3, stride, dilation, padding=dilation)


def basic(width: int, stride: int, first: int, rate: int) -> Unit:
    """Two 3x3 convolutions of dilations `first` and `rate`."""
    return Unit((_window(first, stride), _window(rate)), (width, width))


def bottleneck(width: int, stride: int, rate: int, stride_on: str) -> Unit:
    """1x1, 3x3 and 1x1 to four times the width."""
    reduce, spatial = (stride, 1) if stride_on == "1x1" else (1, stride)
    return Unit(
        (Window(1, reduce), _window(rate, spatial), Window(1)),
        (width, width, EXPANSION * width),
    )


class ResidualUnit(nn.Module):
    """max(F(x) + shortcut(x), 0): (B, C, H, W) to (B, C', H', W').

    The shortcut is x itself, or a 1x1 convolution where shapes change.
    """

    def __init__(self, plan: Unit, channels: int):
        super().__init__()
        self.convolutions = len(plan.widths)
        out, before = plan.widths[-1], channels
        for i, (w, width) in enumerate(zip(*plan, strict=True), 1):
            geometry = (w.kernel, w.stride, w.padding, w.dilation)
            convolution = nn.Conv2d(before, width, *geometry, bias=False)
            self.add_module(f"conv{i}", convolution)
            self.add_module(f"bn{i}", nn.BatchNorm2d(width))
            before = width
        self.downsample = None
        if plan.stride > 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, plan.stride, bias=False),
                nn.BatchNorm2d(out),
            )

    def forward(self, x: Tensor) -> Tensor:
        """The unit's output, (B, C', H', W')."""
        shortcut = x if self.downsample is None else self.downsample(x)
        for i in range(1, self.convolutions + 1):
            x = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(x))
            x = x.relu() if i < self.convolutions else x
        return (x + shortcut).relu()
