"""Train a large kernel with dilated ones beside it; merge them for use."""

import torch
import torch.nn.functional as F
from torch import nn


class DilatedReparam(nn.Module):
    """Depthwise branches, normalised and summed: (B, C, H, W) to the same.

    Branches are kernel and dilation, both odd kernels; the first is the
    large one, and no other may span more.
    """

    def __init__(
        self,
        channels,
        branches=((13, 1), (5, 1), (7, 2), (3, 3), (3, 4), (3, 5)),
    ):
        super().__init__()
        self.branches = nn.ModuleList()
        for k, r in branches:
            padding = (k - 1) * r // 2
            conv = nn.Conv2d(
                *(channels, channels, k, 1, padding, r, channels),
                bias=False,
            )
            branch = nn.Sequential(conv, nn.BatchNorm2d(channels))
            self.branches.append(branch)

    def forward(self, x):
        """Sum of the branches, (B, C, H, W)."""
        return sum(branch(x) for branch in self.branches)

    @torch.no_grad()
    def merged(self):
        """The one convolution that computes this in evaluation mode."""
        kernel, bias = 0, 0
        large = self.branches[0][0].weight
        c, _, side, _ = large.shape
        for conv, norm in self.branches:
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            (k, _), (r, _) = conv.kernel_size, conv.dilation
            span = (k - 1) * r + 1
            dense = large.new_zeros(c, 1, span, span)
            dense[..., ::r, ::r] = conv.weight * scale[:, None, None, None]
            kernel += F.pad(dense, [(side - span) // 2] * 4)
            bias += norm.bias - norm.running_mean * scale
        one = nn.Conv2d(c, c, side, 1, side // 2, 1, c).to(large)
        one.weight.copy_(kernel)
        one.bias.copy_(bias)
        return one


if __name__ == "__main__":
    block, x = DilatedReparam(32).eval(), torch.rand(1, 32, 40, 48)
    one = block.merged()
    torch.testing.assert_close(one(x), block(x), atol=1e-5, rtol=1e-4)
    print([sum(p.numel() for p in m.parameters()) for m in (block, one)])
    # [9024, 5440]
