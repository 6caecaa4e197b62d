"""Dense upsampling convolution (DUC), and the network of HDC and DUC."""

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor

from atrous.arithmetic import Window
from atrous.backbones.resnet import ResNet
from atrous.gridding.hybrid_rates import RESNET101_RATES
from atrous.layers.aspp import ASPP_L, SummedASPP, score_layers
from atrous.layers.spec import LayerSpec
from atrous.ops.upsampling import cut
from atrous.segmentation.base import DeepLab

OUTPUT_STRIDE = 8
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
        if num_classes < 1 or upscale < 1:
            raise ValueError(
                f"num_classes={num_classes}, upscale={upscale}: both must be "
                "at least 1"
            )
        width = num_classes * upscale**2
        plans = [score_layers(width, rate=rate) for rate in rates]
        super().__init__(plans, channels)
        self.upscale = upscale

    def forward(self, x: Tensor) -> Tensor:
        """Scores, (B, C, d H, d W)."""
        return F.pixel_shuffle(super().forward(x), self.upscale)


class WholeCells(DeepLab):
    """A `DeepLab` whose pictures are padded to whole cells of its backbone.

    With zeros, below and to the right; the logits are cut off there again.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C, H, W) of a picture (B, 3, H, W)."""
        stride, (height, width) = self.backbone.output_stride, x.shape[2:]
        x = F.pad(x, (0, -width % stride, 0, -height % stride))
        return cut(super().forward(x), (height, width))


def hdc_duc_resnet(
    *,
    depth: int = 101,
    num_classes: int = 19,
    unit_rates: Mapping[int, Sequence[int]] | None = RESNET101_RATES,
    upscale: int = OUTPUT_STRIDE,
    rates: Sequence[int] = ASPP_L,
) -> WholeCells:
    """ResNet with hybrid rates and DUC: (B, 3, H, W) to (B, C, H, W).

    `scores` gives logits at stride 8 / upscale: at the default they are
    those of the picture's pixels, if its sides are multiples of 8.

    Args:
        depth: 18, 34, 50 or 101.
        num_classes: Classes C, at least 1.
        unit_rates: Rates of the backbone's units, by stage, as `rates` in
            `atrous.backbones.resnet.resnet_plan`; None for the usual 2 and
            4. The default fits ResNet-101 only.
        upscale: As in `DUC`. 1 is for comparison: bilinear upsampling of
            the scores.
        rates: As in `DUC`.

    Raises:
        ValueError: If a value is out of range; see `ResNet` and `DUC`.

    Source:
        Wang et al., arXiv:1702.08502, section 3; layer by layer
        TuSimple-DUC.
        Departs: epsilon and momentum of batch normalisation are torch's.
    """
    backbone = ResNet(
        depth,
        output_stride=OUTPUT_STRIDE,
        convention="caffe",
        rates=unit_rates,
        stem=STEM,
    )
    head = DUC(
        backbone.channels,
        num_classes=num_classes,
        upscale=upscale,
        rates=rates,
    )
    return WholeCells(backbone, head)
