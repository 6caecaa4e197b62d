"""Layer normalisation of sequences: over all steps, one, or those so far.

Each subtracts a mean, divides by a standard deviation, both over all C
channels and some of the steps, and gives each channel a gain and an offset.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-8


class _SequenceNorm(nn.Module):
    """Gain and offset of each channel; keeps (B, C, T)."""

    def __init__(self, channels: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, channels, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1))

    def normalise(self, x: Tensor) -> Tensor:
        """Mean 0 and deviation 1, (B, C, T)."""
        raise NotImplementedError

    def scaled(self, x: Tensor) -> Tensor:
        """With the gain and offset of each channel, (B, C, T)."""
        return self.gamma * x + self.beta

    def forward(self, x: Tensor) -> Tensor:
        """The normalised sequences, (B, C, T)."""
        return self.scaled(self.normalise(x))


class GlobalNorm(_SequenceNorm):
    """Global layer normalisation, gLN: over all steps; not causal.

    Source:
        Luo & Mesgarani, TASLP 2019, Conv-TasNet, for gLN and its variance
        within the root; kaituoxu/Conv-TasNet for eps = 1e-8.
    """

    def normalise(self, x: Tensor) -> Tensor:
        """Mean 0 and deviation 1 over channels and steps, (B, C, T)."""
        return F.group_norm(x, 1, eps=EPS)


class ChannelNorm(_SequenceNorm):
    """Layer normalisation of each step alone, over its channels; causal.

    Source:
        kaituoxu/Conv-TasNet, which calls it cLN and uses it first of all.
    """

    def normalise(self, x: Tensor) -> Tensor:
        """Mean 0 and deviation 1 over channels, (B, C, T)."""
        channels = self.gamma.shape[1:2]
        return F.layer_norm(x.transpose(1, 2), channels, eps=EPS).mT


class CumulativeNorm(_SequenceNorm):
    """Cumulative layer normalisation, cLN: over the steps so far; causal.

    Step t is normalised by mean and variance of all channels of steps 0
    to t.

    Source:
        Luo & Mesgarani, TASLP 2019, Conv-TasNet, for the causal network.
    """

    def normalise(self, x: Tensor) -> Tensor:
        """Mean 0 and deviation 1 over channels and past, (B, C, T)."""
        steps = torch.arange(1, x.shape[2] + 1, dtype=x.dtype, device=x.device)
        return self.from_means(
            x,
            x.mean(1, keepdim=True).cumsum(2) / steps,
            x.square().mean(1, keepdim=True).cumsum(2) / steps,
        )

    def from_means(self, x: Tensor, mean: Tensor, of_squares: Tensor):
        """The same from the means of values and squares so far."""
        variance = (of_squares - mean.square()).clamp(min=0)
        return (x - mean) / (variance + EPS).sqrt()


NORMS = {
    "global": GlobalNorm,
    "channel": ChannelNorm,
    "cumulative": CumulativeNorm,
}
