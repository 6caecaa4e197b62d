"""UniRepLKNet: few large kernels, each trained with dilated ones beside it."""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atrous.arithmetic import check_positive
from atrous.large_kernels.dilated_reparam import DilatedReparam, folded
from atrous.layers.channel_norm import ChannelNorm

# Channels of each stage, and the kernel of each block, stage by stage.
# Source: Ding et al., arXiv:2311.15599; UniRepLKNet, unireplknet.py.
_SMALL = ((3, 3), (13, 13), (13,) * 6, (13, 13))
_NANO = ((3, 3), (13, 13), (13,) * 8, (13, 13))
_TINY = ((3,) * 3, (13,) * 3, (13, 3) * 9, (13,) * 3)
_BASE = ((3,) * 3, (13,) * 3, (13, 3, 3) * 9, (13,) * 3)
ARCHITECTURES = {
    f"unireplknet_{name}": {
        "widths": tuple(width * 2**i for i in range(4)),
        "kernels": kernels,
    }
    for name, width, kernels in (
        ("a", 40, _SMALL),
        ("f", 48, _SMALL),
        ("p", 64, _SMALL),
        ("n", 80, _NANO),
        ("t", 80, _TINY),
        ("s", 96, _BASE),
        ("b", 128, _BASE),
        ("l", 192, _BASE),
        ("xl", 256, _BASE),
    )
}
LAYER_SCALE = 1e-6
EXPANSION = 4
# Kernels from this side on have dilated branches.
LARGE = 7


