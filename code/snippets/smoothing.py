"""Two cures for gridding beside a convolution of rate r: SSC and GI."""

import torch
import torch.nn.functional as F
from torch import nn


class SharedConvolution(nn.Module):
    """SSC: one kernel of side 2r - 1 for all channels, before the layer.

    Maps (B, C, H, W) to the same shape. It starts as the identity.
    """

    def __init__(self, rate):
        super().__init__()
        self.rate = rate
        kernel = torch.zeros(2 * rate - 1, 2 * rate - 1)
        kernel[rate - 1, rate - 1] = 1.0
        self.kernel = nn.Parameter(kernel)

    def forward(self, x):
        """The filtered maps, (B, C, H, W)."""
        c = x.shape[1]
        kernels = self.kernel.expand(c, 1, -1, -1)
        return F.conv2d(x, kernels, padding=self.rate - 1, groups=c)


class GroupInteraction(nn.Module):
    """GI: mixes the r^2 phases of a map, all channels alike, after the layer.

    Maps (B, C, H, W) to the same shape; H and W must be multiples of r. It
    starts as the identity.
    """

    def __init__(self, rate):
        super().__init__()
        self.rate = rate
        self.matrix = nn.Parameter(torch.eye(rate**2))

    def forward(self, x):
        """The phases mixed, (B, C, H, W)."""
        r = self.rate
        phases = F.pixel_unshuffle(x, r).unflatten(1, (-1, r * r))
        mixed = torch.einsum("bcihw,ij->bcjhw", phases, self.matrix)
        return F.pixel_shuffle(mixed.flatten(1, 2), r)


if __name__ == "__main__":
    x, rate = torch.rand(1, 8, 24, 24), 2
    layer = nn.Conv2d(8, 8, 3, padding=rate, dilation=rate, bias=False)
    ssc = nn.Sequential(SharedConvolution(rate), layer)
    gi = nn.Sequential(layer, GroupInteraction(rate))
    for cured in (ssc, gi):
        torch.testing.assert_close(cured(x), layer(x))
    print(ssc[0].kernel.numel(), gi[1].matrix.numel())  # 9 16
