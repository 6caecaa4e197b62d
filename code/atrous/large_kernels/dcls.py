"""Dilated convolution with learnable spacings (DCLS): taps that move.

A kernel of s x s pixels has n taps at real places, which are trained like the
weights. Each tap is spread over the pixels near it, so that its place has a
gradient. The convolution that runs is the dense one, s x s.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atrous.arithmetic import check_positive

VERSIONS = ("v0", "v1", "max", "gauss")
# Least half-width of a triangle, and least standard deviation of a Gaussian;
# the magnitude of SIG is added.
LEAST_WIDTH = {"v0": 1.0, "v1": 1.0, "max": 1.0, "gauss": 0.27}
FIRST_SIG = {"max": 0.0, "gauss": 0.23}
EPS = 1e-7


class DCLSConv2d(nn.Module):
    """Convolution with n taps at learned places: (B, C, H, W) to (B, O, ...).

    Its tensors, in the order of the state dict: `weight`, (O, C / groups, n);
    `P`, (2, O, C / groups, n), the places in pixels from the centre; in
    versions max and gauss `SIG`, of the same shape; `bias`, (O,). `clamp_`,
    called after a step, keeps the places inside.

    A tap is spread over the pixels around it. What it gives to a pixel is the
    product of both axes' shares, each from the distance d along its axis:

        v0, v1   max(1 - |d|, 0), bilinear
        max      max(w - |d|, 0), w = |SIG| + 1
        gauss    exp(-(d / w)^2 / 2), w = |SIG| + 0.27

    In all but v0 a tap's shares are divided by their sum. P[0] is the column
    and P[1] the row, but in v0, as released, P[0] is the row.

    Args:
        channels: Input channels C.
        width: Output channels O.
        taps: n, at least 1.
        size: Height and width of the kernel, or one number for both.
        version: One of `VERSIONS`.
        stride: Pixels between outputs.
        padding: Zeros on each side, of rows and columns; None keeps the
            size of the map at stride 1, and wants an odd `size`.
        groups: Groups of channels that do not mix.
        bias: Whether there is a bias.

    Raises:
        ValueError: If a number is out of range, the groups do not divide the
            channels, or the version is unknown.

    Source:
        Khalfaoui-Hassani, Pellegrini & Masquelier, arXiv:2112.03740; the
        authors' DCLS/construct/modules.py.
        Departs: each axis is centred by its own side. That code takes the
        other axis's where P[0] is the column, so its v1 kernel of 7 x 3 with
        a tap in the centre is all zeros. Where a place is a whole number, v0
        has the slope 0, as v1 has, and not that towards the next pixel.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        taps: int,
        size: int | Sequence[int],
        version: str = "v1",
        stride: int = 1,
        padding: int | Sequence[int] | None = None,
        groups: int = 1,
        bias: bool = True,
    ):
        super().__init__()
        check_positive(channels=channels, width=width, taps=taps)
        if groups < 1 or channels % groups or width % groups:
            raise ValueError(
                f"groups={groups}: must be at least 1 and divide "
                f"channels={channels} and width={width}"
            )
        if version not in VERSIONS:
            raise ValueError(f"version={version!r}: must be one of {VERSIONS}")
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"size={size}: must be one or two, at least 1")
        if padding is None and not all(side % 2 for side in self.size):
            raise ValueError(
                f"size={size}: is even, so no padding keeps the map's size; "
                "give a padding"
            )
        if padding is None:
            padding = [side // 2 for side in self.size]
        self.version, self.groups = version, groups
        self.stride, self.padding = stride, padding
        shape = (width, channels // groups, taps)
        self.weight = nn.Parameter(torch.empty(shape))
        self.P = nn.Parameter(torch.empty(2, *shape))
        if version in FIRST_SIG:
            sig = torch.full((2, *shape), FIRST_SIG[version])
            self.SIG = nn.Parameter(sig)
        self.bias = nn.Parameter(torch.empty(width)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights as torch's convolutions have them, places near the centre.

        Places start from N(0, 0.5^2), inside the kernel.
        """
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = self.weight[0].numel() ** -0.5
            nn.init.uniform_(self.bias, -bound, bound)
        nn.init.normal_(self.P, std=0.5)
        self.clamp_()

    @torch.no_grad()
    def clamp_(self) -> "DCLSConv2d":
        """Put places that have left the kernel back on its border."""
        for axis, side in zip(self._axes(), self.size, strict=True):
            self.P[axis].clamp_(-(side // 2), side // 2)
        return self

    def kernel(self) -> Tensor:
        """The dense kernel that is run, (O, C / groups, height, width)."""
        rows, columns = (
            self._shares(axis, side)
            for axis, side in zip(self._axes(), self.size, strict=True)
        )
        weight = self.weight
        if self.version != "v0":
            weight = weight / (rows.sum(-1) * columns.sum(-1) + EPS)
        return torch.einsum("ocn,ocny,ocnx->ocyx", weight, rows, columns)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution, (B, O, H', W')."""
        return F.conv2d(
            x,
            self.kernel(),
            self.bias,
            self.stride,
            self.padding,
            groups=self.groups,
        )

    def _axes(self) -> tuple[int, int]:
        """Which entry of P, and of SIG, holds rows, and which columns."""
        return (0, 1) if self.version == "v0" else (1, 0)

    def _shares(self, axis: int, side: int) -> Tensor:
        """What each tap gives to each pixel of one axis, (..., n, side)."""
        pixels = torch.arange(side, device=self.P.device)
        place = self.P[axis][..., None] + side // 2
        distance = pixels - place
        width = LEAST_WIDTH[self.version]
        if self.version in FIRST_SIG:
            width = self.SIG[axis].abs()[..., None] + width
        if self.version == "gauss":
            return torch.exp(-((distance / width) ** 2) / 2)
        return (width - distance.abs()).relu()
