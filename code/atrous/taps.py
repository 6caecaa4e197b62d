"""The dilated convolution, each tap computed only where it is valid.

A tap is valid at an output if it sees a pixel of the map, not padding. At a
large rate few are: the sum over the valid ones alone costs the share of the
multiply-adds that DeepLab v3 counts.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

CONTIGUOUS, CHANNELS_LAST = torch.contiguous_format, torch.channels_last


class Reach(NamedTuple):
    """Where one tap is valid along one axis.

    Attributes:
        tap: Number of the tap.
        first: First output at which it is valid.
        last: One more than the last such output.
        shift: Pixels from an output to the pixel that the tap sees.
    """

    tap: int
    first: int
    last: int
    shift: int


@functools.lru_cache(4096)
def reaches(
    size: int, kernel: int, padding: int, dilation: int
) -> tuple[Reach, ...]:
    """The taps that are valid at any output, at stride 1.

    Args:
        size: Pixels along the axis.
        kernel: Taps along the axis.
        padding: Zeros added on each side.
        dilation: Pixels between taps.

    Source:
        Chen et al., arXiv:1706.05587, Figure 4.
    """
    outputs = size + 2 * padding - (kernel - 1) * dilation
    found = []
    for tap in range(kernel):
        shift = tap * dilation - padding
        first, last = max(0, -shift), min(outputs, size - shift)
        if first < last:
            found.append(Reach(tap, first, last, shift))
    return tuple(found)


def valid_taps(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
) -> Tensor:
    """A convolution at stride 1 as the sum over its valid taps.

    Values and gradients are those of `torch.nn.functional.conv2d`, whose
    backward pass computes the gradients. The weights are best stored
    channels last: then no tap has to be copied.

    Args:
        x: (B, C, H, W), on any device.
        weight: (O, C, kh, kw).
        bias: (O,), or None.
        padding: Zeros added at each side of height and width.
        dilation: Pixels between taps along height and width.

    Returns:
        (B, O, H', W'), channels last if x or the weight is.

    Raises:
        ValueError: If shapes do not fit, a number is out of range or no tap
            is valid anywhere.

    Source:
        Chen et al., arXiv:1706.05587, Figure 4: the weights that are valid.
    """
    shapes = tuple(x.shape), tuple(weight.shape)
    if x.ndim != 4 or weight.ndim != 4 or x.shape[1] != weight.shape[1]:
        raise ValueError(f"x and weight of shapes {shapes}: do not fit")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"bias of shape {tuple(bias.shape)}: must be ({len(weight)},)"
        )
    if min(padding) < 0 or min(dilation) < 1:
        raise ValueError(
            f"padding={padding}, dilation={dilation}: must be at least 0 "
            "and at least 1"
        )
    if not all(_reaches(x, weight, padding, dilation)):
        raise ValueError(
            f"padding={padding}, dilation={dilation}: no tap is valid "
            f"anywhere, with x and weight of shapes {shapes}"
        )
    return _ValidTaps.apply(x, weight, bias, tuple(padding), tuple(dilation))


def layout(*tensors: Tensor) -> torch.memory_format:
    """The memory layout that torch's convolution takes for such tensors."""
    for tensor in tensors:
        last = tensor.is_contiguous(memory_format=CHANNELS_LAST)
        if last and not tensor.is_contiguous():
            return CHANNELS_LAST
    return CONTIGUOUS


class _ValidTaps(torch.autograd.Function):
    @staticmethod
    def forward(x, weight, bias, padding, dilation):
        return _sum(x, weight, bias, padding, dilation)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, bias, ctx.padding, ctx.dilation = inputs
        ctx.bias_sizes = None if bias is None else bias.shape
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)
        ctx.shape = output.shape

    @staticmethod
    def backward(ctx, gradient):
        gradients = torch.ops.aten.convolution_backward(
            gradient,
            *ctx.saved_tensors,
            ctx.bias_sizes,
            (1, 1),
            ctx.padding,
            ctx.dilation,
            False,  # not transposed
            (0, 0),
            1,
            ctx.needs_input_grad[:3],
        )
        return *gradients, None, None

    @staticmethod
    def jvp(ctx, x_tangent, weight_tangent, bias_tangent, *_):
        x, weight = ctx.saved_tensors
        options = {"padding": ctx.padding, "dilation": ctx.dilation}
        parts = []
        if x_tangent is not None:
            parts.append(F.conv2d(x_tangent, weight, **options))
        if weight_tangent is not None:
            parts.append(F.conv2d(x, weight_tangent, **options))
        if bias_tangent is not None:
            parts.append(bias_tangent[:, None, None].expand(ctx.shape))
        return sum(parts)

    @staticmethod
    def vmap(info, in_dims, x, weight, bias, padding, dilation):
        def one(x, weight, bias):
            return F.conv2d(x, weight, bias, 1, padding, dilation)

        return torch.vmap(one, in_dims[:3])(x, weight, bias), 0


def _reaches(x, weight, padding, dilation) -> tuple[tuple[Reach, ...], ...]:
    """The valid taps along height and along width."""
    (height, width), (kh, kw) = x.shape[2:], weight.shape[2:]
    return (
        reaches(height, kh, padding[0], dilation[0]),
        reaches(width, kw, padding[1], dilation[1]),
    )


def _sum(x, weight, bias, padding, dilation) -> Tensor:
    """One product of matrices per valid tap, added up in place.

    The taps of a column see the same columns of the map, which are copied
    once; the rows that each of them sees are a slice that needs no copy.
    """
    form = layout(x, weight)
    rows, columns = _reaches(x, weight, padding, dilation)
    height, width = (
        side + 2 * p - (kernel - 1) * r
        for side, kernel, p, r in zip(
            x.shape[2:], weight.shape[2:], padding, dilation, strict=True
        )
    )
    like = {"dtype": x.dtype, "device": x.device, "memory_format": form}
    out = torch.empty(len(x), len(weight), height, width, **like)
    out.zero_() if bias is None else out.copy_(bias[:, None, None])
    top, left = rows[0].tap, columns[0].tap
    weight = weight[:, :, top : rows[-1].tap + 1, left : columns[-1].tap + 1]
    weight = weight.contiguous(memory_format=CHANNELS_LAST)
    for v, first, last, shift in columns:
        n = last - first
        part = x[..., first + shift : last + shift]
        part = part.contiguous(memory_format=form)
        sums = out
        if n < width:
            sums = torch.empty(*out.shape[:3], n, **like).zero_()
        for image, total in zip(part, sums, strict=True):
            image, total = image.flatten(1), total.flatten(1)  # (C, H n)
            for u, start, stop, down in rows:
                total[:, start * n : stop * n].addmm_(
                    weight[:, :, u - top, v - left],
                    image[:, (start + down) * n : (stop + down) * n],
                )
        if n < width:
            out[..., first:last] += sums
    return out
