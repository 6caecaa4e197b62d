"""ASPP as in DeepLab v2: branches of several rates, summed as scores."""

import torch
from torch import nn


def branch(channels, num_classes, rate, width=None):
    """A 3x3 to scores; with a width, fc6, fc7 and fc8 as on VGG-16."""
    out = num_classes if width is None else width
    first = nn.Conv2d(channels, out, 3, padding=rate, dilation=rate)
    if width is None:
        return nn.Sequential(first)
    return nn.Sequential(
        *(first, nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Conv2d(width, width, 1), nn.ReLU(), nn.Dropout(0.5)),
        nn.Conv2d(width, num_classes, 1),
    )


class ASPPv2(nn.ModuleList):
    """(B, C', H, W) to scores (B, C, H, W), the sum over the branches.

    Rates of ASPP-L; ASPP-S has 2, 4, 8, 12. `width` is None on ResNet-101
    and 1024 on VGG-16.
    """

    def __init__(
        self, channels, num_classes, rates=(6, 12, 18, 24), width=None
    ):
        super().__init__(
            branch(channels, num_classes, rate, width) for rate in rates
        )
        for layers in self:
            nn.init.normal_(layers[-1].weight, std=0.01)
            nn.init.zeros_(layers[-1].bias)

    def forward(self, x):
        """Scores, (B, C, H, W)."""
        return sum(layers(x) for layers in self)


if __name__ == "__main__":
    x = torch.rand(1, 64, 41, 41)
    print(tuple(ASPPv2(64, 21)(x).shape))  # (1, 21, 41, 41)
    print(tuple(ASPPv2(64, 21, width=32)(x).shape))  # (1, 21, 41, 41)
