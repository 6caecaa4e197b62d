"""Spatial pyramid pooling: a vector of one length from maps of any size."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BINS = (6, 3, 2, 1)


class SPP(nn.Module):
    """Maxima over grids of bins: (B, C, H, W) to (B, C times all bins).

    A map is divided into n by n bins for each n; bins of sides that n does
    not divide overlap by one place. The vector holds the grids one after
    another, in each of them all bins of channel 0, then of channel 1, ...

    Args:
        bins: Bins along a side, one number a grid.

    Raises:
        ValueError: If there is no grid or a number is below 1.

    Source:
        He et al., arXiv:1406.4729, section 2.2 and Figure 3.
    """

    def __init__(self, bins: Sequence[int] = BINS):
        super().__init__()
        if not bins or min(bins) < 1:
            raise ValueError(f"bins={bins}: each must be at least 1")
        self.bins = tuple(bins)

    def length(self, channels: int) -> int:
        """Length of the vector of a map of so many channels."""
        return channels * sum(n**2 for n in self.bins)

    def forward(self, x: Tensor) -> Tensor:
        """The vectors, (B, length)."""
        grids = [F.adaptive_max_pool2d(x, n).flatten(1) for n in self.bins]
        return torch.cat(grids, 1)
