"""Spatial pyramid pooling: lengths, maxima, any size."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from references import count

from atrous.layers.spp import SPP

SIDES = st.integers(1, 30)


def test_one_length_for_maps_of_any_size():
    """50 bins of 256 channels, whatever the size; no weights."""
    module = SPP()
    for size in ((13, 17), (20, 9)):
        y = module(torch.rand(2, 256, *size))
        assert y.shape == (2, 12_800) == (2, module.length(256))
    assert count(module) == 0


@given(SIDES, SIDES, st.integers(1, 5), st.integers(0, 9))
def test_bins_are_maxima_of_their_part(height, width, n, seed):
    """Bin i spans floor(i H / n) to ceil((i + 1) H / n)."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, height, width, generator=generator)
    found = SPP((n, 1))(x)
    grid = found[:, : 3 * n * n].view(2, 3, n, n)
    for i in range(n):
        for j in range(n):
            rows = slice(i * height // n, math.ceil((i + 1) * height / n))
            columns = slice(j * width // n, math.ceil((j + 1) * width / n))
            part = x[..., rows, columns].amax((2, 3))
            assert torch.equal(grid[..., i, j], part)
    assert torch.equal(found[:, 3 * n * n :], x.amax((2, 3)))


def test_gradients_reach_one_place_a_bin():
    x = torch.randn(1, 1, 8, 8, requires_grad=True)
    SPP((4,))(x).sum().backward()
    assert x.grad.sum() == 16
    assert x.grad.count_nonzero() == 16


@pytest.mark.parametrize("bins", [(), (3, 0)])
def test_wrong_bins_are_named(bins):
    with pytest.raises(ValueError, match="bins="):
        SPP(bins)
