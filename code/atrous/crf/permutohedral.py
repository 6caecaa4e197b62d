"""The permutohedral lattice: Gaussian filtering of scattered points.

out[i] = sum over j of exp(-|f_i - f_j|^2 / 2) v[j], for N points f in any
number of dimensions d, in time that grows as N d instead of N^2: values are
spread to the corners of simplices that tile the space (splat), blurred along
the d + 1 axes of their lattice, and gathered back (slice). All three are
linear in the values, so the gradient is the same steps in reverse.

The lattice A*_d lies in the hyperplane of R^(d+1) whose coordinates sum to
zero. Its vertices have integer coordinates that all leave the same remainder
k, 0 to d, on division by d + 1; each simplex has one corner of every k. Axis
j steps by (1, ..., 1) - (d + 1) e_j, so that k grows by one, cyclically.
"""

import copy
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from atrous.crf.sparse import Sparse, linear


class Lattice:
    """The lattice around a cloud of points; built once, used many times.

    Only the M vertices that touch a point are stored. What the blur would
    carry to or through another vertex is lost, unless `closed`.

    Args:
        features: Points, (N, d), float32 or float64. One unit is one
            standard deviation of the Gaussian. No gradient flows to them.
        closed: Store as well every vertex that the blur reaches: the blur
            is then symmetric and loses nothing, but M is up to
            3^(d+1) - 2^(d+1) times as large.

    Attributes:
        dimensions: Axes d of the points.
        size: Vertices M.

    Raises:
        ValueError: If `features` have a wrong shape or type, are not finite,
            or spread too far for vertices to be numbered in 63 bits.

    Source:
        Adams, Baek & Davis, Eurographics 2010, section 3.
        Departs: vertices are numbered and sorted instead of hashed, which
        takes tensor operations only.
    """

    def __init__(self, features: Tensor, *, closed: bool = False):
        corners, weights, self._strides = enclosing(features.detach())
        self.dimensions = features.shape[1]
        codes, order = corners.flatten().sort(stable=True)
        self._codes, which, counts = codes.unique_consecutive(
            return_inverse=True, return_counts=True
        )
        if closed:
            found, self._codes = self._codes, self._closure(self._codes)
            present = torch.searchsorted(self._codes, found)
            which = present[which]
            lengths = counts.new_zeros(len(self._codes))
            counts = lengths.scatter_(0, present, counts)
        self.size = len(self._codes)
        rows = torch.empty_like(which).scatter_(0, order, which)
        self._slice = Sparse.even(rows.view(corners.shape), weights)
        # Splat sums runs of the sorted corners, one run a vertex; the last
        # run is empty and stands for all vertices that are not stored: row
        # M is zero, also once blurred.
        order = order.int()
        self._splat = Sparse(
            order // corners.shape[1],
            F.pad(counts, (1, 1)).cumsum(0).int(),
            weights.flatten().index_select(0, order),
        )
        taps = weights.new_tensor([1, 0.5, 0.5]).repeat(self.size + 1, 1)
        self._lines = [
            Sparse.even(self._line(axis), taps)
            for axis in range(len(self._strides))
        ]

    @property
    def weights(self) -> Tensor:
        """Barycentric weights of the points, (N, d + 1)."""
        return self._slice.weights.view(-1, self.dimensions + 1)

    @property
    def rows(self) -> Tensor:
        """Vertices of the points, rows of the splatted values, (N, d + 1)."""
        return self._slice.columns.view(-1, self.dimensions + 1).long()

    def filter(self, values: Tensor, *, reverse: bool = False) -> Tensor:
        """Gaussian-weighted sums of values (N, C) at every point, (N, C).

        The point itself is part of its sum. Sums are about right up to a
        factor common to nearby points: divide by `filter(ones)` where means
        are wanted.

        Args:
            values: (N, C), of the features' type.
            reverse: Blur in reverse order: the adjoint of the plain filter.

        Raises:
            ValueError: If the shape or type of `values` is wrong.
        """
        self._check(values, len(self.weights))
        # A vertex gets back (1 + 2^-d)-fold what it gave: once directly,
        # 2^-d around all the axes, forwards and backwards.
        gain = 1 / (1 + 2**-self.dimensions)

        def apply(x, reverse):
            blurred = self._blur(self._splat @ x, reverse)
            return self._slice @ blurred.mul_(gain)

        return linear(
            values,
            lambda x: apply(x, reverse),
            lambda x: apply(x, not reverse),
        )

    def splat(self, values: Tensor) -> Tensor:
        """Values of the points (N, C) summed at the vertices, (M, C).

        Raises:
            ValueError: If the shape or type of `values` is wrong.
        """
        self._check(values, len(self.weights))
        return linear(values, self._splatted, lambda x: self._slice @ x)

    def slice(self, values: Tensor) -> Tensor:
        """Values of the vertices (M, C) interpolated at the points, (N, C).

        Raises:
            ValueError: If the shape or type of `values` is wrong.
        """
        self._check(values, self.size)
        return linear(values, lambda x: self._slice @ x, self._splatted)

    def blur(self, values: Tensor, *, reverse: bool = False) -> Tensor:
        """Values of the vertices (M, C), blurred by [1/2, 1, 1/2] per axis.

        Args:
            values: (M, C).
            reverse: Take the axes last to first: the adjoint. It differs
                where vertices are missing.

        Raises:
            ValueError: If the shape or type of `values` is wrong.
        """
        self._check(values, self.size)

        def apply(x, reverse):
            return self._blur(F.pad(x, (0, 0, 0, 1)), reverse)[:-1]

        return linear(
            values,
            lambda x: apply(x, reverse),
            lambda x: apply(x, not reverse),
        )

    def scaled(self, scale: Tensor) -> "Lattice":
        """The lattice whose filter is diag(scale) filter diag(scale).

        Args:
            scale: One factor a point, (N,).

        Raises:
            ValueError: If the shape or type of `scale` is wrong.
        """
        self._check(scale[:, None], len(self.weights))
        other = copy.copy(self)
        scale = scale.detach()
        other._slice = self._slice._replace(
            weights=(self.weights * scale[:, None]).flatten()
        )
        points = self._splat.columns
        other._splat = self._splat._replace(
            weights=self._splat.weights * scale.index_select(0, points)
        )
        return other

    def neighbours(self, offset: Sequence[int]) -> Tensor:
        """Rows of the vertices that lie `offset` away, (M,); M if absent.

        Args:
            offset: Steps along each of the d + 1 axes. The axes sum to
                zero, so that adding 1 to every entry changes nothing.

        Raises:
            ValueError: If `offset` has another length or steps too far.
        """
        codes = shifted(self._codes, offset, self._strides)
        rows = torch.searchsorted(self._codes, codes)
        found = self._codes[rows.clamp(max=self.size - 1)] == codes
        return rows.where(found, self.size)

    def _axis(self, axis: int, step: int = 1) -> list[int]:
        """The offset of one step along an axis."""
        return [step * (j == axis) for j in range(len(self._strides))]

    def _closure(self, codes: Tensor) -> Tensor:
        """Vertices and all that the blur reaches from them, sorted."""
        for axis in range(len(self._strides)):
            both = (
                shifted(codes, self._axis(axis, step), self._strides)
                for step in (1, -1)
            )
            codes = torch.cat([codes, *both]).unique()
        return codes

    def _line(self, axis: int) -> Tensor:
        """Rows of each vertex and of its two along an axis, (M + 1, 3).

        One side is looked up, the other is its inverse. Row M, which stays
        zero, is its own neighbour.
        """
        ahead = self.neighbours(self._axis(axis))
        here = torch.arange(self.size, dtype=torch.int32, device=ahead.device)
        line = here.new_full((self.size + 1, 3), self.size)
        line[:-1, 0] = here
        line[:-1, 1] = ahead
        line[ahead, 2] = here
        line[-1] = self.size
        return line

    def _splatted(self, values: Tensor) -> Tensor:
        return (self._splat @ values)[:-1]

    def _blur(self, values: Tensor, reverse: bool) -> Tensor:
        """Values of the vertices and of row M blurred, (M + 1, C)."""
        for line in reversed(self._lines) if reverse else self._lines:
            values = line @ values
        return values

    def _check(self, values: Tensor, rows: int) -> None:
        if values.ndim != 2 or len(values) != rows:
            raise ValueError(
                f"values of shape {tuple(values.shape)}: must be ({rows}, C)"
            )
        if values.dtype != self.weights.dtype:
            raise ValueError(
                f"values of {values.dtype}: the features are "
                f"{self.weights.dtype}"
            )


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
            or spread too far for their type or for vertices to be numbered
            in 63 bits.

    Source:
        Adams, Baek & Davis, Eurographics 2010, sections 2 and 3; scale:
        their section 3.1, variance 2 (d + 1)^2 / 3 of the whole filter.
    """
    _check(features)
    n, d = features.shape
    height = _elevate(features.T)  # (d + 1, N)
    largest = height.abs().max().item()
    if largest * torch.finfo(height.dtype).eps > 2**-7:
        raise ValueError(
            f"features reach {largest:.3g} standard deviations: too far for "
            f"{height.dtype} to tell their places; make sigma larger"
        )
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
