"""Atrous spatial pyramid pooling as DeepLab v2 has it: rates, summed."""

from collections.abc import Sequence

from torch import Tensor, nn

from atrous.arithmetic import Window, same_padding
from atrous.plans import Layer, Stack

# Source: Chen et al., arXiv:1606.00915, Figure 7 and section 4.1.2.
ASPP_S = (2, 4, 8, 12)
ASPP_L = (6, 12, 18, 24)


def fc_layers(
    num_classes: int, *, rate: int, kernel: int = 3, width: int = 1024
) -> tuple[Layer, ...]:
    """Plan of one branch on VGG-16: fc6 with a rate, fc7 and fc8.

    Args:
        num_classes: Score maps C, at least 1.
        rate: Dilation of fc6.
        kernel: Kernel of fc6; 7 in VGG-16 itself.
        width: Channels of fc6 and fc7; 4096 in VGG-16 itself.

    Raises:
        ValueError: If a number is too small or no padding keeps the size.

    Source:
        Chen et al., arXiv:1606.00915, Table 1 and Figure 7.
    """
    _positive(num_classes=num_classes, rate=rate, kernel=kernel, width=width)
    padding = same_padding(kernel, rate)
    return (
        Layer("fc6", Window(kernel, 1, rate, padding), width, dropout=0.5),
        Layer("fc7", Window(1), width, dropout=0.5),
        Layer("fc8", Window(1), num_classes, relu=False),
    )


def score_layers(num_classes: int, *, rate: int) -> tuple[Layer, ...]:
    """Plan of one branch on ResNet: a single 3x3 convolution to C scores.

    Raises:
        ValueError: If a number is below 1.

    Source:
        The ResNet-101 of DeepLab v2 as ported by kazuto1011.
    """
    _positive(num_classes=num_classes, rate=rate)
    return (Layer("score", Window(3, 1, rate, rate), num_classes, relu=False),)


class SummedASPP(nn.ModuleList):
    """Parallel branches, summed: (B, C', H, W) to scores (B, C, H, W).

    With one branch it is the plain head of that rate, such as LargeFOV. The
    layer that makes the scores starts from N(0, 0.01^2) and zero biases.

    Args:
        branches: One plan a branch.
        channels: Input channels C'.

    Raises:
        ValueError: If there is no branch.

    Source:
        Chen et al., arXiv:1606.00915, section 3.2, Figure 7.
    """

    def __init__(self, branches: Sequence[Sequence[Layer]], channels: int):
        if not branches:
            raise ValueError(f"branches={branches}: must be at least one")
        super().__init__(Stack(plan, channels) for plan in branches)
        for branch in self:
            score = branch[-1]
            nn.init.normal_(score.weight, std=0.01)
            nn.init.zeros_(score.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Scores, (B, C, H, W)."""
        return sum(branch(x) for branch in self)


def _positive(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name}={value}: must be at least 1")
