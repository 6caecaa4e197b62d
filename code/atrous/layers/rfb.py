"""The receptive field block (RFB): where a filter looks and how far, coupled.

A branch of larger kernels has the larger rate, after the way in which
receptive fields of human vision grow with their distance from the centre.
"""

import torch
from torch import Tensor, nn

from atrous.arithmetic import Window, check_positive
from atrous.layers.spec import LayerSpec, SpecStack

MOMENTUM = 0.01


def rfb_branches(
    channels: int, *, visual: int = 1, stride: int = 1
) -> tuple[tuple[LayerSpec, ...], ...]:
    """Plans of the three branches, whose last 3x3 have a rate.

    With v = `visual` the rates are v, v + 1 and 2 v + 1, after a 1x1, a 3x3
    and two 3x3. A branch gives a quarter of the channels.

    Args:
        channels: Input channels, at least 16.
        visual: v, at least 1.
        stride: Stride of each branch.

    Raises:
        ValueError: If a number is out of range.

    Source:
        Liu, Huang & Wang, arXiv:1711.07767, Figure 4; the authors'
        models/RFB_Net_vgg.py, BasicRFB.
    """
    check_positive(visual=visual, stride=stride)
    if channels < 16:
        raise ValueError(f"channels={channels}: must be at least 16")
    narrow = channels // 8
    wide, between = 2 * narrow, narrow // 2 * 3
    paths = (
        ((1, stride, wide),),
        ((1, 1, narrow), (3, stride, wide)),
        ((1, 1, narrow), (3, 1, between), (3, stride, wide)),
    )
    plans = []
    rates = (visual, visual + 1, 2 * visual + 1)
    for path, rate in zip(paths, rates, strict=True):
        plan = [
            LayerSpec(
                f"conv{i}", Window(k, s, padding=k // 2), width, norm=True
            )
            for i, (k, s, width) in enumerate(path, 1)
        ]
        window = Window(3, dilation=rate, padding=rate)
        plans.append(
            (*plan, LayerSpec("dilated", window, wide, relu=False, norm=True))
        )
    return tuple(plans)


class RFB(nn.Module):
    """Three branches, fused and scaled, and a shortcut: (B, C, H, W) to O.

    max(0.1 fuse(branches) + shortcut, 0), (B, O, H', W') with H' the
    ceiling of H / stride. Branches are concatenated and fused by a 1x1; the
    shortcut is a 1x1; all are normalised.

    Args:
        channels: Input channels C, at least 16.
        width: Output channels O.
        scale: What the fused branches are multiplied with.
        visual: As in `rfb_branches`.
        stride: Stride of the block.

    Raises:
        ValueError: If a number is out of range.

    Source:
        Liu, Huang & Wang, arXiv:1711.07767, Figure 4; the authors'
        models/RFB_Net_vgg.py, BasicRFB.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        scale: float = 0.1,
        visual: int = 1,
        stride: int = 1,
    ):
        super().__init__()
        plans = rfb_branches(channels, visual=visual, stride=stride)
        self.scale = scale
        self.branches = nn.ModuleList(SpecStack(p, channels) for p in plans)
        fused = sum(plan[-1].width for plan in plans)
        self.fuse = _linear(fused, width, 1)
        self.shortcut = _linear(channels, width, stride)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = MOMENTUM

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, (B, O, H', W')."""
        maps = torch.cat([branch(x) for branch in self.branches], 1)
        return (self.scale * self.fuse(maps) + self.shortcut(x)).relu()


def _linear(channels: int, width: int, stride: int) -> SpecStack:
    """A 1x1 convolution and its normalisation."""
    layer = LayerSpec("conv", Window(1, stride), width, relu=False, norm=True)
    return SpecStack((layer,), channels)
