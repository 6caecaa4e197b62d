"""Where each tap of a dilated convolution sees the map, and not padding."""

from typing import NamedTuple


class TapRange(NamedTuple):
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


def tap_ranges(
    size: int, kernel: int, padding: int, dilation: int
) -> tuple[TapRange, ...]:
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
            found.append(TapRange(tap, first, last, shift))
    return tuple(found)
