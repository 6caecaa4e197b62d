"""Space to batch: the phases of a map, and a dense network on each of them.

A map has r phases along each axis: every r-th place, from place 0, 1, ... or
r - 1 on. Laid side by side in the batch they are small maps on which a
dense convolution does what one of rate r does on the map. Lines, pictures
and volumes: (B, C, *sides) with one to three sides.
"""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor

from atrous.arithmetic import check_positive


def space_to_batch(x: Tensor, rate: int) -> Tensor:
    """The phases of maps: (B, C, *sides) to (r^n B, C, *sides / r).

    Sides are rounded up: zeros fill those phases that are shorter. Phase 0
    of all B maps comes first; the phase of the last axis changes fastest.

    Raises:
        ValueError: If `rate` is below 1 or x has not one to three sides.

    Source:
        The operation that TensorFlow calls so; NiftyNet dilates by it.
    """
    _check(x, rate)
    sides = [-(-side // rate) for side in x.shape[2:]]
    n = len(sides)
    ends = (
        rate * m - side for m, side in zip(sides, x.shape[2:], strict=True)
    )
    whole = F.pad(x, [end for last in [*ends][::-1] for end in (0, last)])
    split = [part for m in sides for part in (m, rate)]
    cells = whole.reshape(*x.shape[:2], *split)
    phases, places = range(3, 3 + 2 * n, 2), range(2, 2 + 2 * n, 2)
    return cells.permute(*phases, 0, 1, *places).reshape(
        -1, x.shape[1], *sides
    )


def batch_to_space(x: Tensor, rate: int, sides: Sequence[int]) -> Tensor:
    """The maps of which these are the phases, (B, C, *sides).

    The inverse of `space_to_batch`; what reaches over `sides` is cut off.

    Raises:
        ValueError: If `rate` is below 1, the batch is no multiple of r^n, or
            `sides` are more than the phases have.
    """
    _check(x, rate)
    n, phases = x.ndim - 2, rate ** (x.ndim - 2)
    whole = [rate * side for side in x.shape[2:]]
    if len(x) % phases or len(sides) != n or any(map(_more, sides, whole)):
        raise ValueError(
            f"x of shape {tuple(x.shape)}: with rate={rate} and "
            f"sides={tuple(sides)} its batch must be a multiple of {phases}, "
            f"and the sides {n} of at most {tuple(whole)}"
        )
    cells = x.reshape(*(rate,) * n, -1, *x.shape[1:])
    order = [axis for i in range(n) for axis in (n + 2 + i, i)]
    maps = cells.permute(n, n + 1, *order).reshape(
        len(x) // phases, x.shape[1], *whole
    )
    # By a negative padding, which `torch.export` takes at any size.
    cuts = [m - w for m, w in zip(sides, whole, strict=True)]
    return F.pad(maps, [end for cut in cuts[::-1] for end in (0, cut)])


def by_phases(
    function: Callable[[Tensor], Tensor], x: Tensor, rate: int
) -> Tensor:
    """A dense network at rate r: it is run on the phases of a map.

    Convolutions of stride 1 and dilation 1 that keep the size act as the
    same ones of dilation r, and r times the padding, would; layers of each
    place act as they are.

    Args:
        function: Keeps the size of maps (B, C, *sides).
        x: Maps, (B, C, *sides), their sides multiples of r. Otherwise phases
            would differ in length, and beyond their ends there would be what
            layers make of padding in place of padding.
        rate: r.

    Returns:
        (B, C', *sides).

    Raises:
        ValueError: If a side is no multiple of `rate`, or the function gives
            another size; else as `space_to_batch`.

    Source:
        Chen et al., arXiv:1606.00915, section 3.1, for one convolution.
        NiftyNet runs all blocks of one rate of a HighRes3DNet so.
    """
    _check(x, rate)
    sides = x.shape[2:]
    if any(side % rate for side in sides):
        raise ValueError(
            f"x of shape {tuple(x.shape)}: its sides must be multiples of "
            f"rate={rate}; pad it, or dilate the convolutions"
        )
    out = function(space_to_batch(x, rate))
    if [rate * side for side in out.shape[2:]] != [*sides]:
        raise ValueError(
            f"function: gave phases of shape {tuple(out.shape)}, and must "
            "keep the size"
        )
    return batch_to_space(out, rate, sides)


def _more(side: int, most: int) -> bool:
    return side > most


def _check(x: Tensor, rate: int) -> None:
    check_positive(rate=rate)
    if not 3 <= x.ndim <= 5:
        raise ValueError(
            f"x of shape {tuple(x.shape)}: must be (B, C, *sides) with one "
            "to three sides"
        )
