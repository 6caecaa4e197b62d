import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atrous.crf.permutohedral import Lattice, enclosing, shifted


def cloud(n, d, seed=0, spread=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(n, d, generator=generator, dtype=dtype) * spread
    values = torch.rand(n, 3, generator=generator, dtype=dtype)
    return points, values


def means(filter_, values):
    return filter_(values) / filter_(torch.ones_like(values[:, :1]))


def gaussian(points):
    kernel = (torch.cdist(points, points).square() / -2).exp()
    return lambda values: kernel @ values


# Root-mean-square errors of the filter, measured, with a margin of a tenth.
@pytest.mark.parametrize(
    ("d", "spread", "closed", "error"),
    [
        (1, 1, False, 0.0004),
        (2, 1, False, 0.0009),
        (2, 4, False, 0.0051),
        (2, 4, True, 0.0040),
        (3, 2, True, 0.0047),
        (5, 0.5, False, 0.0009),
        (5, 1, False, 0.0072),
        (6, 1, False, 0.0200),
    ],
)
def test_weighted_means_are_the_gaussians(d, spread, closed, error):
    points, values = cloud(2000, d, spread=spread)
    ours = means(Lattice(points, closed=closed).filter, values)
    off = (ours - means(gaussian(points), values)).square().mean().sqrt()
    assert error / 2 < off < error * 1.1


def test_sums_in_one_dimension_are_near_the_gaussians():
    points, values = cloud(2000, 1)
    gain = Lattice(points).filter(values) / gaussian(points)(values)
    assert 0.91 < gain.median() < 0.93


@pytest.mark.parametrize("d", range(1, 7))
def test_points_lie_in_their_simplices(d):
    points, _ = cloud(500, d, spread=3)
    codes, weights, _ = enclosing(points)
    assert weights.min() >= -1e-12
    torch.testing.assert_close(
        weights.sum(1), torch.ones(500).double(), rtol=0, atol=1e-12
    )
    assert (codes % (d + 1) == torch.arange(d + 1)).all()


@pytest.mark.parametrize("d", range(1, 7))
def test_interpolation_reproduces_linear_functions(d):
    """Each point is the mean of its corners: so weights and corners fit."""
    points, _ = cloud(400, d)
    lattice = Lattice(points)
    rows, w = lattice.rows, lattice.weights
    # Where the corners are, from their points by least squares.
    mixing = torch.zeros(400, lattice.size, dtype=torch.float64)
    mixing.scatter_add_(1, rows, w)
    at = torch.linalg.lstsq(mixing, points, driver="gelsd").solution
    torch.testing.assert_close(lattice.slice(at), points, rtol=0, atol=1e-8)


def test_a_vertex_answers_by_the_blurs_weights():
    """The origin is a vertex; a cloud around it gives it its neighbours."""
    for d in (1, 2, 3):
        points, _ = cloud(4000, d, spread=3)
        points[0] = 0
        lattice = Lattice(points)
        one = torch.zeros(lattice.size, 1, dtype=torch.float64)
        row = lattice.rows[0, lattice.weights[0].argmax()]
        one[row] = 1
        out = lattice.blur(one)[:, 0]
        assert out[row] == 1 + 2.0**-d
        step = [1] + [0] * d
        beside = lattice.neighbours(step)[row]
        # one half the direct way; the others round the remaining axes
        assert out[beside] == 0.5 + 0.5**d
        assert out.sum() == 2.0 ** (d + 1)


@given(
    d=st.integers(1, 6),
    n=st.integers(1, 40),
    seed=st.integers(0, 99),
    spread=st.integers(1, 99),
    closed=st.booleans(),
)
def test_adjoint(d, n, seed, spread, closed):
    x, a = cloud(n, d, seed, spread / 5)
    lattice = Lattice(x, closed=closed and d < 5)
    b = cloud(n, d, seed + 1)[1]
    left = (lattice.filter(a) * b).sum()
    right = (a * lattice.filter(b, reverse=True)).sum()
    torch.testing.assert_close(left, right, rtol=1e-12, atol=0)
    v = torch.ones(lattice.size, 1, dtype=torch.float64).cumsum(0)
    torch.testing.assert_close(
        (lattice.splat(a[:, :1]) * v).sum(),
        (a[:, :1] * lattice.slice(v)).sum(),
        rtol=1e-12,
        atol=0,
    )
    torch.testing.assert_close(
        (lattice.blur(v) * v.flip(0)).sum(),
        (v * lattice.blur(v.flip(0), reverse=True)).sum(),
        rtol=1e-12,
        atol=0,
    )


def test_a_closed_lattice_is_symmetric_and_an_open_one_is_not():
    points, values = cloud(50, 3, spread=2)
    for closed in (True, False):
        lattice = Lattice(points, closed=closed)
        there, back = (
            lattice.filter(values, reverse=reverse)
            for reverse in (False, True)
        )
        assert torch.allclose(there, back, rtol=1e-12, atol=0) == closed


@pytest.mark.parametrize("d", [1, 2, 5])
def test_gradients(d):
    points, values = cloud(6, d)
    lattice = Lattice(points)
    values.requires_grad_()
    for step in (
        lattice.filter,
        lattice.splat,
        lambda v: lattice.filter(v, reverse=True),
        lambda v: lattice.blur(lattice.splat(v)),
        lambda v: lattice.slice(lattice.splat(v)),
    ):
        assert torch.autograd.gradcheck(step, values)
    assert torch.autograd.gradgradcheck(lattice.filter, values)


@pytest.mark.parametrize("d", range(1, 7))
def test_shifts_go_all_ways_round(d):
    points, _ = cloud(50, d)
    codes, _, strides = enclosing(points)
    here = codes
    for axis in range(d + 1):  # all the axes sum to zero
        here = shifted(here, [int(j == axis) for j in range(d + 1)], strides)
        assert (here != codes).all() == (axis < d)
    offset = [j % 3 for j in range(d + 1)]
    there = shifted(codes, offset, strides)
    back = shifted(there, [-step for step in offset], strides)
    assert (back == codes).all()


@given(d=st.integers(1, 4), seed=st.integers(0, 20), step=st.integers(1, 5))
def test_moved_by_a_lattice_vector_nothing_changes(d, seed, step):
    """The last axis lies along the last feature."""
    points, values = cloud(30, d, seed)
    plain = Lattice(points).filter(values)
    moved = points.clone()
    moved[:, -1] += step * math.sqrt(1.5 * d / (d + 1))
    torch.testing.assert_close(
        Lattice(moved).filter(values), plain, rtol=1e-9, atol=1e-12
    )


def test_points_change_places_with_their_values():
    points, values = cloud(100, 3)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        Lattice(points[order]).filter(values[order]),
        Lattice(points).filter(values)[order],
        rtol=1e-12,
        atol=0,
    )


