"""A convolution that takes each channel on its own and keeps the size."""

from torch import nn

from atrous.arithmetic import Window, same_padding


def depthwise_conv(
    channels: int, window: Window, *, bias: bool = True
) -> nn.Conv2d:
    """Depthwise convolution: (B, C, H, W) to the same shape.

    Args:
        channels: Channels C.
        window: Kernel and dilation; stride 1, padded to keep the size.
        bias: Whether there is a bias.

    Raises:
        ValueError: If the window has a stride or another padding.
    """
    k, d = window.kernel, window.dilation
    if window.stride > 1 or window.padding != same_padding(k, d):
        raise ValueError(
            f"{window}: must keep the size, with stride=1 and "
            f"padding={same_padding(k, d)}"
        )
    return nn.Conv2d(
        channels,
        channels,
        k,
        padding=window.padding,
        dilation=d,
        groups=channels,
        bias=bias,
    )
