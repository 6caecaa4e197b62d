"""The permutohedral lattice: Gaussian filtering of scattered points.

out[i] = sum over j of exp(-|f_i - f_j|^2 / 2) v[j], for N points f in any
number of dimensions d, in time that grows as N d instead of N^2: values are
spread to the corners of simplices that tile the space (splat), blurred along
the d + 1 axes of their lattice, and gathered back (slice). All three are
linear in the values, so the gradient is the same steps in reverse.
"""

import copy
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from atrous.simplices import enclosing, shifted


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
        weights: Barycentric weights of the points, (N, d + 1).
        rows: Vertices of the points, rows of the splatted values, (N, d + 1).
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
        corners, self.weights, self._strides = enclosing(features.detach())
        self.dimensions = features.shape[1]
        codes, order = corners.flatten().sort(stable=True)
        found, which, counts = codes.unique_consecutive(
            return_inverse=True, return_counts=True
        )
        self._codes = self._closure(found) if closed else found
        self.size = len(self._codes)
        present = torch.searchsorted(self._codes, found)
        self.rows = torch.empty_like(order)
        self.rows[order] = which
        if closed:
            self.rows = present[self.rows]
        self.rows = self.rows.view(corners.shape)
        # Splat sums runs of the sorted corners, one run a vertex; the last
        # run is empty and stands for all vertices that are not stored.
        lengths = counts.new_zeros(self.size + 1)
        lengths[present + 1] = counts
        self._starts = lengths.cumsum(0)
        self._points = order.div(corners.shape[1], rounding_mode="floor")
        self._sorted_weights = self.weights.flatten()[order]
        self._lines = [self._line(axis) for axis in range(len(self._strides))]
        self._taps = self.weights.new_tensor([1, 0.5, 0.5])
        self._taps = self._taps.repeat(self.size + 1, 1)

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
            blurred = self._blur(self._splat(x), reverse)
            return self._slice(blurred.mul_(gain))

        return _linear(
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
        return _linear(values, lambda x: self._splat(x)[:-1], self._slice)

    def slice(self, values: Tensor) -> Tensor:
        """Values of the vertices (M, C) interpolated at the points, (N, C).

        Raises:
            ValueError: If the shape or type of `values` is wrong.
        """
        self._check(values, self.size)
        return _linear(values, self._slice, lambda x: self._splat(x)[:-1])

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

        return _linear(
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
        other.weights = self.weights * scale[:, None]
        other._sorted_weights = self._sorted_weights * scale[self._points]
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
        zero, is its own neighbour. 32 bits make the blur faster.
        """
        ahead = F.pad(self.neighbours(self._axis(axis)), (0, 1))
        ahead[-1] = self.size
        behind = torch.full_like(ahead, self.size)
        here = torch.arange(self.size + 1, device=ahead.device)
        behind[ahead] = here
        behind[-1] = self.size
        return torch.stack([here, ahead, behind], 1).int()

    # These three hold M + 1 rows at the vertices, the last one zero.

    def _splat(self, values: Tensor) -> Tensor:
        return F.embedding_bag(
            self._points,
            values,
            self._starts,
            mode="sum",
            per_sample_weights=self._sorted_weights,
        )

    def _blur(self, values: Tensor, reverse: bool) -> Tensor:
        for line in reversed(self._lines) if reverse else self._lines:
            values = F.embedding_bag(
                line, values, mode="sum", per_sample_weights=self._taps
            )
        return values

    def _slice(self, values: Tensor) -> Tensor:
        return F.embedding_bag(
            self.rows, values, mode="sum", per_sample_weights=self.weights
        )

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


class _Adjoint(torch.autograd.Function):
    """A linear map whose gradient is the adjoint map, given as a function."""

    @staticmethod
    def forward(ctx, values, apply, adjoint):
        ctx.maps = apply, adjoint
        return apply(values)

    @staticmethod
    def backward(ctx, gradient):
        apply, adjoint = ctx.maps
        return _linear(gradient.contiguous(), adjoint, apply), None, None


def _linear(values: Tensor, apply: Callable, adjoint: Callable) -> Tensor:
    if values.requires_grad and torch.is_grad_enabled():
        return _Adjoint.apply(values, apply, adjoint)
    return apply(values)  # a quarter faster
