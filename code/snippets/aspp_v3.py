"""ASPP as in DeepLab v3: rates and the whole picture, concatenated."""

import torch
from torch import nn


def conv_bn_relu(channels, width, rate=1):
    """A 1x1 at rate 1, otherwise a 3x3; normalised, then ReLU."""
    kernel, padding = (1, 0) if rate == 1 else (3, rate)
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, 1, padding, rate, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )


class ASPPv3(nn.Module):
    """(B, C', H, W) to fused features (B, width, H, W).

    Rates 6, 12, 18 at output stride 16; double them at 8.
    """

    def __init__(self, channels, width=256, rates=(6, 12, 18), dropout=0.0):
        super().__init__()
        self.branches = nn.ModuleList(
            conv_bn_relu(channels, width, rate) for rate in (1, *rates)
        )
        self.pooled = conv_bn_relu(channels, width)
        self.project = conv_bn_relu((len(rates) + 2) * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        """Fused features, (B, width, H, W)."""
        maps = [branch(x) for branch in self.branches]
        pooled = self.pooled(x.mean((2, 3), keepdim=True))
        maps.append(pooled.expand(-1, -1, *x.shape[2:]))
        return self.dropout(self.project(torch.cat(maps, 1)))


if __name__ == "__main__":
    x = torch.rand(2, 64, 33, 33)
    print(tuple(ASPPv3(64)(x).shape))  # (2, 256, 33, 33)
