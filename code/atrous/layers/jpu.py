"""Joint pyramid upsampling (JPU): dilation after the backbone, not in it.

The backbone keeps its strides. Its last three maps are brought to the size of
the finest, and four dilated convolutions read them together.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atrous.arithmetic import Window, check_positive
from atrous.layers.spec import LayerSpec, SpecStack

RATES = (1, 2, 4, 8)


class JPU(nn.Module):
    """Maps at strides 8, 16 and 32 to one at stride 8, (B, R width, H, W).

    Each map goes through a 3x3 to the common width and is upsampled; they
    are concatenated, the coarsest first. R separable 3x3 convolutions of
    different rates read them side by side and are concatenated.

    Args:
        channels: Channels of each map, the finest first.
        width: Channels of each branch.
        rates: Dilations of the separable convolutions.
        align_corners: Whether the upsampling aligns corners, as released.

    Raises:
        ValueError: If a number is below 1 or there is no map or rate.

    Source:
        Wu et al., arXiv:1903.11816, section 3.3; FastFCN,
        encoding/nn/customize.py.
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        width: int = 512,
        rates: Sequence[int] = RATES,
        align_corners: bool = True,
    ):
        super().__init__()
        check_positive(width=width)
        for name, numbers in (("channels", channels), ("rates", rates)):
            if min(numbers, default=0) < 1:
                raise ValueError(
                    f"{name}={numbers}: must be one or more, at least 1"
                )
        self.align_corners = align_corners
        plan = (LayerSpec("conv", Window(3, padding=1), width, norm=True),)
        self.laterals = nn.ModuleList(
            SpecStack(plan, before) for before in reversed(channels)
        )
        joined = len(channels) * width
        self.branches = nn.ModuleList(
            SpecStack(_separable(rate, joined, width), joined)
            for rate in rates
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """The branches, (B, R width, H, W), at the size of the finest map.

        Raises:
            ValueError: If there are not as many maps as `channels`.
        """
        if len(maps) != len(self.laterals):
            raise ValueError(
                f"{len(maps)} maps: must be {len(self.laterals)}, the finest "
                "first"
            )
        pairs = zip(self.laterals, reversed(maps), strict=True)
        joined = [
            F.interpolate(
                lateral(x),
                maps[0].shape[2:],
                mode="bilinear",
                align_corners=self.align_corners,
            )
            for lateral, x in pairs
        ]
        x = torch.cat(joined, 1)
        return torch.cat([branch(x) for branch in self.branches], 1)


def _separable(rate: int, channels: int, width: int) -> tuple[LayerSpec, ...]:
    """Depthwise 3x3 without a ReLU, then 1x1 with one; both normalised."""
    window = Window(3, dilation=rate, padding=rate)
    return (
        LayerSpec(
            "depthwise",
            window,
            channels,
            relu=False,
            norm=True,
            depthwise=True,
        ),
        LayerSpec("pointwise", Window(1), width, norm=True),
    )
