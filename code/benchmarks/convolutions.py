"""How long convolutions take: by rate and layout, behind cures, separable."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atrous.arithmetic import Window, valid_weights
from atrous.gridding.smoothing import smooth_
from atrous.layers.aspp import branch_layers
from atrous.layers.spec import SpecStack
from atrous.ops.dilated_conv import valid_taps
from atrous.segmentation.c3net import C3Block
from atrous.segmentation.deeplabv3plus import separable_layers
from atrous.segmentation.espnet import ESP, dilated3x3
from timing import medians

MAPS, RATES = (33, 65), (1, 6, 12, 18, 24, 30, 36)


def taps_on_the_map(size: int, rate: int) -> float:
    """Share of the nine taps that are valid, over a square map."""
    found = valid_weights(size, Window(3, 1, rate, rate))
    return sum(n * places for n, places in found.items()) / (9 * size**2)


@torch.no_grad()
def rates() -> list[dict]:
    """A 3x3 from 2048 to 256 channels, by rate, on the maps of 513 pixels.

    Times are in multiples of that of rate 1, contiguous, on the same map.
    """
    rows = []
    for size in MAPS:
        x, weight = (
            torch.randn(1, 2048, size, size),
            torch.randn(256, 2048, 3, 3),
        )
        last = [
            t.contiguous(memory_format=torch.channels_last)
            for t in (x, weight)
        ]

        def conv(x: Tensor, weight: Tensor, rate: int) -> Callable:
            return lambda: F.conv2d(x, weight, padding=rate, dilation=rate)

        unit = conv(x, weight, 1)
        for rate in RATES:
            found = medians(
                {
                    "unit": unit,
                    "contiguous": conv(x, weight, rate),
                    "channels_last": conv(*last, rate),
                    "valid taps": lambda pair=last, r=rate: valid_taps(
                        *pair, padding=r, dilation=r
                    ),
                }
            )
            del found["unit"]
            rows.append(
                {"size": size, "rate": rate}
                | {"valid": taps_on_the_map(size, rate)}
                | found
            )
    return rows


def both_ways(module: nn.Module, x: Tensor) -> Callable[[], None]:
    """A pass forwards and back, to weights and input."""
    last = {"memory_format": torch.channels_last}
    module, x = module.to(**last), x.contiguous(**last).requires_grad_()
    return lambda: module(x).sum().backward()


def cures() -> dict[str, float]:
    """Cures for gridding at rate 4, 256 channels, a pass forwards and back."""
    x = torch.randn(1, 256, 48, 48)

    def smoothed(kind: str) -> nn.Module:
        return smooth_(dilated3x3(256, 256, dilation=4), smoothing=kind)

    return medians(
        {
            "the bare convolution": both_ways(
                dilated3x3(256, 256, dilation=4), x
            ),
            "GI": both_ways(smoothed("gi"), x),
            "SSC": both_ways(smoothed("ssc"), x),
            "ESP unit": both_ways(ESP(256, 256), x),
            "C3 block": both_ways(C3Block(256, 256, dilation=4), x),
        }
    )


@torch.no_grad()
def separable() -> dict[str, float]:
    """A branch of ASPP, 2048 to 256 channels at rate 6 on 33 x 33 cells."""
    x = torch.randn(1, 2048, 33, 33)
    plans = {
        "dense": branch_layers(rate=6),
        "separable": separable_layers(Window(3, 1, 6, 6), 2048, 256),
    }
    built = {
        name: SpecStack(plan, 2048).eval() for name, plan in plans.items()
    }
    return medians(
        {name: lambda m=module: m(x) for name, module in built.items()}
    )
