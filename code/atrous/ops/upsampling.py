"""Upsampling by a fixed transposed convolution, and the cut that follows."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def bilinear_kernel(factor: int, like: Tensor) -> Tensor:
    """Taps of bilinear upsampling by f, (2 f, 2 f), of the kind of `like`.

    Along an axis tap i is 1 - |i - (f - 1/2)| / f.

    Raises:
        ValueError: If `factor` is odd or below 2.
    """
    if factor < 2 or factor % 2:
        raise ValueError(f"factor={factor}: must be even and at least 2")
    places = torch.arange(2 * factor, dtype=like.dtype, device=like.device)
    taps = 1 - (places - (factor - 0.5)).abs() / factor
    return taps.outer(taps)


def transposed_bilinear(
    x: Tensor, factor: int = 8, *, padding: int | None = None
) -> Tensor:
    """Bilinear by a transposed convolution: (B, C, H, W) to (B, C, f H, f W).

    Kernel 2 f, stride f, padding f / 2, each channel on its own. It equals
    interpolation with corners not aligned, except in the border of f / 2
    pixels: what lies outside the map counts as 0, so the output fades there.

    Args:
        x: (B, C, H, W).
        factor: f, even and at least 2.
        padding: What is cut off each side, f / 2 if None. With 0 the output
            has f pixels more along an axis.

    Raises:
        ValueError: If `factor` is odd or below 2.

    Source:
        Dilated Residual Networks (CVPR 2017), the authors' segment.py.
    """
    weight = bilinear_kernel(factor, x).expand(x.shape[1], 1, -1, -1)
    if padding is None:
        padding = factor // 2
    return F.conv_transpose2d(
        x, weight, stride=factor, padding=padding, groups=x.shape[1]
    )


def resize_cells(
    x: Tensor, cell: float, size: Sequence[int], align_corners: bool = False
) -> Tensor:
    """Bilinear, each place to `cell` pixels: (B, C, H', W') to (B, C, *size).

    For maps whose last row or column reaches past the picture: what is
    beyond `size` is cut off. `resize` would squeeze it in.
    """
    whole = [round(side * cell) for side in x.shape[2:]]
    return cut(resize(x, whole, align_corners), size)


def cut(x: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (B, C, H', W') cut at the bottom and right to (B, C, *size).

    By a negative padding. A slice would let `torch.export` note whether it
    cuts anything off, and its program would refuse all sizes at which that
    is otherwise.
    """
    height, width = size
    return F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]))


def resize(
    x: Tensor, size: Sequence[int], align_corners: bool = False
) -> Tensor:
    """Bilinear: (B, C, H, W) to (B, C, *size)."""
    return F.interpolate(
        x, tuple(size), mode="bilinear", align_corners=align_corners
    )
