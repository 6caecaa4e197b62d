import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from atrous.gridding.smoothing import GroupInteraction
from atrous.gridding.spectrum import (
    gain,
    gains,
    grid_energy,
    gridding_score,
    module_gains,
)


def normal(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g, dtype=torch.float64)


# All-ones kernels of 3 x 3 taps at rate r, each tap spread to a box: the sum
# of boxes r apart, which is what a transposed convolution computes.
TAPS = torch.ones(1, 1, 3, 3, dtype=torch.float64)


@pytest.mark.parametrize(
    ("rate", "box", "expected"),
    [
        (2, 1, 1),  # plain, and the box of r - 1
        (5, 1, 1),
        (2, 2, 0),  # box of r
        (7, 7, 0),
        (4, 3, 0.333),  # box of r - 1
        (8, 7, 0.143),
        (2, 3, 0.333),  # box of 2 r - 1
        (4, 7, 0.143),
    ],
)
def test_published_gains(rate, box, expected):
    kernel = F.conv_transpose2d(
        TAPS, torch.ones(1, 1, box, box).double(), None, rate
    )
    assert gain(kernel, rate) == pytest.approx(expected, abs=5e-4)
    smooth = nn.AvgPool2d(box, 1, box // 2)
    module = nn.Conv2d(1, 1, 3, dilation=rate, padding=rate + 1)
    nn.init.ones_(module.weight)
    if rate < 6:  # the same filter, measured as a module
        measured = module_gains(nn.Sequential(smooth, module), rate, 6 * rate)
        torch.testing.assert_close(measured, gains(kernel, rate))


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 5))
@settings(deadline=None)
def test_gains_are_the_frequency_response(height, width, rate):
    kernel = normal(height, width)
    found = gains(kernel, rate)
    y, x = torch.arange(height).double()[:, None], torch.arange(width)
    for j in range(rate):
        for k in range(rate):
            angle = 2 * math.pi * (j * y + k * x) / rate
            value = (kernel * torch.exp(-1j * angle)).sum().abs()
            expected = value / kernel.sum().abs()
            torch.testing.assert_close(found[j, k], expected)
    one = 1 % rate
    assert gain(kernel, rate) == max(found[0, one], found[one, 0])


@settings(max_examples=20)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 9))
def test_gains_along_a_line_and_in_a_volume(rate, side, seed):
    """Those of a product of lines are the products of theirs."""
    lines = [normal(side, seed=seed + i) for i in range(3)]
    one, two, three = (gains(line, rate, axes=1) for line in lines)
    assert one.shape == (rate,)
    cube = torch.einsum("i,j,k->ijk", *lines)
    found = gains(cube, rate, axes=3)
    expected = torch.einsum("i,j,k->ijk", one, two, three)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gains(cube[0], rate), torch.outer(two, three))
    first = 1 % rate
    assert gain(lines[0], rate, axes=1) == one[first]
    largest = max(table[first] for table in (one, two, three))
    assert gain(cube, rate, axes=3) == pytest.approx(largest.item())


@pytest.mark.parametrize(("axes", "kind"), [(1, nn.Conv1d), (3, nn.Conv3d)])
def test_dilated_convolutions_of_lines_and_volumes_pass_their_grid(axes, kind):
    module = kind(2, 2, 3, dilation=2, padding=2)
    found = module_gains(module, 2, 8, channels=2, axes=axes)
    torch.testing.assert_close(found, torch.ones((2,) * axes).double())


def test_channels_are_combined_by_energy():
    found = gains(torch.tensor([[[3.0, 0.0]], [[2.0, 2.0]]]), 2)
    # Sums at 0: 3 and 4; at pi along x: 3 and 0.
    torch.testing.assert_close(
        found[0].double(), torch.tensor([1, 0.6]).double()
    )


def test_a_dilated_convolution_passes_its_whole_grid():
    module = nn.Conv2d(2, 3, 3, dilation=3, padding=3)
    nn.init.normal_(module.weight, generator=torch.Generator().manual_seed(0))
    found = module_gains(module, 3, 15, channels=2)
    torch.testing.assert_close(found, torch.ones(3, 3).double())


def test_gains_of_group_interaction_count_every_phase():
    """Row norms of the matrix between the grid's frequencies."""
    module = GroupInteraction(2).double()
    module.matrix.data = normal(4, 4)
    outputs = module.matrix.data.view(4, 2, 2)
    rows = torch.fft.fft2(outputs).abs().square().sum(0).sqrt()
    found = module_gains(module, 2, 12)
    torch.testing.assert_close(found, rows / rows[0, 0])
    nn.init.constant_(module.matrix, 0.25)
    assert module_gains(module, 2, 12)[0, 1] == pytest.approx(0, abs=1e-12)


