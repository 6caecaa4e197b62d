"""Linear maps: sparse matrices, and gradients that are adjoint maps."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Sparse(NamedTuple):
    """A sparse matrix, which multiplies dense ones: `sparse @ dense`.

    Indices of 32 bits make the product faster. For its gradient use
    `linear`.

    Attributes:
        columns: Column of every entry, row after row, int32.
        starts: Where each row's entries start, then their number, int32.
        weights: The entries themselves.
    """

    columns: Tensor
    starts: Tensor
    weights: Tensor

    @classmethod
    def even(cls, columns: Tensor, weights: Tensor) -> "Sparse":
        """A matrix with K entries a row: `weights` at `columns`, (rows, K)."""
        rows, k = columns.shape
        starts = torch.arange(rows + 1, device=columns.device) * k
        return cls(columns.int().flatten(), starts.int(), weights.flatten())

    def __matmul__(self, dense: Tensor) -> Tensor:
        return F.embedding_bag(
            self.columns,
            dense,
            self.starts,
            mode="sum",
            per_sample_weights=self.weights,
            include_last_offset=True,
        )


def linear(values: Tensor, apply: Callable, adjoint: Callable) -> Tensor:
    """Apply a linear map to values, with its adjoint for the gradient.

    Args:
        values: Of any shape that the maps take.
        apply: The map.
        adjoint: The map that goes back; `apply` is its gradient in turn.
    """
    if values.requires_grad and torch.is_grad_enabled():
        return _Adjoint.apply(values, apply, adjoint)
    return apply(values)  # a quarter faster


class _Adjoint(torch.autograd.Function):
    """A linear map whose gradient is the adjoint map, given as a function."""

    @staticmethod
    def forward(ctx, values, apply, adjoint):
        ctx.maps = apply, adjoint
        return apply(values)

    @staticmethod
    def backward(ctx, gradient):
        apply, adjoint = ctx.maps
        return linear(gradient.contiguous(), adjoint, apply), None, None
