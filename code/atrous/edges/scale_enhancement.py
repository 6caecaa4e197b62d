"""Several rates at one place: what BDCN reads off each convolution.

The scale enhancement module looks at a map at several rates at once; the
block of a stage makes two scores of what its modules see.
"""

from collections.abc import Sequence

from torch import Tensor, nn

# Rates of the scale enhancement module. Source: He et al., CVPR 2019; the
# authors' bdcn.py.
RATES = (4, 8, 12)


class ScaleEnhancement(nn.Module):
    """Scale enhancement module: (B, C', H, W) to (B, C, H, W).

    A 3x3 convolution to C channels gives o; to o are added the outputs of
    one dilated 3x3 convolution of o a rate. A ReLU follows each convolution.

    Args:
        channels: Input channels C'.
        width: Output channels C.
        rates: Dilations. (1, 1, 1) has the published parameters without
            any scale, (4, 4, 4) with a single one; () leaves o alone.

    Source:
        He et al., CVPR 2019, section 3; the authors' bdcn.py.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int = 32,
        rates: Sequence[int] = RATES,
    ):
        super().__init__()
        self.reduce = nn.Conv2d(channels, width, 3, padding=1)
        self.branches = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=rate, dilation=rate)
            for rate in rates
        )

    def forward(self, x: Tensor) -> Tensor:
        """All scales summed, (B, C, H, W)."""
        o = self.reduce(x).relu()
        return o + sum(branch(o).relu() for branch in self.branches)


class IDBlock(nn.Module):
    """Incremental detection block: the maps of one stage to two scores.

    Every map (B, C', H, W) passes its own scale enhancement module and a
    1x1 convolution; from their sum two 1x1 convolutions make one score map
    each, (B, 1, H, W), for the cascade from shallow to deep and for the one
    from deep to shallow. Weights start from N(0, 0.01^2), biases from 0.

    Args:
        channels: Channels C' of every map.
        depth: Number of maps, one a convolution of the stage.
        rates: As in `ScaleEnhancement`.
        width: As in `ScaleEnhancement`.
        reduced: Channels of the sum.

    Raises:
        ValueError: From a call: if there are more or fewer maps.

    Source:
        He et al., CVPR 2019, section 3; the authors' bdcn.py.
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        *,
        rates: Sequence[int] = RATES,
        width: int = 32,
        reduced: int = 21,
    ):
        super().__init__()
        self.enhance = nn.ModuleList(
            ScaleEnhancement(channels, width=width, rates=rates)
            for _ in range(depth)
        )
        self.reduce = nn.ModuleList(
            nn.Conv2d(width, reduced, 1) for _ in range(depth)
        )
        self.scores = nn.ModuleList(nn.Conv2d(reduced, 1, 1) for _ in "sd")
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Scores, shallow to deep and deep to shallow, (B, 1, H, W) each."""
        if len(maps) != len(self.enhance):
            raise ValueError(
                f"{len(maps)} maps: must be {len(self.enhance)}, one a "
                "convolution"
            )
        summed = sum(
            reduce(enhance(x))
            for x, enhance, reduce in zip(
                maps, self.enhance, self.reduce, strict=True
            )
        )
        shallow, deep = (score(summed) for score in self.scores)
        return shallow, deep
