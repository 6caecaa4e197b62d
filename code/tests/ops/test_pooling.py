"""Dilated poolings: torch's own where it has them, sub-grids where not."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from atrous.ops.pooling import crop, dilated_avg_pool, dilated_max_pool

numbers = st.integers


def test_a_mean_by_hand():
    x = torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0]]).view(1, 1, 1, 5)
    options = {"dilation": (1, 2), "padding": (0, 2)}
    counted = dilated_avg_pool(x, (1, 2), **options)
    assert counted.flatten().tolist() == [0.5, 1, 2.5, 5, 10, 4, 8]
    inside = dilated_avg_pool(x, (1, 2), **options, count_include_pad=False)
    assert inside.flatten().tolist() == [1, 2, 2.5, 5, 10, 8, 16]
    over = dilated_avg_pool(x, (1, 2), **options, divisor_override=4)
    assert over.flatten().tolist() == [0.25, 0.5, 1.25, 2.5, 5, 2, 4]
    best = dilated_max_pool(-x, (1, 2), **options)
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
    found = dilated_avg_pool(
        x, (kernel, kernel), **options, count_include_pad=include
    )
    largest = dilated_max_pool(x, (kernel, kernel), **options)
    for i in range(rate):
        grid = x[..., i::rate, i::rate]
        expected = F.avg_pool2d(
            grid, kernel, 1, padding, count_include_pad=include
        )
        assert torch.allclose(found[..., i::rate, i::rate], expected)
        expected = F.max_pool2d(grid, kernel, 1, padding)
        assert torch.equal(largest[..., i::rate, i::rate], expected)


@pytest.mark.parametrize(
    ("axes", "average", "largest"),
    [
        (1, F.avg_pool1d, F.max_pool1d),
        (3, F.avg_pool3d, F.max_pool3d),
    ],
)
@pytest.mark.parametrize("include", [False, True])
def test_sequences_and_volumes(axes, average, largest, include):
    x = torch.randn(2, 3, *(10, 11, 12)[:axes], dtype=torch.float64)
    options = {"dilation": (2,) * axes, "padding": (2,) * axes}
    kernel = (3, 2, 3)[:axes]
    coarse = (..., *(slice(None, None, 2),) * axes)
    found = dilated_avg_pool(x, kernel, **options, count_include_pad=include)
    expected = average(x[coarse], kernel, 1, 1, count_include_pad=include)
    torch.testing.assert_close(found[coarse], expected)
    found = dilated_max_pool(x, kernel, **options)
    assert torch.equal(found[coarse], largest(x[coarse], kernel, 1, 1))


def test_cropping_of_sequences():
    maps = [torch.rand(1, 2, 5, n) for n in (7, 8)]
    cropped = crop(*maps, dilation=2, axes=1)
    assert [y.shape for y in cropped] == [(1, 2, 5, 7)] * 2
    with pytest.raises(ValueError, match=r"maps of 7 and 8 places.*=1"):
        crop(*maps, dilation=1, axes=1)


def test_cropping():
    maps = [torch.rand(1, 2, h, w) for h, w in ((5, 8), (6, 7), (6, 8))]
    for x, cropped in zip(maps, crop(*maps, dilation=2), strict=False):
        assert torch.equal(cropped, x[..., :5, :7])
    with pytest.raises(ValueError, match=r"5x8 and 6x7 and 6x8.*dilation=1"):
        crop(*maps, dilation=1)