def test_a_point_far_off_asks_for_64_bits_and_changes_nothing():
    points, values = cloud(200, 5)
    far = 100 * torch.tensor([[1, -1, 1, -1, 1]]).double()
    wide = torch.cat([points, far])
    assert enclosing(points)[0].dtype == torch.int32
    assert enclosing(wide)[0].dtype == torch.int64
    both = Lattice(wide).filter(torch.cat([values, torch.ones(1, 3)]))
    torch.testing.assert_close(
        both[:-1], Lattice(points).filter(values), rtol=1e-12, atol=0
    )


def test_float32_is_near_float64():
    points, values = cloud(500, 5)
    single = Lattice(points.float()).filter(values.float())
    assert single.dtype == torch.float32
    double = Lattice(points).filter(values)
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("d", range(1, 7))
def test_one_point(d):
    lattice = Lattice(torch.zeros(1, d))
    # The origin is a vertex: what leaves it comes back.
    torch.testing.assert_close(
        means(lattice.filter, torch.ones(1, 3)), torch.ones(1, 3)
    )


def test_scaled_is_a_diagonal_on_both_sides():
    points, values = cloud(40, 2)
    scale = values[:, 0] + 0.5
    lattice = Lattice(points)
    torch.testing.assert_close(
        lattice.scaled(scale).filter(values),
        scale[:, None] * lattice.filter(scale[:, None] * values),
    )


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.zeros(3), r"features of shape \(3,\)"),
        (torch.zeros(0, 2), r"features of shape \(0, 2\)"),
        (torch.zeros(2, 0), r"features of shape \(2, 0\)"),
        (torch.zeros(2, 2).half(), "features of torch.float16"),
        (torch.full((2, 2), torch.nan), "features hold nan"),
        (torch.full((2, 2), torch.inf), "features hold nan or inf"),
        (torch.eye(5).double() * 1e5, "features span .* too many"),
        (torch.eye(5) * 1e6, "reach .* too far for torch.float32"),
    ],
)
def test_wrong_features_are_named(features, message):
    with pytest.raises(ValueError, match=message):
        Lattice(features)


def test_wrong_values_are_named():
    lattice = Lattice(torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"shape \(4, 1\): must be \(3, C\)"):
        lattice.filter(torch.zeros(4, 1))
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        lattice.splat(torch.zeros(3))
    with pytest.raises(ValueError, match=r"values of torch\.float64"):
        lattice.filter(torch.zeros(3, 1).double())
    with pytest.raises(ValueError, match=r"offset=\(1, 0\)"):
        lattice.neighbours([1, 0])
    with pytest.raises(ValueError, match=r"offset=\(17, 0, 0\)"):
        lattice.neighbours([17, 0, 0])
