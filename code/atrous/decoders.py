"""From an encoder's maps to scores: what decoders of several papers share."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from atrous.arithmetic import Window
from atrous.deeplab import DeepLab, resize
from atrous.plans import Layer, separable_layers


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


class LowLevelDecoder(nn.Module):
    """Context upsampled, joined by low-level features, fused to scores.

    Maps (B, c, h, w), coarse, and (B, c', H, W), fine, to (B, C, H, W).

    Args:
        context: Maps the coarse map to the features that are upsampled.
        reduce: What the fine map goes through; `nn.Identity()` for nothing.
        fuse: Maps the concatenation, the context first, to scores.
        align_corners: Whether the upsampling aligns corners.

    Source:
        Chen et al., arXiv:1802.02611, section 3.1 and Figure 2.
    """

    def __init__(
        self,
        context: nn.Module,
        reduce: nn.Module,
        fuse: nn.Module,
        *,
        align_corners: bool = False,
    ):
        super().__init__()
        self.context, self.reduce, self.fuse = context, reduce, fuse
        self.align_corners = align_corners

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Scores at the places of the fine map, (B, C, H, W)."""
        context = resize(
            self.context(coarse), fine.shape[2:], self.align_corners
        )
        return self.fuse(torch.cat([context, self.reduce(fine)], 1))


def fuse_layers(
    channels: int,
    num_classes: int,
    *,
    width: int = 256,
    depth: int = 2,
    separable: bool = True,
    norm: bool = True,
) -> tuple[Layer, ...]:
    """Plan of a decoder's last part: 3x3 convolutions, then the scores.

    Args:
        channels: Input channels.
        num_classes: Classes, at least 1.
        width: Output channels of the 3x3 convolutions.
        depth: How many there are.
        separable: Whether they are separable.
        norm: As in `atrous.plans.separable_layers`.

    Raises:
        ValueError: If `num_classes` or `width` is below 1.

    Source:
        Chen et al., arXiv:1802.02611, section 4.1 and Table 2.
    """
    for name, value in {"num_classes": num_classes, "width": width}.items():
        if value < 1:
            raise ValueError(f"{name}={value}: must be at least 1")
    layers, window = [], Window(3, padding=1)
    for i in range(1, depth + 1):
        if separable:
            layers += separable_layers(
                window, channels, width, norm=norm, prefix=f"fuse{i}_"
            )
        else:
            layers.append(Layer(f"fuse{i}", window, width, norm=True))
        channels = width
    return (*layers, Layer("score", Window(1), num_classes, relu=False))
