"""Visual attention network (VAN): four stages of large kernel attention."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atrous.arithmetic import Window, check_positive
from atrous.large_kernels.large_kernel_attention import (
    LargeKernelAttention,
)
from atrous.layers.channel_norm import ChannelNorm
from atrous.layers.depthwise import depthwise_conv
from atrous.layers.init import he_normal_

# Channels and blocks of each stage. Source: Guo et al., arXiv:2202.09741,
# Table 2; VAN-Classification, where B0 to B3 are tiny, small, base and large.
ARCHITECTURES = {
    "van_b0": {"widths": (32, 64, 160, 256), "depths": (3, 3, 5, 2)},
    "van_b1": {"widths": (64, 128, 320, 512), "depths": (2, 2, 4, 2)},
    "van_b2": {"widths": (64, 128, 320, 512), "depths": (3, 3, 12, 3)},
    "van_b3": {"widths": (64, 128, 320, 512), "depths": (3, 5, 27, 3)},
}
# How much wider than its stage the middle of a feed-forward part is.
EXPANSIONS = (8, 8, 4, 4)
LAYER_SCALE = 0.01


class SpatialAttention(nn.Module):
    """1x1, GELU, LKA and 1x1, added to the input: (B, C, H, W) to the same.

    Arguments and errors as `LargeKernelAttention`.

    Source:
        Guo et al., arXiv:2202.09741, Figure 3; VAN-Classification.
    """

    def __init__(self, channels: int, **options):
        super().__init__()
        self.before = nn.Conv2d(channels, channels, 1)
        self.gate = LargeKernelAttention(channels, **options)
        self.after = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The attended maps, (B, C, H, W)."""
        y = F.gelu(self.before(x))
        return x + self.after(self.gate(y))


class FeedForward(nn.Sequential):
    """1x1, depthwise 3x3, GELU and 1x1: (B, C, H, W) to the same shape.

    Args:
        channels: Channels C.
        width: Channels in the middle.

    Source:
        Guo et al., arXiv:2202.09741, Figure 3; VAN-Classification.
    """

    def __init__(self, channels: int, width: int):
        super().__init__(
            nn.Conv2d(channels, width, 1),
            depthwise_conv(width, Window(3, padding=1)),
            nn.GELU(),
            nn.Conv2d(width, channels, 1),
        )


class VANBlock(nn.Module):
    """Attention, then feed-forward, each normalised, scaled and added.

    Maps (B, C, H, W) to the same shape. Each channel of both parts has a
    scale of its own, 0.01 at first.

    Args:
        channels: Channels C.
        expansion: How much wider the middle of the feed-forward part is.
        options: As in `LargeKernelAttention`.

    Raises:
        ValueError: As `LargeKernelAttention`.

    Source:
        Guo et al., arXiv:2202.09741, Figure 3; VAN-Classification.
        Departs: no stochastic depth, which that code trains with.
    """

    def __init__(self, channels: int, *, expansion: int = 4, **options):
        super().__init__()
        self.layer_scale_1 = nn.Parameter(torch.full((channels,), LAYER_SCALE))
        self.layer_scale_2 = nn.Parameter(torch.full((channels,), LAYER_SCALE))
        self.norm1 = nn.BatchNorm2d(channels)
        self.attention = SpatialAttention(channels, **options)
        self.norm2 = nn.BatchNorm2d(channels)
        self.feed_forward = FeedForward(channels, expansion * channels)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, (B, C, H, W)."""
        y = self.attention(self.norm1(x))
        x = x + self.layer_scale_1[:, None, None] * y
        y = self.feed_forward(self.norm2(x))
        return x + self.layer_scale_2[:, None, None] * y


class VAN(nn.Module):
    """A VAN that classifies: (B, 3, H, W) to logits (B, num_classes).

    Four stages at strides 4, 8, 16 and 32. Each begins with a convolution,
    7x7 in the first and 3x3 in the others, and ends in a normalisation of
    the channels.

    Args:
        widths: Channels of each stage; those of `ARCHITECTURES`.
        depths: Blocks of each stage.
        expansions: As `VANBlock` takes it, for each stage.
        num_classes: Classes, at least 1.
        options: As in `LargeKernelAttention`, for all blocks.

    Raises:
        ValueError: If the stages differ in number or a number is below 1.

    Source:
        Guo et al., arXiv:2202.09741, section 3.2 and Table 2;
        VAN-Classification, models/van.py.
        Departs: as `VANBlock`.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        depths: Sequence[int],
        expansions: Sequence[int] = EXPANSIONS,
        num_classes: int = 1000,
        **options,
    ):
        super().__init__()
        check_positive(num_classes=num_classes)
        if not len(widths) == len(depths) == len(expansions) > 0:
            raise ValueError(
                f"widths={widths}, depths={depths}, expansions={expansions}: "
                "must be one of each for every stage"
            )
        self.num_classes = num_classes
        self.stages = nn.ModuleList()
        channels = 3
        stages = zip(widths, depths, expansions, strict=True)
        for number, (width, depth, expansion) in enumerate(stages):
            check_positive(width=width, depth=depth, expansion=expansion)
            kernel, stride = (7, 4) if number == 0 else (3, 2)
            self.stages.append(
                nn.Sequential(
                    nn.Conv2d(channels, width, kernel, stride, kernel // 2),
                    nn.BatchNorm2d(width),
                    *(
                        VANBlock(width, expansion=expansion, **options)
                        for _ in range(depth)
                    ),
                    ChannelNorm(width),
                )
            )
            channels = width
        self.head = nn.Linear(channels, num_classes)
        _start_(self)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Maps by name, "stage1" to "stage4", (B, C, H', W')."""
        maps = {}
        for number, stage in enumerate(self.stages, 1):
            x = maps[f"stage{number}"] = stage(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (B, num_classes)."""
        *_, last = self.features(x).values()
        return self.head(last.mean((2, 3)))


def _start_(network: nn.Module) -> None:
    """He's normal for convolutions, a narrow one for the head, no biases."""
    he_normal_(network)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.zeros_(module.bias)
