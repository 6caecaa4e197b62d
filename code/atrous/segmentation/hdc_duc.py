"""Dense upsampling convolution (DUC), and the network of HDC and DUC."""

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from atrous.arithmetic import Window, check_positive
from atrous.backbones.resnet import ResNet
from atrous.gridding.hybrid_rates import RESNET101_RATES
from atrous.layers.aspp import ASPP_L, SummedASPP, score_layers
from atrous.layers.spec import LayerSpec
from atrous.ops.upsampling import cut, resize_cells
from atrous.segmentation.base import EncoderDecoder, check_pictures

OUTPUT_STRIDE = 8  # of the backbone
UPSCALES = (1, 2, 4, 8)
# Cell i is centred on pixel 8 i + 2: the pooling has no padding.
STEM = (
    LayerSpec("conv1", Window(3, stride=2, padding=1), 64, norm=True),
    LayerSpec("conv2", Window(3, padding=1), 64, norm=True),
    LayerSpec("conv3", Window(3, padding=1), 128, norm=True),
    LayerSpec("pool", Window(3, stride=2)),
)


class DUC(SummedASPP):
    """Dense upsampling convolution: (B, C', H, W) to scores (B, C, d H, d W).

    Each branch gives d^2 C channels. Their sum s becomes

        out[c, d y + v, d x + u] = s[c d^2 + v d + u, y, x],

    so every place of the d x d cell has weights of its own. At d = 1 it is
    the head of DeepLab v2. Weights start from N(0, 0.01^2), biases from 0.

    Args:
        channels: Input channels C'.
        num_classes: Classes C, at least 1.
        upscale: Side d of a cell, in pixels of the output.
        rates: Rates of the branches, each a 3x3 convolution.

    Raises:
        ValueError: If a number is below 1 or there is no rate.

    Source:
        Wang et al., arXiv:1702.08502, section 3.1; rates: TuSimple-DUC.
    """

    def __init__(
        self,
        channels: int,
        *,
        num_classes: int = 19,
        upscale: int = OUTPUT_STRIDE,
        rates: Sequence[int] = ASPP_L,
    ):
        check_positive(num_classes=num_classes, upscale=upscale)
        width = num_classes * upscale**2
        plans = [score_layers(width, rate=rate) for rate in rates]
        super().__init__(plans, channels)
        self.upscale = upscale

    def forward(self, x: Tensor) -> Tensor:
        """Scores, (B, C, d H, d W)."""
        return F.pixel_shuffle(super().forward(x), self.upscale)


class HDCDUC(EncoderDecoder):
    """A backbone at stride 8 and a `DUC`: (B, 3, H, W) to (B, C, H, W).

    Pictures are padded with zeros, below and to the right, to whole cells
    of 8 x 8 pixels. The logits are at stride 8 / upscale; what lies past the
    picture is cut off.

    Args:
        backbone: Maps pictures to a feature map at stride 8.
        head: The `DUC`.
        num_classes: Classes C.
        align_corners: Whether the upsampling of what DUC leaves does.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: DUC,
        *,
        num_classes: int,
        align_corners: bool = False,
    ):
        super().__init__(
            backbone,
            head,
            num_classes=num_classes,
            output_stride=OUTPUT_STRIDE // head.upscale,
            align_corners=align_corners,
        )

    def logits(self, x: Tensor) -> Tensor:
        """Logits (B, C, H', W'), H' = ceil(H / output_stride)."""
        check_pictures(x)
        height, width = x.shape[2:]
        cell, stride = OUTPUT_STRIDE, self.output_stride
        padded = F.pad(x, (0, -width % cell, 0, -height % cell))
        return cut(
            super().logits(padded), (-(-height // stride), -(-width // stride))
        )

    def upsample(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        """Bring logits to a picture's size, (B, C, *size)."""
        return resize_cells(
            logits, self.output_stride, size, self.align_corners
        )


def hdc_duc_resnet(
    depth: int = 101,
    *,
    num_classes: int = 19,
    unit_rates: Mapping[int, Sequence[int]] | None = RESNET101_RATES,
    upscale: int = OUTPUT_STRIDE,
    rates: Sequence[int] = ASPP_L,
    align_corners: bool = False,
) -> HDCDUC:
    """ResNet with hybrid rates and DUC: (B, 3, H, W) to (B, C, H, W).

    At the default its logits are those of the picture's pixels.

    Args:
        depth: 18, 34, 50 or 101.
        num_classes: Classes C, at least 1.
        unit_rates: Rates of the backbone's units, by stage, as in
            `atrous.backbones.resnet.resnet_plan`; None for the usual 2 and
            4. The default fits ResNet-101 only.
        upscale: 1, 2, 4 or 8, as in `DUC`. 1 is for comparison: bilinear
            upsampling of the scores.
        rates: As in `DUC`.
        align_corners: As in `HDCDUC`.

    Raises:
        ValueError: If a value is out of range; see `ResNet` and `DUC`.

    Source:
        Wang et al., arXiv:1702.08502, section 3; layer by layer
        TuSimple-DUC.
        Departs: epsilon and momentum of batch normalisation are torch's.
    """
    if upscale not in UPSCALES:
        raise ValueError(f"upscale={upscale}: must be one of {UPSCALES}")
    backbone = ResNet(
        depth,
        output_stride=OUTPUT_STRIDE,
        variant="caffe",
        unit_rates=unit_rates,
        stem=STEM,
    )
    head = DUC(
        backbone.channels,
        num_classes=num_classes,
        upscale=upscale,
        rates=rates,
    )
    return HDCDUC(
        backbone,
        head,
        num_classes=num_classes,
        align_corners=align_corners,
    )
