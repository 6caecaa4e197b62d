"""What every segmentation network is, and what wraps one."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atrous.ops.upsampling import resize


class DeepLab(nn.Module):
    """A backbone and a head: pictures (B, 3, H, W) to logits (B, C, H, W).

    `scores(x)` gives the logits at the backbone's output stride,
    `forward(x)` those upsampled bilinearly to the size of x.

    Args:
        backbone: Maps pictures to feature maps.
        head: Maps feature maps to scores at the same place.
        align_corners: Whether the upsampling aligns corners.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        *,
        align_corners: bool = False,
    ):
        super().__init__()
        self.align_corners = align_corners
        self.backbone = backbone
        self.head = head

    def scores(self, x: Tensor) -> Tensor:
        """Logits at the output stride, (B, C, H', W')."""
        return self.head(self.backbone(x))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C, H, W) of a picture (B, 3, H, W)."""
        return resize(self.scores(x), x.shape[2:], self.align_corners)


class EncoderDecoder(DeepLab):
    """A backbone and a decoder: (B, 3, H, W) to logits (B, C, H, W).

    `scores(x)` gives the logits at the stride of the finest map that the
    decoder takes, `forward(x)` those upsampled bilinearly to the size of x.

    Args:
        backbone: Gives its maps by name: `features(x)`.
        decoder: Maps those named in `levels`, in their order, to scores.
        levels: Their names.
        align_corners: Whether the upsampling aligns corners.
    """

    def __init__(
        self,
        backbone: nn.Module,
        decoder: nn.Module,
        *,
        levels: Sequence[str],
        align_corners: bool = False,
    ):
        super().__init__(backbone, decoder, align_corners=align_corners)
        self.levels = tuple(levels)

    def scores(self, x: Tensor) -> Tensor:
        """Logits at the stride of the finest level, (B, C, H', W')."""
        maps = self.backbone.features(x)
        return self.head(*[maps[name] for name in self.levels])


class MultiScale(nn.Module):
    """Several sizes of the input through one network, fused by maximum.

    Each scale's scores are upsampled to those of the largest scale; the
    output is their maximum, place by place and class by class, in training
    too. Pictures (B, 3, H, W) give logits (B, C, H, W).

    Args:
        network: Any network with `scores(x)`; its weights are shared.
        scales: Factors of the input's size, each positive.

    Raises:
        ValueError: If there is no scale or one is not positive.

    Source:
        Chen et al., arXiv:1606.00915, section 4.1.2: scales 0.5, 0.75, 1.
        Departs: the paper upsamples each scale to the picture before the
        maximum; as kazuto1011's port, this takes it on the largest's grid.
    """

    def __init__(
        self, network: nn.Module, *, scales: Sequence[float] = (0.5, 0.75, 1.0)
    ):
        super().__init__()
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales={scales}: each must be positive")
        self.network = network
        self.scales = tuple(scales)

    def scores(self, x: Tensor) -> Tensor:
        """The largest scale's grid, (B, C, H', W'): maximum over scales."""
        maps = [
            self.network.scores(
                x
                if scale == 1
                else F.interpolate(
                    x,
                    scale_factor=scale,
                    mode="bilinear",
                    align_corners=False,
                )
            )
            for scale in sorted(self.scales, reverse=True)
        ]
        size = maps[0].shape[2:]
        maps = [maps[0], *(resize(smaller, size) for smaller in maps[1:])]
        return torch.stack(maps).amax(0)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (B, C, H, W)."""
        return resize(self.scores(x), x.shape[2:])
