"""Large kernel attention (LKA): a small and a dilated kernel for a large one.

Channel by channel, a small dense convolution lets every place see its
neighbours, and a dilated one then reads these far apart: together they cover
a large window with few weights. What comes out is multiplied with the input.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from atrous.arithmetic import Window, check_positive, same_padding
from atrous.layers.depthwise import depthwise_conv

GATES = ("product", "sum", "sigmoid")


def lka_windows(kernel: int = 21, dilation: int = 3) -> tuple[Window, Window]:
    """Plan of the two depthwise convolutions that stand for a K x K one.

    First 2 d - 1 taps at rate 1, then ceil(K / d) taps at rate d. Every
    pixel between the taps of the second is seen by the first. They span

        (2 d - 1) + (ceil(K / d) - 1) d

    pixels, which is not K: 23 for K = 21 and d = 3.

    Args:
        kernel: K, the side of the kernel that is decomposed.
        dilation: d, the rate of the second convolution.

    Raises:
        ValueError: If a number is below 1, or no padding keeps the size.

    Source:
        Guo et al., arXiv:2202.09741, section 3.1 and Figure 2.
    """
    check_positive(kernel=kernel, dilation=dilation)
    taps = -(-kernel // dilation)
    return (
        Window(2 * dilation - 1, padding=dilation - 1),
        Window(taps, 1, dilation, same_padding(taps, dilation)),
    )


class LargeKernelAttention(nn.Module):
    """Multiplies maps by what a large kernel sees: (B, C, H, W) to the same.

    The attention is linear in the input: depthwise convolutions and a 1x1,
    all with biases, without activation or normalisation. Its product with
    the input is not.

    Args:
        channels: Channels C.
        windows: The depthwise convolutions. One window of 21 taps is a
            dense kernel; without the first window there is gridding.
        gate: How the attention a meets the input x: "product" is x a, as
            published; "sum" is x + a; "sigmoid" is x times the sigmoid of a.

    Raises:
        ValueError: If there is no window, one does not keep the size, or
            the gate is unknown.

    Source:
        Guo et al., arXiv:2202.09741, section 3.1; the variants are those of
        its Table 3, but for the dense kernel, which mixes channels there.
        VAN-Classification, models/van.py.
    """

    def __init__(
        self,
        channels: int,
        *,
        windows: Sequence[Window] = lka_windows(),
        gate: str = "product",
    ):
        super().__init__()
        if not windows:
            raise ValueError(f"windows={windows}: must be at least one")
        if gate not in GATES:
            raise ValueError(f"gate={gate!r}: must be one of {GATES}")
        self.gate = gate
        self.depthwise = nn.Sequential(
            *(depthwise_conv(channels, window) for window in windows)
        )
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def attention(self, x: Tensor) -> Tensor:
        """What the input is multiplied with, (B, C, H, W)."""
        return self.pointwise(self.depthwise(x))

    def forward(self, x: Tensor) -> Tensor:
        """The gated input, (B, C, H, W)."""
        attention = self.attention(x)
        if self.gate == "sum":
            return x + attention
        return x * (
            attention.sigmoid() if self.gate == "sigmoid" else attention
        )
