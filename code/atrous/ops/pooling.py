"""What a dilated network needs and torch lacks: poolings, and cropping.

Torch's max pooling takes a dilation, but padding only up to half its
window; its average pooling takes no dilation. Branches that had one size at
a coarse stride may differ by less than a step at a finer one.

Maps are (B, C, *sides), with one to three sides: sequences, pictures or
volumes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_POOLINGS = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)


def dilated_max_pool(
    x: Tensor,
    kernel_size: Sequence[int],
    *,
    dilation: Sequence[int],
    padding: Sequence[int] | None = None,
    excess: Sequence[int] | None = None,
) -> Tensor:
    """Maximum over a dilated window at every place, padding left out.

    Args:
        x: (B, C, *sides).
        kernel_size: Taps along each axis; all others have as many numbers.
        dilation: Step between neighbouring taps.
        padding: Pixels added on both sides, any number; 0 if None.
        excess: More pixels added at the end of an axis, which is what
            `ceil_mode` amounts to; 0 if None.

    Returns:
        (B, C, *sides'), each side + 2 padding + excess - dilation
        (kernel - 1).
    """
    x = F.pad(x, _ends(kernel_size, padding, excess), value=float("-inf"))
    pool = MAX_POOLINGS[len(kernel_size) - 1]
    return pool(x, kernel_size, 1, 0, dilation)


def dilated_avg_pool(
    x: Tensor,
    kernel_size: Sequence[int],
    *,
    dilation: Sequence[int],
    padding: Sequence[int] | None = None,
    excess: Sequence[int] | None = None,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean over a dilated window at every place: two sums by convolution.

    The sum of the pixels is divided by the sum of a map that is 1 where
    pixels count and 0 elsewhere.

    Args:
        x: (B, C, *sides).
        kernel_size: As in `dilated_max_pool`, and so for the next three.
        dilation: Step between neighbouring taps.
        padding: Pixels of value 0 added on both sides.
        excess: Pixels added at the end of an axis, which never count.
        count_include_pad: Whether the pixels of `padding` count.
        divisor_override: What to divide by instead.

    Returns:
        (B, C, *sides') as in `dilated_max_pool`.
    """
    channels = x.shape[1]
    convolution = CONVOLUTIONS[len(kernel_size) - 1]
    taps = torch.ones(
        (channels, 1, *kernel_size), dtype=x.dtype, device=x.device
    )
    total = convolution(
        F.pad(x, _ends(kernel_size, padding, excess)),
        taps,
        dilation=dilation,
        groups=channels,
    )
    if divisor_override is not None:
        return total / divisor_override
    counted = F.pad(
        torch.ones_like(x[:, :1]),
        _ends(kernel_size, padding),
        value=float(count_include_pad),
    )
    counted = F.pad(counted, _ends(kernel_size, None, excess))
    return total / convolution(counted, taps[:1], dilation=dilation)


def crop(*maps: Tensor, dilation: int, axes: int = 2) -> list[Tensor]:
    """Maps (B, C, H, W) cut at the bottom and right to their common size.

    Args:
        maps: Two maps or more, whose sides differ by less than a step.
        dilation: That step, places of these maps to one of the coarse grid.
        axes: How many of the last dimensions are cut.

    Raises:
        ValueError: If they have different sides on the coarse grid.
    """
    sizes = [x.shape[-axes:] for x in maps]
    coarse = {tuple(-(-side // dilation) for side in size) for size in sizes}
    if len(coarse) > 1:
        listed = " and ".join("x".join(map(str, size)) for size in sizes)
        raise ValueError(
            f"maps of {listed} places: they differ even at every "
            f"dilation={dilation} places"
        )
    common = [slice(min(sides)) for sides in zip(*sizes, strict=True)]
    return [x[(..., *common)] for x in maps]


def _ends(
    kernel_size: Sequence[int],
    padding: Sequence[int] | None,
    excess: Sequence[int] | None = None,
) -> list[int]:
    """Both ends of each axis, the last axis first: the order of `F.pad`."""
    none = (0,) * len(kernel_size)
    both = [*zip(padding or none, excess or none, strict=True)]
    return [end for pad, more in both[::-1] for end in (pad, pad + more)]
