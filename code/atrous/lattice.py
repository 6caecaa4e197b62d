"""The permutohedral lattice: Gaussian filtering of scattered points.

out[i] = sum over j of exp(-|f_i - f_j|^2 / 2) v[j], for N points f in any
number of dimensions d, in time that grows as N d instead of N^2: values are
spread to the corners of simplices that tile the space (splat), blurred along
the d + 1 axes of their lattice, and gathered back (slice). All three are
linear in the values, so the gradient is the same steps in reverse.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from atrous.simplices import enclosing, shifted
from atrous.sparse import Sparse, linear


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
