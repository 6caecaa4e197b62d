"""Levels of a dilated residual network, with the two that undo gridding."""

import torch
from torch import nn


class Unit(nn.Module):
    """Two 3x3 convolutions of one dilation, with or without shortcut."""

    def __init__(self, channels, width, stride, dilation, residual=True):
        super().__init__()
        self.residual = residual
        geometry = {"padding": dilation, "dilation": dilation, "bias": False}
        self.conv1 = nn.Conv2d(channels, width, 3, stride, **geometry)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, **geometry)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if residual and (stride > 1 or channels != width):
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False),
                nn.BatchNorm2d(width),
            )

    def forward(self, x):
        """(B, C, H, W) to (B, width, H / stride, W / stride), rounded up."""
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y))
        if self.residual:
            y = y + (x if self.downsample is None else self.downsample(x))
        return y.relu()


def level(channels, width, count, stride=1, dilation=1, residual=True):
    """`count` units; the first has the stride and changes the width."""
    units = [Unit(channels, width, stride, dilation, residual)]
    while len(units) < count:
        units.append(Unit(width, width, 1, dilation, residual))
    return nn.Sequential(*units)


def drn_c_26_levels_5_to_8(channels=128, widths=(256, 512, 512, 512)):
    """Dilations 2 and 4; then 2 and 1 without shortcuts, against gridding."""
    return nn.Sequential(
        level(channels, widths[0], 2, dilation=2),
        level(widths[0], widths[1], 2, dilation=4),
        level(widths[1], widths[2], 1, dilation=2, residual=False),
        level(widths[2], widths[3], 1, dilation=1, residual=False),
    )


if __name__ == "__main__":
    levels = drn_c_26_levels_5_to_8(16, widths=(32, 64, 64, 64))
    x = torch.rand(2, 16, 28, 28)
    print(tuple(levels(x).shape))  # (2, 64, 28, 28)
