"""Upsampling by a fixed transposed convolution, as several papers have it."""

import torch
import torch.nn.functional as F
from torch import Tensor


def transposed_bilinear(x: Tensor, factor: int = 8) -> Tensor:
    """Bilinear by a transposed convolution: (B, C, H, W) to (B, C, f H, f W).

    Kernel 2 f, stride f, padding f / 2, each channel on its own. It equals
    interpolation with corners not aligned, except in the border of f / 2
    pixels: what lies outside the map counts as 0, so the output fades there.

    Args:
        x: (B, C, H, W).
        factor: f, even and at least 2.

    Raises:
        ValueError: If `factor` is odd or below 2.

    Source:
        Dilated Residual Networks (CVPR 2017), the authors' segment.py.
    """
    if factor < 2 or factor % 2:
        raise ValueError(f"factor={factor}: must be even and at least 2")
    places = torch.arange(2 * factor, dtype=x.dtype, device=x.device)
    taps = 1 - (places - (factor - 0.5)).abs() / factor
    weight = taps.outer(taps).expand(x.shape[1], 1, -1, -1)
    return F.conv_transpose2d(
        x, weight, stride=factor, padding=factor // 2, groups=x.shape[1]
    )
