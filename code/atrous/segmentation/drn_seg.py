"""Dilated residual networks for dense prediction."""

from collections.abc import Sequence

from torch import Tensor, nn

from atrous.backbones.drn import OUTPUT_STRIDE, drn_backbone
from atrous.layers.init import he_normal_
from atrous.ops.upsampling import cut, transposed_bilinear
from atrous.segmentation.base import Segmenter, check_pictures

UPSAMPLINGS = ("bilinear", "transposed")


class DRNSeg(Segmenter):
    """A DRN for dense prediction: (B, 3, H, W) to logits (B, C, H, W).

    Args:
        name: One of `atrous.backbones.drn.ARCHITECTURES`.
        num_classes: Classes C, at least 1.
        upsampling: "bilinear", or "transposed": `transposed_bilinear`, then
            cropped. If 8 divides H and W they differ at the border only.
        align_corners: Whether bilinear upsampling aligns corners.
        options: As in `atrous.backbones.drn.drn_plan`.

    Raises:
        ValueError: If a value is out of range; see `drn_plan`.

    Source:
        Yu et al., CVPR 2017, section 5; the authors' segment.py.
        Departs: that code gives the log-softmax of the transposed form.
    """

    def __init__(
        self,
        name: str,
        *,
        num_classes: int = 19,
        upsampling: str = "bilinear",
        align_corners: bool = False,
        **options,
    ):
        super().__init__(
            num_classes=num_classes,
            output_stride=OUTPUT_STRIDE,
            align_corners=align_corners,
        )
        if upsampling not in UPSAMPLINGS:
            raise ValueError(
                f"upsampling={upsampling!r}: must be one of {UPSAMPLINGS}"
            )
        if align_corners and upsampling == "transposed":
            raise ValueError(
                "align_corners=True: upsampling='transposed' has no corners "
                "to align; take 'bilinear'"
            )
        self.upsampling = upsampling
        self.backbone = drn_backbone(name, **options)
        channels = self.backbone.channels
        self.seg = he_normal_(nn.Conv2d(channels, num_classes, 1))
        nn.init.zeros_(self.seg.bias)

    def logits(self, x: Tensor) -> Tensor:
        """Logits at stride 8, (B, C, ceil(H / 8), ceil(W / 8))."""
        check_pictures(x)
        return self.seg(self.backbone(x))

    def upsample(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        """Bring logits to a picture's size, (B, C, *size)."""
        if self.upsampling == "transposed":
            return cut(transposed_bilinear(logits), size)
        return super().upsample(logits, size)
