"""A stack of causal dilated convolutions, at once and step by step."""

import torch
import torch.nn.functional as F
from torch import nn


class CausalStack(nn.Module):
    """Causal convolutions of dilations 1, 2, 4, ..., a ReLU after each.

    Maps (B, C, T) to (B, width, T). Output t reads the inputs from
    t - (kernel - 1)(2^layers - 1) to t.
    """

    def __init__(self, channels, width, layers, kernel=2):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(width if i else channels, width, kernel, dilation=2**i)
            for i in range(layers)
        )

    def forward(self, x):
        """All steps at once, (B, width, T)."""
        for conv in self.convs:
            x = conv(F.pad(x, (past(conv), 0))).relu()
        return x

    def queues(self, batch):
        """The inputs that each layer still needs, at first zeros."""
        return [
            conv.weight.new_zeros(batch, conv.in_channels, past(conv))
            for conv in self.convs
        ]

    def step(self, x, queues):
        """One step, (B, C) to (B, width); the queues move on by it."""
        for i, conv in enumerate(self.convs):
            seen = torch.cat([queues[i], x[..., None]], 2)
            queues[i] = seen[..., 1:]
            taps = seen[..., :: conv.dilation[0]]  # as many as the kernel
            x = F.conv1d(taps, conv.weight, conv.bias)[..., 0].relu()
        return x


def past(conv):
    """Steps before its own that a convolution reads."""
    return (conv.kernel_size[0] - 1) * conv.dilation[0]


if __name__ == "__main__":
    stack, x = CausalStack(3, 8, layers=10), torch.rand(2, 3, 50)
    with torch.no_grad():
        queues = stack.queues(batch=2)
        steps = [stack.step(x[..., t], queues) for t in range(50)]
        torch.testing.assert_close(torch.stack(steps, 2), stack(x))
    print(1 + sum(map(past, stack.convs)))  # 1024
    print(sum(conv.weight.numel() for conv in stack.convs))  # 1200
