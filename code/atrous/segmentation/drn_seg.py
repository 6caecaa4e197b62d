"""Dilated residual networks for dense prediction."""

import torch.nn.functional as F
from torch import Tensor, nn

from atrous.backbones.drn import drn_backbone
from atrous.layers.init import he_normal_
from atrous.ops.upsampling import cut, transposed_bilinear

UPSAMPLINGS = ("bilinear", "transposed")


class DRNSeg(nn.Module):
    """A DRN for dense prediction: (B, 3, H, W) to logits (B, C, H, W).

    `scores(x)` gives the logits at stride 8, `forward(x)` those upsampled to
    the size of x.

    Args:
        variant: One of `VARIANTS`.
        num_classes: Classes C, at least 1.
        upsampling: "bilinear", or "transposed": `transposed_bilinear`, then
            cropped. If 8 divides H and W they differ at the border only.
        options: As in `drn_plan`.

    Raises:
        ValueError: If a value is out of range; see `drn_plan`.

    Source:
        Yu et al., CVPR 2017, section 5; the authors' segment.py.
        Departs: that code gives the log-softmax of the transposed form.
    """

    def __init__(
        self,
        variant: str,
        *,
        num_classes: int = 19,
        upsampling: str = "bilinear",
        **options,
    ):
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes={num_classes}: must be at least 1")
        if upsampling not in UPSAMPLINGS:
            raise ValueError(
                f"upsampling={upsampling!r}: must be one of {UPSAMPLINGS}"
            )
        self.upsampling = upsampling
        self.backbone = drn_backbone(variant, **options)
        channels = self.backbone.channels
        self.seg = he_normal_(nn.Conv2d(channels, num_classes, 1))
        nn.init.zeros_(self.seg.bias)

    def scores(self, x: Tensor) -> Tensor:
        """Logits at stride 8, (B, C, H', W')."""
        return self.seg(self.backbone(x))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (B, C, H, W)."""
        scores, size = self.scores(x), x.shape[2:]
        if self.upsampling == "transposed":
            return cut(transposed_bilinear(scores), size)
        return F.interpolate(scores, size, mode="bilinear")
