"""Bilateral convolution: learned weights in place of the lattice's blur."""

import itertools
import math

import torch
from torch import Generator, Tensor, nn

from atrous.crf.permutohedral import Lattice

INITS = ("gaussian", "identity", "random")


def offsets(dimensions: int, *, radius: int = 1) -> list[tuple[int, ...]]:
    """Steps to all vertices within `radius` of a vertex of the lattice.

    The axes sum to zero, so steps are counted from their smallest: tuples
    of d + 1 numbers from 0 to radius, one of them at least 0. There are
    (radius + 1)^(d + 1) - radius^(d + 1): 7 for d = 2 and 63 for d = 5 at
    radius 1, 19 and 665 at radius 2. The centre comes first.

    Raises:
        ValueError: If `dimensions` or `radius` is below 1.

    Source:
        Jampani, Kiefel & Gehler, CVPR 2016 (arXiv:1503.04949), section 3.
    """
    if dimensions < 1 or radius < 1:
        raise ValueError(
            f"dimensions={dimensions} and radius={radius}: both must be at "
            f"least 1"
        )
    steps = itertools.product(range(radius + 1), repeat=dimensions + 1)
    return [offset for offset in steps if min(offset) == 0]


def gaussian_taps(dimensions: int, *, radius: int = 1) -> list[float]:
    """Weights by which the lattice's blur joins a vertex to its `offsets`.

    The sum over all ways of taking -1, 0 or 1 step along every axis, each
    of weight 1/2, 1 or 1/2. These ways end within radius 2: from there on
    the taps are the whole blur.

    Raises:
        ValueError: As `offsets`.
    """
    taps = dict.fromkeys(offsets(dimensions, radius=radius), 0.0)
    for way in itertools.product((-1, 0, 1), repeat=dimensions + 1):
        end = tuple(step - min(way) for step in way)
        if end in taps:
            taps[end] += 0.5 ** sum(map(abs, way))
    return list(taps.values())


class BilateralConv(nn.Module):
    """Convolution over the vertices around scattered points, with learning.

    Splats values (N, C_in), joins each vertex's neighbours by a learned
    matrix each, slices, and divides by what the initial Gaussian or
    identity taps make of all ones, so that they start as weighted means.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        dimensions: d of the features.
        radius: Steps to the farthest neighbour, see `offsets`.
        init: "gaussian" is the lattice's fixed blur: exactly, if `radius`
            is 2 and the lattice closed; "identity" is its centre alone,
            splat and slice without a blur; "random" is uniform as in
            `nn.Conv2d`, with the Gaussian's division.
        generator: Source of the random numbers; torch's own if None.

    Raises:
        ValueError: If a number is below 1, `init` is unknown, or
            `out_channels` differs from `in_channels` where the
            initialisation keeps channels apart.

    Source:
        Jampani, Kiefel & Gehler, CVPR 2016 (arXiv:1503.04949), section 3.
        Departs: no bias. On a lattice that is not closed the fixed blur
        loses what passes through absent vertices; a neighbourhood does not.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dimensions: int,
        radius: int = 1,
        init: str = "gaussian",
        generator: Generator | None = None,
    ):
        super().__init__()
        self.offsets = offsets(dimensions, radius=radius)
        if min(in_channels, out_channels) < 1:
            raise ValueError(
                f"in_channels={in_channels} and out_channels={out_channels}: "
                f"both must be at least 1"
            )
        if init not in INITS:
            raise ValueError(f"init={init!r}: must be one of {INITS}")
        if init != "random" and in_channels != out_channels:
            raise ValueError(
                f"out_channels={out_channels}: init={init!r} needs "
                f"in_channels={in_channels}"
            )
        taps = [1.0] + [0.0] * (len(self.offsets) - 1)
        if init != "identity":
            taps = gaussian_taps(dimensions, radius=radius)
        self.register_buffer("taps", torch.tensor(taps))
        if init == "random":
            bound = 1 / math.sqrt(in_channels * len(taps))
            weight = torch.empty(len(taps), in_channels, out_channels)
            weight.uniform_(-bound, bound, generator=generator)
        else:
            weight = self.taps[:, None, None] * torch.eye(in_channels)
        self.weight = nn.Parameter(weight)  # (K, C_in, C_out)

    def forward(self, values: Tensor, lattice: Lattice) -> Tensor:
        """Values of the points (N, C_in) to (N, C_out).

        Args:
            values: Of the type of the weights and of the features.
            lattice: Built from the points' features, (N, d).

        Raises:
            ValueError: If shapes, types or dimensions do not fit.
        """
        k, c_in, _ = self.weight.shape
        if values.ndim != 2 or values.shape[1] != c_in:
            raise ValueError(
                f"values of shape {tuple(values.shape)}: must be (N, {c_in})"
            )
        if lattice.dimensions + 1 != len(self.offsets[0]):
            raise ValueError(
                f"lattice of {lattice.dimensions} dimensions: the layer has "
                f"{len(self.offsets[0]) - 1}"
            )
        rows = [lattice.neighbours(offset) for offset in self.offsets]
        out = _join(lattice.splat(values), rows, self.weight)
        ones = torch.ones_like(values[:, :1])
        norm = _join(lattice.splat(ones), rows, self.taps.view(k, 1, 1))
        return lattice.slice(out) / lattice.slice(norm)


def _join(values: Tensor, rows: list[Tensor], weight: Tensor) -> Tensor:
    """Sum over k of values[rows[k]] @ weight[k], (M, C_out).

    A row of M, an absent vertex, counts as zeros.
    """
    padded = torch.cat([values, torch.zeros_like(values[:1])])
    return sum(
        padded[row] @ matrix for row, matrix in zip(rows, weight, strict=True)
    )
