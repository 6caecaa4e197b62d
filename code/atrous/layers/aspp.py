"""Atrous spatial pyramid pooling: rates in parallel, summed or concatenated.

DeepLab v2 sums scores. DeepLab v3 concatenates normalised features, those of
the whole picture among them, and fuses them.
"""

import sys
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from atrous.arithmetic import Window, check_positive, same_padding
from atrous.layers.spec import LayerSpec, SpecStack

# Source: Chen et al., arXiv:1606.00915, Figure 7 and section 4.1.2.
ASPP_S = (2, 4, 8, 12)
ASPP_L = (6, 12, 18, 24)


def fc_layers(
    num_classes: int, *, rate: int, kernel: int = 3, width: int = 1024
) -> tuple[LayerSpec, ...]:
    """Plan of one branch on VGG-16: fc6 with a rate, fc7 and fc8.

    Args:
        num_classes: Score maps C, at least 1.
        rate: Dilation of fc6.
        kernel: Kernel of fc6; 7 in VGG-16 itself.
        width: Channels of fc6 and fc7; 4096 in VGG-16 itself.

    Raises:
        ValueError: If a number is too small or no padding keeps the size.

    Source:
        Chen et al., arXiv:1606.00915, Table 1 and Figure 7.
    """
    check_positive(
        num_classes=num_classes, rate=rate, kernel=kernel, width=width
    )
    padding = same_padding(kernel, rate)
    return (
        LayerSpec("fc6", Window(kernel, 1, rate, padding), width, dropout=0.5),
        LayerSpec("fc7", Window(1), width, dropout=0.5),
        LayerSpec("fc8", Window(1), num_classes, relu=False),
    )


def score_layers(num_classes: int, *, rate: int) -> tuple[LayerSpec, ...]:
    """Plan of one branch on ResNet: a single 3x3 convolution to C scores.

    Raises:
        ValueError: If a number is below 1.

    Source:
        The ResNet-101 of DeepLab v2 as ported by kazuto1011.
    """
    check_positive(num_classes=num_classes, rate=rate)
    return (
        LayerSpec("score", Window(3, 1, rate, rate), num_classes, relu=False),
    )


