"""From an encoder's maps to scores: what decoders of several papers share."""

import torch
from torch import Tensor, nn

from atrous.arithmetic import Window, check_positive
from atrous.layers.spec import LayerSpec, separable_layers
from atrous.ops.upsampling import resize


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
    convolutions: int = 2,
    separable: bool = True,
    norm: bool = True,
) -> tuple[LayerSpec, ...]:
    """Plan of a decoder's last part: 3x3 convolutions, then the scores.

    Args:
        channels: Input channels.
        num_classes: Classes, at least 1.
        width: Output channels of the 3x3 convolutions.
        convolutions: How many there are.
        separable: Whether they are separable.
        norm: As in `atrous.layers.spec.separable_layers`.

    Raises:
        ValueError: If `num_classes` or `width` is below 1.

    Source:
        Chen et al., arXiv:1802.02611, section 4.1 and Table 2.
    """
    check_positive(num_classes=num_classes, width=width)
    layers, window = [], Window(3, padding=1)
    for i in range(1, convolutions + 1):
        if separable:
            layers += separable_layers(
                window, channels, width, norm=norm, prefix=f"fuse{i}_"
            )
        else:
            layers.append(LayerSpec(f"fuse{i}", window, width, norm=True))
        channels = width
    return (*layers, LayerSpec("score", Window(1), num_classes, relu=False))
