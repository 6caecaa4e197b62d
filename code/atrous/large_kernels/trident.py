"""TridentNet: one set of weights, run at several rates side by side.

Each branch sees objects of another size, and all are the same filter: at
rate r it finds in the picture what at rate 1 it finds in every r-th pixel.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from atrous.arithmetic import check_positive

RATES = (1, 2, 3)


class TridentUnit(nn.Module):
    """A bottleneck unit whose 3x3 runs at several rates, with one weight.

    Maps (B, C, H, W), one a rate, to maps (B, C', H', W'). The weights and
    the batch normalisations are those of one unit: in training these
    normalise each branch by itself and move their running statistics once
    for each.

    Args:
        channels: Input channels C.
        width: Output channels C'.
        bottleneck: Channels of the 3x3.
        rates: Dilations of the branches.
        stride: Stride of the unit.
        stride_on: "3x3" or "1x1": the convolution that has the stride.

    Raises:
        ValueError: If a number is below 1, there is no rate, or `stride_on`
            is unknown.

    Source:
        Li et al., arXiv:1901.01892, section 4; detectron2's TridentNet.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        bottleneck: int,
        rates: Sequence[int] = RATES,
        stride: int = 1,
        stride_on: str = "3x3",
    ):
        super().__init__()
        check_positive(channels=channels, width=width, bottleneck=bottleneck)
        check_positive(stride=stride)
        _check_rates(rates)
        if stride_on not in ("1x1", "3x3"):
            raise ValueError(f"stride_on={stride_on!r}: '1x1' or '3x3'")
        first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
        self.rates = tuple(rates)
        self.shortcut = None
        if channels != width or stride > 1:
            self.shortcut = _normalised(channels, width, 1, stride)
        self.reduce = _normalised(channels, bottleneck, 1, first)
        self.spatial = _normalised(bottleneck, bottleneck, 3, second)
        self.expand = _normalised(bottleneck, width, 1, 1)

    def at_rate(self, x: Tensor, rate: int) -> Tensor:
        """The unit at one rate, which may be any: (B, C', H', W')."""
        convolution, norm = self.spatial
        y = self.reduce(x).relu()
        y = F.conv2d(
            y,
            convolution.weight,
            stride=convolution.stride,
            padding=rate,
            dilation=rate,
        )
        y = self.expand(norm(y).relu())
        return (y + (x if self.shortcut is None else self.shortcut(x))).relu()

    def forward(self, maps: Tensor | Sequence[Tensor]) -> list[Tensor]:
        """A map a rate; from one map, which all branches see, or as many.

        Raises:
            ValueError: If there are not as many maps as rates.
        """
        maps = [maps] * len(self.rates) if isinstance(maps, Tensor) else maps
        if len(maps) != len(self.rates):
            raise ValueError(
                f"{len(maps)} maps: must be one, or one for each of "
                f"rates={self.rates}"
            )
        pairs = zip(maps, self.rates, strict=True)
        return [self.at_rate(x, rate) for x, rate in pairs]


class TridentStage(nn.Sequential):
    """Units in a row, their branches apart: (B, C, H, W) to a map a rate.

    For use one branch is enough, by default the middle one.

    Args:
        channels: Input channels C.
        width: Output channels.
        units: Number of units.
        stride: Stride of the first.
        options: As in `TridentUnit`.

    Raises:
        ValueError: If a number is below 1; as `TridentUnit`.

    Source:
        Li et al., arXiv:1901.01892, section 4; detectron2's TridentNet, where
        it is the fourth stage of a ResNet.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        units: int,
        stride: int = 2,
        **options,
    ):
        check_positive(units=units)
        first = TridentUnit(channels, width, stride=stride, **options)
        others = (
            TridentUnit(width, width, **options) for _ in range(units - 1)
        )
        super().__init__(first, *others)

    def at_rate(self, x: Tensor, rate: int | None = None) -> Tensor:
        """One branch, (B, C', H', W'); None is the middle one of the rates."""
        rates = self[0].rates
        rate = rates[len(rates) // 2] if rate is None else rate
        for unit in self:
            x = unit.at_rate(x, rate)
        return x


def _normalised(channels: int, width: int, kernel: int, stride: int):
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(width),
    )


def _check_rates(rates: Sequence[int]) -> None:
    if min(rates, default=0) < 1:
        raise ValueError(f"rates={rates}: must be one or more, at least 1")