class SummedASPP(nn.ModuleList):
    """Parallel branches, summed: (B, C', H, W) to scores (B, C, H, W).

    With one branch it is the plain head of that rate, such as LargeFOV. The
    layer that makes the scores starts from N(0, 0.01^2) and zero biases.

    Args:
        branches: One plan a branch.
        channels: Input channels C'.

    Raises:
        ValueError: If there is no branch.

    Source:
        Chen et al., arXiv:1606.00915, section 3.2, Figure 7.
    """

    def __init__(self, branches: Sequence[Sequence[LayerSpec]], channels: int):
        if not branches:
            raise ValueError(f"branches={branches}: must be at least one")
        super().__init__(SpecStack(plan, channels) for plan in branches)
        for branch in self:
            score = branch[-1]
            nn.init.normal_(score.weight, std=0.01)
            nn.init.zeros_(score.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Scores, (B, C, H, W)."""
        return sum(branch(x) for branch in self)


def aspp_rates(output_stride: int) -> tuple[int, ...]:
    """Rates that see the same pixels at any output stride.

    6, 12 and 18 at 16, doubled at 8, halved at 32.

    Raises:
        ValueError: If `output_stride` does not divide 96.

    Source:
        Chen et al., arXiv:1706.05587, section 3.3.
        Departs: the paper has no ASPP at output stride 32.
    """
    if output_stride < 1 or 96 % output_stride:
        raise ValueError(f"output_stride={output_stride}: must divide 96")
    return tuple(rate * 16 // output_stride for rate in (6, 12, 18))


def branch_layers(*, rate: int = 1, width: int = 256) -> tuple[LayerSpec, ...]:
    """Plan of one branch of v3: 1x1 at rate 1, 3x3 above; normalised.

    Raises:
        ValueError: If a number is below 1.

    Source:
        Chen et al., arXiv:1706.05587, section 3.3.
    """
    check_positive(rate=rate, width=width)
    window = Window(1) if rate == 1 else Window(3, 1, rate, rate)
    return (LayerSpec("conv", window, width, norm=True),)


class ASPP(nn.Module):
    """Branches and the whole picture, fused: (B, C', H, W) to (B, C, H, W).

    The picture's mean goes through a 1x1 convolution and is laid over all
    places. What is concatenated goes through another, to the width C of the
    branches.

    At a rate as large as the map or larger, all taps but the central one
    fall on padding: the filter has become a 1x1. A warning says so, once a
    call site.

    Args:
        branches: One plan a branch.
        channels: Input channels C'.
        image_pooling: Whether the whole picture is among the branches.
        dropout: Probability of the dropout at the end; 0 for none.

    Raises:
        ValueError: If there is no branch or `dropout` is not in [0, 1).

    Source:
        Chen et al., arXiv:1706.05587, section 3.3, Figure 5.
    """

    def __init__(
        self,
        branches: Sequence[Sequence[LayerSpec]],
        channels: int,
        *,
        image_pooling: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        if not branches:
            raise ValueError(f"branches={branches}: must be at least one")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout}: must be in [0, 1)")
        self.branches = nn.ModuleList(SpecStack(p, channels) for p in branches)
        widths = [plan[-1].width for plan in branches]
        width = widths[0]
        self.pooled = None
        if image_pooling:
            self.pooled = SpecStack(branch_layers(width=width), channels)
            widths.append(width)
        project = LayerSpec(
            "conv", Window(1), width, dropout=dropout, norm=True
        )
        self.project = SpecStack((project,), sum(widths))

    def forward(self, x: Tensor) -> Tensor:
        """Fused features, (B, C, H, W).

        Raises:
            ValueError: If one picture is trained on with image pooling.
        """
        plans = [layer for branch in self.branches for layer in branch.plan]
        check_map(x, [layer.window for layer in plans], self.pooled)
        maps = [branch(x) for branch in self.branches]
        if self.pooled is not None:
            pooled = self.pooled(x.mean((2, 3), keepdim=True))
            maps.append(pooled.expand(-1, -1, x.shape[2], x.shape[3]))
        return self.project(torch.cat(maps, 1))


def check_map(
    x: Tensor, windows: Sequence[Window], pooled: nn.Module | None
) -> None:
    """Warn of filters that are smaller on a map x, (B, C, H, W).

    Raises:
        ValueError: If B is 1 and `pooled` would normalise in training.
    """
    # torch.fx traces with something else than a tensor. What is compiled or
    # exported is for maps of other sizes, too.
    if not isinstance(x, Tensor) or torch.compiler.is_compiling():
        return
    norms = pooled.modules() if pooled is not None else ()
    if len(x) == 1 and any(
        isinstance(m, nn.BatchNorm2d) and m.training for m in norms
    ):
        raise ValueError(
            "batch size 1 in training: image pooling leaves one value a "
            "channel, which batch normalisation cannot normalise; take two "
            "pictures or more, put batch normalisation into eval() or build "
            "with image_pooling=False"
        )
    lost = lost_taps(windows, x.shape[2:])
    if lost:
        warnings.warn(lost, stacklevel=_outside())


def lost_taps(windows: Sequence[Window], size: Sequence[int]) -> str:
    """Which filters have become smaller on a map of this size, in words.

    A tap whose distance from the centre is the map's side or more falls on
    padding at every place. Empty if every filter keeps all its taps.

    Args:
        windows: Filters of odd kernels, padded to keep the map's size.
        size: Height and width of the map.

    Source:
        Chen et al., arXiv:1706.05587, section 3.3 and Figure 4.
    """
    found = []
    for window in windows:
        half = window.kernel // 2
        rows, columns = (
            1 + 2 * min(half, (side - 1) // window.dilation) for side in size
        )
        if min(rows, columns) < window.kernel:
            k, rate = window.kernel, window.dilation
            found.append(f"{k}x{k} at rate {rate} a {rows}x{columns}")
    if not found:
        return ""
    height, width = size
    return (
        f"on a feature map of {height}x{width} filters have become smaller, "
        f"for their other taps fall on padding: {', '.join(found)}"
    )


def _outside() -> int:
    """Stack level, for `warnings`, of the first caller outside of it all."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(
        ("atrous.", "torch.")
    ):
        frame, level = frame.f_back, level + 1
    return level
