"""Large kernel attention (LKA): a small and a dilated kernel, then a gate."""

import torch
from torch import nn


def lka_windows(kernel=21, dilation=3):
    """Kernel and dilation of the two depthwise convolutions."""
    taps = -(-kernel // dilation)  # rounded up
    if (taps - 1) * dilation % 2:
        raise ValueError(f"kernel={kernel}: {taps} taps cannot be centred")
    return (2 * dilation - 1, 1), (taps, dilation)


def span(windows):
    """Pixels along one axis that the convolutions see together."""
    return 1 + sum((k - 1) * d for k, d in windows)


class LKA(nn.Module):
    """Multiplies maps (B, C, H, W) by what the large kernel sees."""

    def __init__(self, channels, kernel=21, dilation=3):
        super().__init__()
        self.depthwise = nn.Sequential(
            *(
                nn.Conv2d(
                    channels,
                    channels,
                    k,
                    padding=(k - 1) * d // 2,
                    dilation=d,
                    groups=channels,
                )
                for k, d in lka_windows(kernel, dilation)
            )
        )
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        """The input times its attention, (B, C, H, W)."""
        return x * self.pointwise(self.depthwise(x))


if __name__ == "__main__":
    x = torch.rand(2, 32, 40, 48)
    lka = LKA(32)
    print(tuple(lka(x).shape))  # (2, 32, 40, 48)
    print(span(lka_windows(21, 3)))  # 23
    print(sum(k**2 for k, _ in lka_windows(21, 3)))  # 74
