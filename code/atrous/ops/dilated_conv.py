"""The dilated convolution, computed in several ways that give one result.

out[b, o, p] = bias[o] + sum over c, t of x[b, c, s p + r t - padding]
weight[o, c, t], with r the dilation and s the stride: the cross-correlation,
as every framework computes it. The five functions of this file agree with
`torch.nn.functional.conv2d` in values and gradients; they differ in what
they store and in what they multiply. They are there to be read and counted:
torch's own is faster.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from atrous.arithmetic import Window, output_size
from atrous.ops.valid_taps import tap_ranges


def shifted_products(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """Sum of k^2 products, one per tap, each a 1x1 convolution of a shift.

    Args:
        x: Pictures or features, (B, C, H, W).
        weight: Kernels, (O, C / groups, kh, kw).
        bias: (O,), or None.
        stride: Pixels between outputs.
        padding: Zeros added on each side.
        dilation: Pixels between taps; 1 is the ordinary convolution.
        groups: Groups of channels that do not mix.

    Returns:
        (B, O, H', W') as `torch.nn.functional.conv2d`.

    Raises:
        ValueError: If shapes do not fit or a number is out of range.

    Source:
        Yu & Koltun, arXiv:1511.07122, equation 2, term by term.
    """
    rows, columns = _check(x, weight, stride, padding, dilation, groups)
    x = F.pad(x, (padding,) * 4).unflatten(1, (groups, -1))
    kernels = weight.unflatten(0, (groups, -1))  # (G, O/G, C/G, kh, kw)
    out = 0
    for u in range(weight.shape[2]):
        for v in range(weight.shape[3]):
            top, left = u * dilation, v * dilation
            shifted = x[
                ...,
                top : top + (rows - 1) * stride + 1 : stride,
                left : left + (columns - 1) * stride + 1 : stride,
            ]
            tap = kernels[..., u, v]
            out = out + torch.einsum("bgchw,goc->bgohw", shifted, tap)
    return _add_bias(out.flatten(1, 2), bias)


def zero_filled(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """A dense convolution with r - 1 zeros put between the taps.

    Arguments, result and errors as `shifted_products`. The "holes" (trous)
    of the name; it multiplies by every one of them.

    Source:
        Chen et al., arXiv:1606.00915, section 3.1.
    """
    _check(x, weight, stride, padding, dilation, groups)
    out_channels, channels, kh, kw = weight.shape
    size = ((kh - 1) * dilation + 1, (kw - 1) * dilation + 1)
    dense = weight.new_zeros(out_channels, channels, *size)
    dense[..., ::dilation, ::dilation] = weight
    return F.conv2d(x, dense, bias, stride, padding, groups=groups)


def sparse_im2col(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """One matrix product over patches that are sampled every r pixels.

    Arguments, result and errors as `shifted_products`. Holds all patches at
    once: k^2 times the memory of the input.

    Source:
        Chen et al., arXiv:1606.00915, section 3.1, the first of two ways.
    """
    rows, columns = _check(x, weight, stride, padding, dilation, groups)
    patches = F.unfold(
        x,
        weight.shape[2:],
        dilation=dilation,
        padding=padding,
        stride=stride,
    )  # (B, C kh kw, H' W')
    patches = patches.unflatten(1, (groups, -1))
    kernels = weight.flatten(1).unflatten(0, (groups, -1))
    out = kernels @ patches  # (B, G, O/G, H' W')
    return _add_bias(out.flatten(1, 2).unflatten(2, (rows, columns)), bias)


def phases(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """Dense convolutions of the r x r subsampled phases, then interleaved.

    Arguments, result and errors as `shifted_products`, at stride 1: an
    output only ever meets inputs of its own phase, which is why neighbours
    can disagree (gridding).

    Source:
        Chen et al., arXiv:1606.00915, section 3.1, the second of two ways.
    """
    rows, columns = _check(x, weight, 1, padding, dilation, groups)
    r = dilation
    x = F.pad(x, (padding,) * 4)
    b, c, h, w = x.shape
    x = F.pad(x, (0, -w % r, 0, -h % r))  # whole phases; cut off below
    m, n = x.shape[2] // r, x.shape[3] // r
    x = x.reshape(b, c, m, r, n, r).permute(3, 5, 0, 1, 2, 4)
    out = F.conv2d(x.reshape(r * r * b, c, m, n), weight, groups=groups)
    o, m, n = out.shape[1:]
    out = out.reshape(r, r, b, o, m, n).permute(2, 3, 4, 0, 5, 1)
    out = out.reshape(b, o, m * r, n * r)[..., :rows, :columns]
    return _add_bias(out, bias)


def valid_taps(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """Sum of one 1x1 convolution per tap, each where the tap is valid.

    Arguments, result and errors as `shifted_products`, at stride 1. A tap is
    valid at an output if it sees a pixel of the map, not padding. What falls
    on padding is not multiplied: at a large rate that is most.

    Source:
        Chen et al., arXiv:1706.05587, Figure 4: the weights that are valid.
    """
    rows, columns = _check(x, weight, 1, padding, dilation, groups)
    out = x.new_zeros(len(x), len(weight), rows, columns)
    vertical, horizontal = (
        tap_ranges(side, kernel, padding, dilation)
        for side, kernel in zip(x.shape[2:], weight.shape[2:], strict=True)
    )
    for row, column in itertools.product(vertical, horizontal):
        u, top, bottom, down = row
        v, left, right, over = column
        seen = x[..., top + down : bottom + down, left + over : right + over]
        tap = weight[..., u : u + 1, v : v + 1]
        out[..., top:bottom, left:right] += F.conv2d(seen, tap, groups=groups)
    return _add_bias(out, bias)


def _check(x, weight, stride, padding, dilation, groups) -> tuple[int, int]:
    """Validate the arguments; return the output's height and width."""
    if x.ndim != 4 or weight.ndim != 4:
        raise ValueError(
            f"x of shape {tuple(x.shape)} and weight of shape "
            f"{tuple(weight.shape)}: both must have 4 dimensions"
        )
    if groups < 1 or weight.shape[0] % groups:
        raise ValueError(
            f"groups={groups}: must be at least 1 and divide the "
            f"{weight.shape[0]} output channels"
        )
    if x.shape[1] != weight.shape[1] * groups:
        raise ValueError(
            f"x has {x.shape[1]} channels; weight of shape "
            f"{tuple(weight.shape)} with groups={groups} needs "
            f"{weight.shape[1] * groups}"
        )
    return tuple(
        output_size(side, Window(kernel, stride, dilation, padding))
        for side, kernel in zip(x.shape[2:], weight.shape[2:], strict=True)
    )


def _add_bias(out: Tensor, bias: Tensor | None) -> Tensor:
    return out if bias is None else out + bias[:, None, None]
