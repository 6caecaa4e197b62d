"""RefineNet and Light-Weight RefineNet: decoders on several backbones."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from atrous.arithmetic import check_positive
from atrous.backbones.mobilenet import MobileNetV2
from atrous.backbones.resnet import ResNet
from atrous.layers.init import he_normal_
from atrous.layers.refine_block import (
    ChainedResidualPooling,
    RefineBlock,
    conv,
)
from atrous.ops.upsampling import resize
from atrous.segmentation.base import EncoderDecoder

WIDTHS = (512, 256, 256, 256)  # of the levels, the coarsest first
OUTPUT_STRIDE = 4


class RefineNetDecoder(nn.Module):
    """The levels of a ResNet, the coarsest first, to scores at the finest.

    Maps a map (B, C_i, H_i, W_i) a level to (B, num_classes, H, W).

    Args:
        channels: C_i.
        num_classes: Classes, at least 1.
        light: As in `RefineBlock`.
        dropout: Probability of the dropout before the two coarsest levels
            and before the scores.

    Raises:
        ValueError: If a number is out of range.

    Source:
        Lin et al., arXiv:1611.06612, Figure 2 (c); widths and dropout:
        DrSleep/refinenet-pytorch.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        *,
        light: bool = False,
        dropout: float = 0.0,
    ):
        super().__init__()
        check_positive(num_classes=num_classes)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            RefineBlock(c, width, out, coarsest=i == 0, light=light)
            for i, (c, width, out) in enumerate(
                zip(channels, WIDTHS, (*WIDTHS[1:], None), strict=True)
            )
        )
        self.score = conv(WIDTHS[-1], num_classes, 3, bias=True)

    def forward(self, *maps: Tensor) -> Tensor:
        """Scores at the finest level, (B, num_classes, H, W)."""
        refined = None
        for i, (block, x) in enumerate(zip(self.blocks, maps, strict=True)):
            refined = block(self.dropout(x) if i < 2 else x, refined)
        return self.score(self.dropout(refined))


class MobileRefineNetDecoder(nn.Module):
    """The stages of MobileNetV2, the coarsest first, to scores at 1/4.

    Stages of one stride are reduced and summed, and there is nothing to
    adapt: otherwise the light-weight form, with ReLU6.

    Args:
        channels: Channels of the stages of each level.
        num_classes: Classes, at least 1.
        width: Channels of every level.

    Raises:
        ValueError: If `num_classes` is below 1.

    Source:
        DrSleep/light-weight-refinenet.
    """

    def __init__(
        self,
        channels: Sequence[Sequence[int]],
        num_classes: int,
        *,
        width: int = 256,
    ):
        super().__init__()
        check_positive(num_classes=num_classes)
        self.reduce = nn.ModuleList(
            nn.ModuleList(conv(c, width, 1) for c in level)
            for level in channels
        )
        self.poolings = nn.ModuleList(
            ChainedResidualPooling(width, kernel=1) for _ in channels
        )
        self.outs = nn.ModuleList(conv(width, width, 1) for _ in channels[1:])
        self.score = conv(width, num_classes, 3, bias=True)

    def forward(self, *maps: Tensor) -> Tensor:
        """Scores at the finest level, (B, num_classes, H, W)."""
        left, refined = [*maps], None
        for i, reductions in enumerate(self.reduce):
            x = sum(reduce(left.pop(0)) for reduce in reductions)
            if refined is not None:
                x = x + resize(self.outs[i - 1](refined), x.shape[2:], True)
            refined = self.poolings[i](F.relu6(x))
        return self.score(refined)


def refinenet_resnet(
    depth: int,
    *,
    num_classes: int = 21,
    light: bool = False,
    dropout: float | None = None,
    output_stride: int = 32,
    align_corners: bool = False,
) -> EncoderDecoder:
    """RefineNet on a ResNet: (B, 3, H, W) to logits (B, C, H, W).

    Its output stride is 4, that of the finest map.

    Args:
        depth: As in `atrous.backbones.resnet.ResNet`.
        num_classes: Classes C, at least 1.
        light: Whether it is Light-Weight RefineNet.
        dropout: As in `RefineNetDecoder`; 0.5, or 0 if light, if None.
        output_stride: Of the backbone; 32 is published.
        align_corners: Whether the last upsampling aligns corners.

    Raises:
        ValueError: If a value is out of range.

    Source:
        Lin et al., arXiv:1611.06612; Nekrasov et al., arXiv:1810.03272; as
        ported by DrSleep.
    """
    backbone = he_normal_(ResNet(depth, output_stride=output_stride))
    channels = [s[-1].widths[-1] for s in reversed(backbone.plan)]
    if dropout is None:
        dropout = 0.0 if light else 0.5
    decoder = RefineNetDecoder(
        channels, num_classes, light=light, dropout=dropout
    )
    levels = ("layer4", "layer3", "layer2", "layer1")
    return EncoderDecoder(
        backbone,
        decoder,
        num_classes=num_classes,
        output_stride=OUTPUT_STRIDE,
        levels=levels,
        align_corners=align_corners,
    )


def refinenet_mobilenetv2(
    *, num_classes: int = 21, align_corners: bool = False
) -> EncoderDecoder:
    """Light-Weight RefineNet on MobileNetV2: to logits (B, C, H, W).

    Args:
        num_classes: Classes C, at least 1.
        align_corners: Whether the last upsampling aligns corners.

    Raises:
        ValueError: If `num_classes` is below 1.

    Source:
        DrSleep/light-weight-refinenet.
    """
    backbone = he_normal_(MobileNetV2(last=None, expand_first=True))
    channels = ((320, 160), (96, 64), (32,), (24,))
    decoder = MobileRefineNetDecoder(channels, num_classes)
    levels = [f"stage{number}" for number in (7, 6, 5, 4, 3, 2)]
    return EncoderDecoder(
        backbone,
        decoder,
        num_classes=num_classes,
        output_stride=OUTPUT_STRIDE,
        levels=levels,
        align_corners=align_corners,
    )
