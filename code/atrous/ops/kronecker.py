"""Kronecker convolution: dilated taps that each see the mean of a square.

Every tap of the dilated kernel shares its weight among the pixels around it.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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


def _check(dilation: int, sharing: int) -> None:
    if not 1 <= sharing <= dilation:
        raise ValueError(
            f"dilation={dilation}, sharing={sharing}: must be "
            "1 <= sharing <= dilation"
        )
