"""What a dilated network needs and torch lacks: poolings, and cropping.

Torch's max pooling takes a dilation, but padding only up to half its
window; its average pooling takes no dilation. Branches that had one size at
a coarse stride may differ by less than a step at a finer one.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]


def dilated_max_pool2d(
    x: Tensor,
    kernel_size: Pair,
    *,
    dilation: Pair,
    padding: Pair = (0, 0),
    excess: Pair = (0, 0),
) -> Tensor:
    """Maximum over a dilated window at every place, padding left out.

    Args:
        x: (B, C, H, W).
        kernel_size: Taps along height and width, and so for all pairs.
        dilation: Step between neighbouring taps.
        padding: Pixels added on both sides, any number.
        excess: More pixels added at the bottom and at the right, which is
            what `ceil_mode` amounts to.

    Returns:
        (B, C, H', W'), H' = H + 2 padding + excess - dilation (kernel - 1).
    """
    x = F.pad(x, _sides(padding, excess), value=float("-inf"))
    return F.max_pool2d(x, kernel_size, 1, 0, dilation)


def dilated_avg_pool2d(
    x: Tensor,
    kernel_size: Pair,
    *,
    dilation: Pair,
    padding: Pair = (0, 0),
    excess: Pair = (0, 0),
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean over a dilated window at every place: two sums by convolution.

    The sum of the pixels is divided by the sum of a map that is 1 where
    pixels count and 0 elsewhere.

    Args:
        x: (B, C, H, W).
        kernel_size: As in `dilated_max_pool2d`, and so for the next three.
        dilation: Step between neighbouring taps.
        padding: Pixels of value 0 added on both sides.
        excess: Pixels added at the bottom and right, which never count.
        count_include_pad: Whether the pixels of `padding` count.
        divisor_override: What to divide by instead.

    Returns:
        (B, C, H', W') as in `dilated_max_pool2d`.
    """
    channels = x.shape[1]
    taps = torch.ones(
        (channels, 1, *kernel_size), dtype=x.dtype, device=x.device
    )
    total = F.conv2d(
        F.pad(x, _sides(padding, excess)),
        taps,
        dilation=dilation,
        groups=channels,
    )
    if divisor_override is not None:
        return total / divisor_override
    counted = F.pad(
        torch.ones_like(x[:, :1]),
        _sides(padding),
        value=float(count_include_pad),
    )
    counted = F.pad(counted, _sides((0, 0), excess))
    return total / F.conv2d(counted, taps[:1], dilation=dilation)


def crop(*maps: Tensor, dilation: int) -> list[Tensor]:
    """Maps (B, C, H, W) cut at the bottom and right to their common size.

    Args:
        maps: Two maps or more, whose sides differ by less than a step.
        dilation: That step, places of these maps to one of the coarse grid.

    Raises:
        ValueError: If they have different sides on the coarse grid.
    """
    sizes = [x.shape[-2:] for x in maps]
    coarse = {tuple(-(-side // dilation) for side in size) for size in sizes}
    if len(coarse) > 1:
        listed = " and ".join(f"{height}x{width}" for height, width in sizes)
        raise ValueError(
            f"maps of {listed} places: they differ even at every "
            f"dilation={dilation} places"
        )
    height, width = map(min, zip(*sizes, strict=True))
    return [x[..., :height, :width] for x in maps]


def _sides(padding: Pair, excess: Pair = (0, 0)) -> tuple[int, ...]:
    """Left, right, top and bottom, the order of `F.pad`."""
    (height, width), (bottom, right) = padding, excess
    return (width, width + right, height, height + bottom)
