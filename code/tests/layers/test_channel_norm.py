"""Layer normalisation of the channels, against its definition."""

import torch

from atrous.layers.channel_norm import ChannelNorm


@torch.no_grad()
def test_each_place_is_normalised_over_its_channels():
    norm = ChannelNorm(5).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(2, 5, 4, 3, dtype=torch.float64)
    mean = x.mean(1, keepdim=True)
    variance = x.var(1, keepdim=True, correction=0)
    expected = (x - mean) / (variance + 1e-6).sqrt()
    expected = expected * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected)
    assert ChannelNorm(5, eps=0.1).eps == 0.1


def test_gradients():
    norm = ChannelNorm(3).double()
    x = torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, x)
