"""Dilated poolings: torch's own where it has them, sub-grids where not."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from atrous.ops.pooling import crop, dilated_avg_pool2d, dilated_max_pool2d

numbers = st.integers


def test_a_mean_by_hand():
    x = torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0]]).view(1, 1, 1, 5)
    options = {"dilation": (1, 2), "padding": (0, 2)}
    counted = dilated_avg_pool2d(x, (1, 2), **options)
    assert counted.flatten().tolist() == [0.5, 1, 2.5, 5, 10, 4, 8]
    inside = dilated_avg_pool2d(x, (1, 2), **options, count_include_pad=False)
    assert inside.flatten().tolist() == [1, 2, 2.5, 5, 10, 8, 16]
    over = dilated_avg_pool2d(x, (1, 2), **options, divisor_override=4)
    assert over.flatten().tolist() == [0.25, 0.5, 1.25, 2.5, 5, 2, 4]
    best = dilated_max_pool2d(-x, (1, 2), **options)
    assert best.flatten().tolist() == [-1, -2, -1, -2, -4, -8, -16]


@given(
    numbers(1, 3), numbers(1, 4), numbers(0, 2), numbers(12, 16), st.booleans()
)
def test_each_sub_grid_is_pooled_on_its_own(rate, kernel, pad, side, include):
    padding = min(pad, kernel // 2)
    x = torch.randn(2, 3, side, side + 1, dtype=torch.float64)
    options = {
        "dilation": (rate, rate),
        "padding": (rate * padding, rate * padding),
    }
    found = dilated_avg_pool2d(
        x, (kernel, kernel), **options, count_include_pad=include
    )
    largest = dilated_max_pool2d(x, (kernel, kernel), **options)
    for i in range(rate):
        grid = x[..., i::rate, i::rate]
        expected = F.avg_pool2d(
            grid, kernel, 1, padding, count_include_pad=include
        )
        assert torch.allclose(found[..., i::rate, i::rate], expected)
        expected = F.max_pool2d(grid, kernel, 1, padding)
        assert torch.equal(largest[..., i::rate, i::rate], expected)


def test_cropping():
    maps = [torch.rand(1, 2, h, w) for h, w in ((5, 8), (6, 7), (6, 8))]
    for x, cropped in zip(maps, crop(*maps, dilation=2), strict=False):
        assert torch.equal(cropped, x[..., :5, :7])
    with pytest.raises(ValueError, match=r"5x8 and 6x7 and 6x8.*dilation=1"):
        crop(*maps, dilation=1)
