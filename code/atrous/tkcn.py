"""TKCN: dilated taps that each look at the mean of a square.

A Kronecker convolution lets every tap of a dilated kernel share its weight
among the pixels around it. The network chains three of them.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atrous.arithmetic import stage_plan
from atrous.deeplab import DeepLab
from atrous.resnet import ResNet

# Dilation and sharing of each level. Source: Wu et al., AAAI 2019.
LEVELS = ((10, 7), (20, 15), (30, 25))


def kronecker_kernel(weight: Tensor, *, dilation: int, sharing: int) -> Tensor:
    """The dense kernel kron(K, B), (O, C, r1 k, r1 k).

    B is r1 x r1, zero but for 1 / r2^2 in the r2 x r2 at its top left.

    Args:
        weight: K, (O, C, k, k).
        dilation: Pixels between taps, r1, at least 1.
        sharing: Side of the square that shares a tap, 1 <= r2 <= r1. 1 is
            the dilated convolution, r1 = r2 = 1 the ordinary one.

    Raises:
        ValueError: If a number is out of range.

    Source:
        Wu et al., AAAI 2019.
    """
    _check(dilation, sharing)
    block = weight.new_zeros(dilation, dilation)
    block[:sharing, :sharing] = 1 / sharing**2
    return torch.kron(weight, block)


def kronecker_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    dilation: int,
    sharing: int,
) -> Tensor:
    """Kronecker convolution by definition: (B, C, H, W) to (B, O, H, W).

    One convolution with `kronecker_kernel`, whose arguments and errors these
    are, for odd k. The squares are centred on the taps; those of an even
    side reach one pixel further down and right.
    """
    kernel = kronecker_kernel(weight, dilation=dilation, sharing=sharing)
    before = weight.shape[-1] // 2 * dilation + (sharing - 1) // 2
    after = kernel.shape[-1] - 1 - before
    x = F.pad(x, (before, after, before, after))
    return F.conv2d(x, kernel, bias)


class KroneckerConv2d(nn.Sequential):
    """Kronecker convolution in two steps: (B, C, H, W) to (B, O, H, W).

    The means of r2 x r2 pixels, then a 3x3 convolution of dilation r1 on
    them. It equals `kronecker_conv2d` at all places at least r1 away from
    the border. Nearer, taps may fall on padding of the means, which is 0,
    although their squares still reach into the map.

    Args:
        channels: Input channels C.
        width: Output channels O.
        dilation: Pixels between taps, r1, at least 1.
        sharing: Side of the square that shares a tap, 1 <= r2 <= r1.
        bias: Whether the convolution has one.

    Raises:
        ValueError: If `dilation` or `sharing` is out of range.

    Source:
        Public copies of the released code of Wu et al., AAAI 2019.
        Departs: takes an even side, too.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        dilation: int,
        sharing: int,
        bias: bool = True,
    ):
        _check(dilation, sharing)
        before, after = (sharing - 1) // 2, sharing // 2
        super().__init__(
            OrderedDict(
                pad=nn.ZeroPad2d((before, after, before, after)),
                mean=nn.AvgPool2d(sharing, 1),
                conv=nn.Conv2d(
                    channels,
                    width,
                    3,
                    padding=dilation,
                    dilation=dilation,
                    bias=bias,
                ),
            )
        )


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
    if num_classes < 1:
        raise ValueError(f"num_classes={num_classes}: must be at least 1")
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
    *,
    depth: int = 101,
    num_classes: int = 19,
    output_stride: int = 8,
    levels: Sequence[tuple[int, int]] = LEVELS,
    width: int = 512,
    align_corners: bool = False,
) -> DeepLab:
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
    return DeepLab(backbone, head, align_corners=align_corners)


def _check(dilation: int, sharing: int) -> None:
    if not 1 <= sharing <= dilation:
        raise ValueError(
            f"dilation={dilation}, sharing={sharing}: must be "
            "1 <= sharing <= dilation"
        )