class SqueezeExcitation(nn.Module):
    """Scales channels by what their means say: (B, C, H, W) to the same.

    Args:
        channels: Channels C.
        width: Channels in the middle.

    Source:
        Hu et al., arXiv:1709.01507; UniRepLKNet.
    """

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.down = nn.Conv2d(channels, width, 1)
        self.up = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The scaled maps, (B, C, H, W)."""
        means = x.mean((2, 3), keepdim=True)
        return x * self.up(self.down(means).relu()).sigmoid()


class Pointwise(nn.Linear):
    """A linear layer at each place, (B, C, H, W) to (B, C', H, W).

    It is a 1x1 convolution whose weight is a matrix, as released.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The mapped channels, (B, C', H, W)."""
        return F.conv2d(x, self.weight[..., None, None], self.bias)


class ResponseNorm(nn.Module):
    """Global response normalisation: (B, C, H, W) to the same shape.

    Each channel is scaled by its norm over the map, relative to the mean of
    all channels' norms; at first it is left as it is. The parameters have
    the channels last, as released.

    Args:
        channels: Channels C.

    Source:
        Woo et al., arXiv:2301.00808, section 3.2; UniRepLKNet.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        """The normalised maps, (B, C, H, W)."""
        norms = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
        relative = norms / (norms.mean(1, keepdim=True) + 1e-6)
        y = (self.gamma.movedim(-1, 1) * relative + 1) * x
        return y if self.beta is None else y + self.beta.movedim(-1, 1)


class UniRepLKNetBlock(nn.Module):
    """Large kernel, squeeze and excitation, feed-forward; added to the input.

    Maps (B, C, H, W) to the same shape. A kernel of 7 or more has dilated
    branches while it is trained; a smaller one is a plain convolution.

    Args:
        channels: Channels C, at least 4.
        kernel: Side of the depthwise kernel, odd.

    Raises:
        ValueError: If the channels are too few, or as `DilatedReparam`.

    Source:
        Ding et al., arXiv:2311.15599, Figure 2; UniRepLKNet.
        Departs: no stochastic depth, which that code trains with.
    """

    def __init__(self, channels: int, kernel: int = 13):
        super().__init__()
        if channels < 4:
            raise ValueError(f"channels={channels}: must be at least 4")
        plain = {} if kernel >= LARGE else {"branches": (), "norm": False}
        width = EXPANSION * channels
        self.gamma = nn.Parameter(torch.full((channels,), LAYER_SCALE))
        self.depthwise = DilatedReparam(channels, kernel, **plain)
        self.norm = nn.BatchNorm2d(channels)
        self.squeeze = SqueezeExcitation(channels, channels // 4)
        self.expand = Pointwise(channels, width)
        self.response = ResponseNorm(width)
        self.reduce = Pointwise(width, channels, bias=False)
        self.last_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, (B, C, H, W)."""
        y = self.squeeze(self.norm(self.depthwise(x)))
        y = self.reduce(self.response(F.gelu(self.expand(y))))
        y = self.last_norm(y)
        return x + (y if self.gamma is None else y * self.gamma[:, None, None])

    @torch.no_grad()
    def merge_(self) -> "UniRepLKNetBlock":
        """Fold normalisations, scale and shifts into the weights beside them.

        What is left is a depthwise convolution with a bias, squeeze and
        excitation, and two pointwise layers around the response
        normalisation, which loses its shift. A merged block stays as it is.
        """
        if self.gamma is None:
            return self
        (one,) = self.depthwise.merge_().branches[0]
        one.weight, one.bias = folded(one.weight, one.bias, self.norm)
        self.norm = nn.Identity()
        # The shift goes through the pointwise layer and becomes its bias.
        weight = self.reduce.weight
        shift = weight @ self.response.beta.flatten()
        weight, bias = folded(weight, shift, self.last_norm)
        self.reduce.weight = nn.Parameter(weight * self.gamma[:, None])
        self.reduce.bias = nn.Parameter(bias * self.gamma)
        self.last_norm = nn.Identity()
        self.response.beta = self.gamma = None
        return self


class UniRepLKNet(nn.Module):
    """A UniRepLKNet that classifies: (B, 3, H, W) to logits (B, num_classes).

    Four stages at strides 4, 8, 16 and 32.
    `atrous.large_kernels.dilated_reparam.merge_` makes the network for use
    of the one for training.

    Args:
        widths: Channels of each stage; those of `ARCHITECTURES`.
        kernels: Kernel of each block, stage by stage.
        num_classes: Classes, at least 1.

    Raises:
        ValueError: If the stages differ in number or a number is out of
            range.

    Source:
        Ding et al., arXiv:2311.15599; UniRepLKNet, unireplknet.py.
        Departs: as `UniRepLKNetBlock`.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        kernels: Sequence[Sequence[int]],
        num_classes: int = 1000,
    ):
        super().__init__()
        check_positive(num_classes=num_classes)
        if not len(widths) == len(kernels) > 0 or min(widths) < 4:
            raise ValueError(
                f"widths={widths}, kernels={kernels}: must be one of each "
                "for every stage, the widths at least 4"
            )
        self.num_classes = num_classes
        first, last = widths[0], widths[-1]
        stem = nn.Sequential(
            *_halving(3, first // 2), nn.GELU(), *_halving(first // 2, first)
        )
        self.downsamples = nn.ModuleList([stem])
        for before, after in itertools.pairwise(widths):
            self.downsamples.append(nn.Sequential(*_halving(before, after)))
        self.stages = nn.ModuleList(
            nn.Sequential(*(UniRepLKNetBlock(width, k) for k in stage))
            for width, stage in zip(widths, kernels, strict=True)
        )
        self.norm = nn.LayerNorm(last, eps=1e-6)
        self.head = nn.Linear(last, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Maps by name, "stage1" to "stage4", (B, C, H', W')."""
        maps = {}
        stages = zip(self.downsamples, self.stages, strict=True)
        for number, (downsample, stage) in enumerate(stages, 1):
            x = maps[f"stage{number}"] = stage(downsample(x))
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (B, num_classes)."""
        *_, last = self.features(x).values()
        return self.head(self.norm(last.mean((2, 3))))


def _halving(channels: int, width: int) -> tuple[nn.Module, nn.Module]:
    """A 3x3 convolution of stride 2 and its normalisation."""
    return nn.Conv2d(channels, width, 3, 2, 1), ChannelNorm(width)
