"""The residual unit: its plan, and the module that the plan describes."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from atrous.arithmetic import Window, same_padding

EXPANSION = 4


class Unit(NamedTuple):
    """One residual unit of a plan: the convolutions of its main path.

    Attributes:
        windows: Their spatial structure, the same along both axes.
        widths: Their output channels.
        shortcut: "added" to the main path; "sampled": added, and at a
            stride taken at every stride-th place, without weights; "none";
            or "dead": none either, but the projection that it would have
            needed is among the weights.
    """

    windows: tuple[Window, ...]
    widths: tuple[int, ...]
    shortcut: str = "added"

    @property
    def stride(self) -> int:
        """Stride of the whole unit."""
        return max(window.stride for window in self.windows)

    def at_dilation(self, dilation: int) -> "Unit":
        """The unit with all its 3x3 convolutions at one dilation."""
        windows = (
            _window(dilation, w.stride) if w.kernel == 3 else w
            for w in self.windows
        )
        return self._replace(windows=tuple(windows))


def _window(dilation: int, stride: int = 1) -> Window:
    return Window(3, stride, dilation, padding=dilation)


def basic(width: int, stride: int, first_dilation: int, dilation: int) -> Unit:
    """Two 3x3 convolutions, each of its own dilation."""
    windows = _window(first_dilation, stride), _window(dilation)
    return Unit(windows, (width, width))


def bottleneck(width: int, stride: int, dilation: int, stride_on: str) -> Unit:
    """1x1, 3x3 and 1x1 to four times the width."""
    reduce, spatial = (stride, 1) if stride_on == "1x1" else (1, stride)
    return Unit(
        (Window(1, reduce), _window(dilation, spatial), Window(1)),
        (width, width, EXPANSION * width),
    )


def plain(width: int, stride: int, dilation: int, kernel: int = 3) -> Unit:
    """One convolution without a shortcut; the kernel must be odd."""
    window = Window(kernel, stride, dilation, same_padding(kernel, dilation))
    return Unit((window,), (width,), shortcut="none")


class ResidualUnit(nn.Module):
    """max(F(x) + shortcut(x), 0): (B, C, H, W) to (B, C', H', W').

    The shortcut is x itself, or a 1x1 convolution where shapes change; a
    plan can sample x instead, or leave the shortcut out. A dead projection
    is never run: it is there for weights that have one to load.
    """

    def __init__(self, plan: Unit, channels: int):
        super().__init__()
        self.convolutions = len(plan.widths)
        self.adds = plan.shortcut in ("added", "sampled")
        out, before = plan.widths[-1], channels
        path = zip(plan.windows, plan.widths, strict=True)
        for i, (w, width) in enumerate(path, 1):
            geometry = (w.kernel, w.stride, w.padding, w.dilation)
            convolution = nn.Conv2d(before, width, *geometry, bias=False)
            self.add_module(f"conv{i}", convolution)
            self.add_module(f"bn{i}", nn.BatchNorm2d(width))
            before = width
        self.downsample = None
        reshapes = plan.stride > 1 or channels != out
        if reshapes and plan.shortcut == "sampled":
            self.downsample = nn.MaxPool2d(1, plan.stride)
        elif reshapes and plan.shortcut != "none":
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, plan.stride, bias=False),
                nn.BatchNorm2d(out),
            )

    def forward(self, x: Tensor) -> Tensor:
        """The unit's output, (B, C', H', W')."""
        y = x
        for i in range(1, self.convolutions + 1):
            y = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(y))
            y = y.relu() if i < self.convolutions else y
        if self.adds:
            y = y + (x if self.downsample is None else self.downsample(x))
        return y.relu()


def chain(units: Sequence[Unit], channels: int) -> nn.Sequential:
    """Units one after another, on an input of so many channels."""
    modules = []
    for unit in units:
        modules.append(ResidualUnit(unit, channels))
        channels = unit.widths[-1]
    return nn.Sequential(*modules)
