"""The parts of RefineNet: residual units, chained pooling, one level."""

import torch.nn.functional as F
from torch import Tensor, nn

from atrous.ops.upsampling import resize


def conv(
    channels: int, width: int, kernel: int, *, bias: bool = False
) -> nn.Conv2d:
    """A convolution that keeps the size; the kernel must be odd."""
    return nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=bias)


class ResidualConvUnit(nn.Module):
    """x + conv(max(conv(max(x, 0)), 0)): (B, C, H, W) to the same.

    Two 3x3 convolutions, the first with a bias. Nothing is normalised, and x
    itself is not rectified on its way around.

    Source:
        Lin et al., arXiv:1611.06612, section 3.2, "Residual convolution
        unit"; the biases: DrSleep/refinenet-pytorch.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = conv(channels, channels, 3, bias=True)
        self.conv2 = conv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """The unit's output, (B, C, H, W)."""
        return x + self.conv2(self.conv1(x.relu()).relu())


class ChainedResidualPooling(nn.Module):
    """Poolings in a chain, all summed: (B, C, H, W) to the same.

    Each step takes the maximum over 5x5 places of the step before, at stride
    1, and convolves it. The input and all steps are summed. Four steps see
    17 places a side with 1x1 convolutions and 25 with 3x3.

    Args:
        channels: Channels C.
        kernel: Of the convolutions, odd.
        steps: How many.

    Source:
        Lin et al., arXiv:1611.06612, section 3.2, "Chained residual
        pooling"; four steps: DrSleep/refinenet-pytorch.
    """

    def __init__(self, channels: int, *, kernel: int = 3, steps: int = 4):
        super().__init__()
        self.convolutions = nn.ModuleList(
            conv(channels, channels, kernel) for _ in range(steps)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The sum, (B, C, H, W)."""
        total = x
        for convolution in self.convolutions:
            x = convolution(F.max_pool2d(x, 5, 1, 2))
            total = total + x
        return total


class RefineBlock(nn.Module):
    """A level and the coarser one's output, refined: to (B, D, H, W).

    The level is (B, C, H, W), the coarser one of any size. Reduce, two
    residual units, adapt, add the coarser one upsampled; ReLU, chained
    pooling, three residual units, and a convolution to the width of the
    finer level.

    Args:
        channels: Channels C.
        width: Channels inside.
        out: Channels D for the finer level; None at the finest, which has
            D = width and no convolution for it.
        coarsest: Whether there is no coarser level, and nothing to adapt.
        light: Whether convolutions are 1x1 and there are no residual units.

    Source:
        Lin et al., arXiv:1611.06612, section 3.2 and Figure 3; light:
        Nekrasov et al., arXiv:1810.03272, section 3.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        out: int | None,
        *,
        coarsest: bool = False,
        light: bool = False,
    ):
        super().__init__()
        kernel = 1 if light else 3
        before, after = (0, 0) if light else (2, 3)
        self.reduce = conv(channels, width, kernel)
        self.before = _units(width, before)
        self.adapt = None if coarsest else conv(width, width, kernel)
        self.pooling = ChainedResidualPooling(width, kernel=kernel)
        self.after = _units(width, after)
        self.out = nn.Identity() if out is None else conv(width, out, kernel)

    def forward(self, x: Tensor, coarser: Tensor | None = None) -> Tensor:
        """The refined map, (B, D, H, W)."""
        x = self.before(self.reduce(x))
        if self.adapt is not None:
            x = self.adapt(x) + resize(coarser, x.shape[2:], True)
        return self.out(self.after(self.pooling(x.relu())))


def _units(channels: int, number: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualConvUnit(channels) for _ in range(number)))
