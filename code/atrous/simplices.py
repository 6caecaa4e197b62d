"""The permutohedral tiling: simplices that fill space, their corners numbered.

The lattice A*_d lies in the hyperplane of R^(d+1) whose coordinates sum to
zero. Its vertices have integer coordinates that all leave the same remainder
k, 0 to d, on division by d + 1; each simplex has one corner of every k. Axis
j steps by (1, ..., 1) - (d + 1) e_j, so that k grows by one, cyclically.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# Steps along the axes that are left free beside the numbered vertices, so
# that a number out of the range of one coordinate is no vertex's number. They
# are few so that numbers fit into 32 bits, which are sorted in half the time.
REACH = 8


def enclosing(features: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Corners of the simplices around points, and the points' weights.

    A vertex with coordinates x and remainder k has the number
    k + (d + 1) sum over i of strides[i] (x[i] - k) / (d + 1), from an
    origin that makes all numbers positive.

    Args:
        features: Points, (N, d), float32 or float64. The lattice is scaled
            so that splat, blur and slice spread by one unit of them.

    Returns:
        Numbers of the corners of remainders 0 to d, (N, d + 1), int32 where
        they fit, else int64; barycentric weights, (N, d + 1), which sum to
        one; d + 1 strides.

    Raises:
        ValueError: If `features` have a wrong shape or type, are not finite,
            or spread too far for vertices to be numbered in 63 bits.

    Source:
        Adams, Baek & Davis, Eurographics 2010, sections 2 and 3; scale:
        their section 3.1, variance 2 (d + 1)^2 / 3 of the whole filter.
    """
    _check(features)
    n, d = features.shape
    height = _elevate(features.T)  # (d + 1, N)
    # The nearest point of remainder 0 coordinate by coordinate is a vertex
    # once its sum is moved to zero along the worst rounded coordinates.
    base = (height / (d + 1)).round()
    rest = height - base * (d + 1)
    # From corner k - 1 to k: one step along the axis whose turn is k, 1 to
    # d; the axis left over closes the circle and has turn 0.
    turn = 1 + _rank(rest) - base.sum(0).char()
    wrap = (turn > d + 1).char() - (turn < 1).char()
    base += wrap
    rest -= (d + 1) * wrap
    turn -= (d + 1) * wrap
    turn = turn.masked_fill_(turn == d + 1, 0).long()
    by_turn = torch.empty_like(rest).scatter_(0, turn, rest / (d + 1))
    weights = by_turn.roll(-1, 0) - by_turn
    weights[0] += 1

    lowest = base.amin(1, keepdim=True) - 1
    extents = (base.amax(1) - lowest[:, 0] + 1).tolist()
    sizes = [int(extent) + REACH for extent in extents]
    strides = [math.prod(sizes[:i]) for i in range(d)] + [0]
    span = (d + 1) * math.prod(sizes[:d])
    if span >= 2**63:
        raise ValueError(
            f"features span {sizes[:d]} vertices along the axes: too many "
            f"for 63 bits"
        )
    kind = torch.int32 if span < 2**31 else torch.int64
    steps = torch.tensor(strides, dtype=kind, device=features.device)
    steps = (d + 1) * steps[:, None]
    changes = torch.empty_like(turn, dtype=kind)
    changes.scatter_(0, turn, 1 - steps.expand(-1, n))
    changes[0] = ((base - lowest).to(kind) * steps).sum(0)  # corner 0 itself
    codes = changes.cumsum(0, dtype=kind)
    return codes.T.contiguous(), weights.T.contiguous(), tuple(strides)


def shifted(
    codes: Tensor, offset: Sequence[int], strides: Sequence[int]
) -> Tensor:
    """Numbers of the vertices that lie `offset` away.

    Args:
        codes: Numbers of vertices, of any shape.
        offset: Steps along each of the d + 1 axes. The axes sum to zero:
            adding 1 to every entry changes nothing.
        strides: As `enclosing` returns them.

    Raises:
        ValueError: If `offset` has another length or steps too far.
    """
    axes = len(strides)
    if len(offset) != axes or max(offset) - min(offset) > REACH:
        raise ValueError(
            f"offset={tuple(offset)}: must have {axes} entries at most "
            f"{REACH} apart"
        )
    offset = [step - min(offset) for step in offset]
    total = sum(offset)
    jump = sum(a * s for a, s in zip(offset, strides, strict=True))
    # Past remainder d every coordinate but the stepped ones moves up by one.
    carry = (codes % axes + total).div(axes, rounding_mode="floor")
    return codes + total - axes * jump + axes * (sum(strides) - 1) * carry


def _elevate(features: Tensor) -> Tensor:
    """Points (d, N) in the hyperplane, scaled to the lattice, (d + 1, N)."""
    d = len(features)
    index = torch.arange(
        1, d + 1, dtype=features.dtype, device=features.device
    )
    spread = (d + 1) * math.sqrt(2 / 3)
    scaled = features * (spread / (index * (index + 1)).sqrt())[:, None]
    total = torch.zeros_like(scaled[0])
    heights = []
    for i in range(d, 0, -1):
        heights.append(total - i * scaled[i - 1])
        total = total + scaled[i - 1]
    return torch.stack([total, *reversed(heights)])


def _rank(x: Tensor) -> Tensor:
    """Position of every x[i] among x[0], ..., smallest first, (d + 1, N)."""
    rank = torch.zeros_like(x, dtype=torch.int8)
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            before = x[i] < x[j]
            rank[j] += before
            rank[i] += ~before
    return rank


def _check(features: Tensor) -> None:
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(
            f"features of shape {tuple(features.shape)}: must be (N, d), "
            f"neither of them 0"
        )
    if features.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"features of {features.dtype}: must be float32 or float64"
        )
    if not torch.stack(features.aminmax()).isfinite().all():  # nan as well
        raise ValueError("features hold nan or inf: all must be finite")