rates = st.integers(2, 4)


@given(rates, st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
@settings(deadline=None)
def test_the_lines_alone_are_the_variance_between_phases(r, m, n, seed):
    maps = normal(2, 3, m * r, n * r, seed=seed)
    cells = maps.unflatten(3, (n, r)).unflatten(2, (m, r))
    means = cells.mean((2, 4), keepdim=True)
    centre = maps.mean((2, 3), keepdim=True)
    between = m * n * (means.flatten(2) - centre.flatten(2)).square().sum(2)
    total = (maps - centre).square().sum((2, 3))
    on_grid, energy = grid_energy(maps, r, halfwidth=0)
    torch.testing.assert_close(on_grid, between * m * n * r * r)
    torch.testing.assert_close(energy, total * m * n * r * r)
    score = gridding_score(maps, r, halfwidth=0)
    torch.testing.assert_close(score, between.sum(1) / total.sum(1))


def test_known_scores():
    side = torch.arange(48)
    board = ((side[:, None] + side) % 2).double()[None, None]
    stripes = (side % 3 == 0).double().expand(1, 1, 48, 48)
    for halfwidth in (0, 0.25):
        options = {"halfwidth": halfwidth}
        assert gridding_score(board, 2, **options).item() == pytest.approx(1)
        assert gridding_score(board, 4, **options).item() == pytest.approx(1)
        assert gridding_score(board, 3, **options).item() < 1e-9
        assert gridding_score(stripes, 3, **options).item() == pytest.approx(1)
        assert gridding_score(board, 1, **options).item() == 0


@given(st.integers(-99, 99), st.integers(-9, 4))
@settings(deadline=None)
def test_a_constant_map_scores_0(digits, exponent):
    value = digits * 10.0**exponent
    flat = torch.full((2, 3, 15, 21), value, dtype=torch.float64)
    assert gridding_score(flat, 3, halfwidth=0).tolist() == [0, 0]
    flat = flat[..., :14, :13]
    assert gridding_score(flat, 2, halfwidth=0.25).tolist() == [0, 0]
    flat[1, 0, 0, 0] = math.nan
    assert gridding_score(flat, 2).isnan().tolist() == [False, True]


def test_the_mean_under_the_window_is_taken_off():
    """So that nothing is left at zero frequency to leak from."""
    maps = normal(2, 3, 18, 26) + torch.linspace(0, 9, 26).double()
    window = torch.outer(*(torch.hann_window(n).double() for n in (18, 26)))
    mean = (maps * window).sum((2, 3), keepdim=True) / window.sum()
    expected = ((maps - mean) * window).square().sum((2, 3)) * 18 * 26
    torch.testing.assert_close(
        grid_energy(maps, 2)[1], expected, rtol=1e-6, atol=0
    )


def test_smooth_maps_score_nothing_and_their_border_neither():
    side = torch.linspace(-1, 1, 48).double()
    maps = torch.stack([side[:, None] + 2 * side, side[:, None] ** 2 * side])[
        None
    ]
    assert gridding_score(maps, 4).item() < 1e-3
    assert gridding_score(maps, 4, halfwidth=0).item() > 1e-3  # the border's


@pytest.mark.parametrize(
    ("rate", "halfwidth"), [(2, 0.25), (3, 0.2), (4, 0.4)]
)
def test_white_noise_scores_the_area_of_the_squares(rate, halfwidth):
    score = gridding_score(
        normal(1, 200, 50, 62), rate, halfwidth=halfwidth
    ).item()
    area = (1 - 1 / rate**2) * (2 * halfwidth) ** 2
    assert score == pytest.approx(area, rel=0.02)


@pytest.mark.parametrize(
    ("axes", "length", "channels"), [(1, 240, 400), (3, 24, 40)]
)
def test_scores_of_sequences_and_volumes(axes, length, channels):
    options = {"axes": axes}
    side = torch.arange(length)
    lines = [side.reshape(-1, *(1,) * i) for i in range(axes)]
    board = (sum(lines) % 2).double()[None, None]
    assert gridding_score(board, 2, **options).item() == pytest.approx(1)
    assert gridding_score(board, 3, **options).item() < 1e-9
    noise = normal(1, channels, *(length,) * axes)
    score = gridding_score(noise, 2, **options).item()
    area = (1 - 1 / 2**axes) * 0.5**axes
    assert score == pytest.approx(area, rel=0.03)
    # The lines alone: variance between the phases over all variance.
    means = [
        noise[(..., *(slice(start, None, 2) for start in starts))]
        .flatten(2)
        .mean(2)
        for starts in itertools.product(range(2), repeat=axes)
    ]
    dims = (*range(2, 2 + axes),)
    found, whole = grid_energy(noise, 2, halfwidth=0, **options)
    expected = torch.stack(means).var(0, correction=0)
    total = noise.var(dims, correction=0)
    torch.testing.assert_close(found / whole, expected / total)


@pytest.mark.parametrize("rate", [2, 4])
def test_smooth_phases_that_differ_are_a_grid(rate):
    side = 96
    small = normal(rate**2, 64, 9, 9)
    smooth = F.interpolate(small, (side // rate,) * 2, mode="bicubic")
    maps = F.pixel_shuffle(smooth.transpose(0, 1), rate)
    score = gridding_score(maps.transpose(0, 1), rate).item()
    assert score == pytest.approx(1 - 1 / rate**2, abs=0.03)
    differ = smooth - smooth.mean(0)  # without what the phases share
    maps = F.pixel_shuffle(differ.transpose(0, 1), rate).transpose(0, 1)
    assert gridding_score(maps, rate).item() > 0.98
    # It is modulated, so that the lines alone hold next to nothing.
    assert gridding_score(maps, rate, halfwidth=0).item() < 0.1


@given(
    st.integers(-9, 9),
    st.integers(-30, 30),
    st.sampled_from([0, 0.2, 0.25]),
    rates,
)
@settings(deadline=None)
def test_scaling_and_shifting_the_values_changes_nothing(a, b, h, rate):
    maps = normal(2, 2, 36, 48)
    score = gridding_score(maps, rate, halfwidth=h)
    other = gridding_score(1.7**a * maps + b / 3, rate, halfwidth=h)
    torch.testing.assert_close(score, other)


@given(rates, st.integers(-9, 9), st.integers(-9, 9))
@settings(deadline=None)
def test_shifting_by_whole_periods_changes_nothing(rate, down, right):
    maps = normal(1, 2, 12, 24)
    moved = maps.roll((down * rate, right * rate), (2, 3))
    torch.testing.assert_close(
        gridding_score(moved, rate, halfwidth=0),
        gridding_score(maps, rate, halfwidth=0),
    )


def test_channels_count_by_their_energy():
    maps = torch.cat(
        [normal(2, 1, 24, 24), 9 * normal(2, 1, 24, 24, seed=1)], 1
    )
    on_grid, total = grid_energy(maps.float(), 2)
    assert on_grid.shape == total.shape == (2, 2)
    share = on_grid / total
    expected = (share * total).sum(1) / total.sum(1)
    torch.testing.assert_close(gridding_score(maps.float(), 2), expected)
    for c in range(2):
        alone = gridding_score(maps[:, c : c + 1].float(), 2)
        torch.testing.assert_close(share[:, c], alone)


MAPS = torch.zeros(1, 1, 20, 24)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gains(TAPS, 0), "rate=0"),
        (lambda: gain(torch.ones(3), 2), r"shape \(3,\)"),
        (lambda: gain(torch.tensor([[1.0, -1.0]]), 2), "kernel: sums to 0"),
        (lambda: module_gains(nn.Identity(), 0, 9), "rate=0"),
        (lambda: gridding_score(MAPS, 0), "rate=0"),
        (
            lambda: gridding_score(MAPS[0], 2),
            r"shape \(1, 20, 24\): with axes=2 they must be \(B, C, H, W\)",
        ),
        (
            lambda: gridding_score(MAPS, 2, axes=3),
            r"\(1, 1, 20, 24\): with axes=3 .*\(B, C, D, H, W\)",
        ),
        (lambda: gridding_score(MAPS, 2, axes=0), "axes=0"),
        (lambda: gains(TAPS, 2, axes=4), "axes=4"),
        (lambda: gridding_score(MAPS, 2, halfwidth=0.5), r"halfwidth=0\.5"),
        (lambda: gridding_score(MAPS, 2, halfwidth=-1), "halfwidth=-1"),
        (lambda: gridding_score(MAPS, 4), "rate=4.* at least 24"),
        (lambda: gridding_score(MAPS, 3, halfwidth=0), "multiples of 3"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
