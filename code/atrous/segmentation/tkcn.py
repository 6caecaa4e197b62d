"""TKCN: three Kronecker convolutions in a chain behind a ResNet."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from atrous.arithmetic import check_positive, stage_plan
from atrous.backbones.resnet import ResNet
from atrous.ops.kronecker import KroneckerConv2d
from atrous.segmentation.base import EncoderDecoder

# Dilation and sharing of each level. Source: Wu et al., AAAI 2019.
LEVELS = ((10, 7), (20, 15), (30, 25))


class TFA(nn.Module):
    """Tree-structured feature aggregation, (B, C, H, W) to (B, C', H, W).

    Kronecker convolutions in a chain, each with BN and ReLU. The input and
    what each gives are concatenated: C' = C + levels x width.

    Args:
        channels: Input channels C.
        levels: Dilation and sharing of each convolution.
        width: Channels of each level.

    Raises:
        ValueError: If there is no level or a number is out of range.

    Source:
        Wu et al., AAAI 2019; public copies of the released code.
    """

    def __init__(
        self,
        channels: int,
        *,
        levels: Sequence[tuple[int, int]] = LEVELS,
        width: int = 512,
    ):
        super().__init__()
        if not levels:
            raise ValueError(f"levels={levels}: must be at least one")
        before = (channels, *[width] * (len(levels) - 1))
        self.levels = nn.ModuleList(
            nn.Sequential(
                KroneckerConv2d(inner, width, dilation=r1, sharing=r2),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            )
            for inner, (r1, r2) in zip(before, levels, strict=True)
        )
        self.channels = channels + len(levels) * width

    def forward(self, x: Tensor) -> Tensor:
        """Input and levels, (B, C', H, W)."""
        maps = [x]
        for level in self.levels:
            maps.append(level(maps[-1]))
        return torch.cat(maps, 1)


def tfa_head(
    channels: int,
    num_classes: int,
    *,
    levels: Sequence[tuple[int, int]] = LEVELS,
    width: int = 512,
) -> nn.Sequential:
    """TFA, a 3x3 convolution with BN and ReLU, dropout, and the scores.

    Maps (B, channels, H, W) to logits (B, num_classes, H, W). Dropout, at
    probability 0.1, leaves out whole channels.

    Raises:
        ValueError: If a number is out of range.

    Source:
        Wu et al., AAAI 2019; public copies of the released code.
    """
    check_positive(num_classes=num_classes)
    tfa = TFA(channels, levels=levels, width=width)
    fuse = nn.Sequential(
        nn.Conv2d(tfa.channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )
    score = nn.Conv2d(width, num_classes, 1)
    return nn.Sequential(
        OrderedDict(tfa=tfa, fuse=fuse, drop=nn.Dropout2d(0.1), score=score)
    )


def tkcn(
    depth: int = 101,
    *,
    num_classes: int = 19,
    output_stride: int = 8,
    levels: Sequence[tuple[int, int]] = LEVELS,
    width: int = 512,
    align_corners: bool = False,
) -> EncoderDecoder:
    """TKCN on a ResNet: (B, 3, H, W) to logits (B, C, H, W).

    Stage 4 shares, too: where its rate is r, its 3x3 convolutions, those of
    the first unit among them, become Kronecker convolutions (r, r - 1).
    `backbone.plan` is what it was before.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_classes: Classes C, at least 1.
        output_stride: 4, 8, 16 or 32; published is 8. The levels stay.
        levels: As in `TFA`.
        width: As in `TFA`.
        align_corners: Whether the upsampling aligns corners, as released.

    Raises:
        ValueError: If a number is out of range.

    Source:
        Wu et al., AAAI 2019; public copies of the released code, whose
        stage 4 has (4, 3) at output stride 8.
        Departs: rates of stage 4 at other output strides are this book's.
    """
    backbone = ResNet(depth, output_stride=output_stride)
    rate = stage_plan(output_stride)[3].dilation
    for unit in backbone.layer4 if rate > 1 else ():
        for name, module in [*unit.named_children()]:
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                shared = KroneckerConv2d(
                    module.in_channels,
                    module.out_channels,
                    dilation=rate,
                    sharing=rate - 1,
                    bias=False,
                )
                setattr(unit, name, shared)
    head = tfa_head(backbone.channels, num_classes, levels=levels, width=width)
    return EncoderDecoder(
        backbone,
        head,
        num_classes=num_classes,
        output_stride=output_stride,
        align_corners=align_corners,
    )
