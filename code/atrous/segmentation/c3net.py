"""C3: convolutions that look at what a dilated convolution skips.

A concentrated-comprehensive block first gathers, channel by channel, the
whole window between the taps, and then dilates. Its network is ESPNet with
these blocks as branches.
"""

from collections.abc import Sequence

from torch import nn

from atrous.segmentation.espnet import ESPNet, dilated3x3

# Source: clovaai/c3_sinet.
RATES = (2, 3, 7, 13)


class C3Block(nn.Sequential):
    """Concentrate, then dilate: (B, C, H, W) to (B, C', H, W).

    Each channel on its own: a column and a row of 2 d - 1 taps, with BN and
    PReLU between and BN after, then 3x3 at dilation d; at last a 1x1
    convolution. It sees 4 d - 1 pixels a side and skips none, where 3x3 at
    dilation d sees 2 d + 1 and touches 3. At d = 1 it is a dense 3x3.

    Args:
        channels: Input channels C.
        width: Output channels C'.
        dilation: d, at least 1.

    Raises:
        ValueError: If `dilation` is below 1.

    Source:
        Park et al. 2018; the authors' C3.py in clovaai/c3_sinet.
    """

    def __init__(self, channels: int, width: int, *, dilation: int):
        if dilation < 1:
            raise ValueError(f"dilation={dilation}: must be at least 1")
        if dilation == 1:
            super().__init__(dilated3x3(channels, width, dilation=1))
            return
        taps, reach = 2 * dilation - 1, dilation - 1
        super().__init__(
            _depthwise(channels, (taps, 1), (reach, 0)),
            nn.BatchNorm2d(channels),
            nn.PReLU(channels),
            _depthwise(channels, (1, taps), (0, reach)),
            nn.BatchNorm2d(channels),
            _depthwise(channels, (3, 3), (dilation, dilation), dilation),
            nn.Conv2d(channels, width, 1, bias=False),
        )


def c3net(
    *,
    num_classes: int = 20,
    p: int = 2,
    q: int = 8,
    rates: Sequence[int] = RATES,
) -> ESPNet:
    """C3Net: (B, 3, H, W) to logits (B, C, H, W).

    ESPNet with C3 blocks in its branches, one fewer, and without fusion.
    Its encoder alone is `encoder`.

    Args:
        num_classes: Classes C, at least as many as there are rates.
        p: As in `atrous.segmentation.espnet.ESPNetC`.
        q: As in `atrous.segmentation.espnet.ESPNetC`.
        rates: Dilations of the branches.

    Raises:
        ValueError: If a number is out of range.

    Source:
        Park et al. 2018; the authors' C3.py in clovaai/c3_sinet.
        Departs: as `atrous.segmentation.espnet.ESPNet`; the picture's last
        row and column count where a side is odd; and that code computes the
        reductions at stride 1 twice: 3.39 G multiply-adds at 512 x 1024 in
        place of 3.05 G.
    """
    return ESPNet(
        num_classes=num_classes,
        p=p,
        q=q,
        pool=nn.AvgPool2d(2, ceil_mode=True),
        rates=rates,
        fusion=False,
        branch=C3Block,
    )


def _depthwise(
    channels: int,
    kernel: tuple[int, int],
    padding: tuple[int, int],
    dilation: int = 1,
) -> nn.Conv2d:
    """A convolution of each channel on its own, without bias."""
    return nn.Conv2d(
        channels,
        channels,
        kernel,
        padding=padding,
        dilation=dilation,
        groups=channels,
        bias=False,
    )
