import pytest
import torch

from atrous.crf.bilateral import BilateralConv, gaussian_taps, offsets
from atrous.crf.permutohedral import Lattice


def cloud(n, d, seed=0, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(n, d, generator=generator).double() * spread
    values = torch.randn(n, 2, generator=generator).double()
    return points, values, torch.ones(n, 1).double()


@pytest.mark.parametrize(
    ("d", "radius", "count"),
    [(1, 1, 3), (2, 1, 7), (2, 2, 19), (3, 2, 65), (5, 1, 63), (5, 2, 665)],
)
def test_neighbours_are_as_many_as_the_paper_says(d, radius, count):
    found = offsets(d, radius=radius)
    assert len(set(found)) == count
    assert found[0] == (0,) * (d + 1)
    if radius == 2:
        assert sum(gaussian_taps(d, radius=2)) == 2.0 ** (d + 1)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_gaussian_is_the_fixed_blur(d):
    points, values, ones = cloud(60, d, spread=2)
    lattice = Lattice(points, closed=True)
    layer = BilateralConv(2, 2, dimensions=d, radius=2).double()
    fixed = lattice.filter(values) / lattice.filter(ones)
    torch.testing.assert_close(
        layer(values, lattice), fixed, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("d", [1, 2, 5])
def test_identity_splats_and_slices(d):
    points, values, ones = cloud(60, d)
    lattice = Lattice(points)
    layer = BilateralConv(2, 2, dimensions=d, init="identity").double()
    plain = lattice.slice(lattice.splat(values))
    norm = lattice.slice(lattice.splat(ones))
    torch.testing.assert_close(
        layer(values, lattice), plain / norm, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("init", ["gaussian", "identity"])
def test_constants_pass(init):
    points, values, _ = cloud(60, 3)
    layer = BilateralConv(2, 2, dimensions=3, init=init).double()
    constant = torch.tensor([2.0, -3.0]).double().expand_as(values)
    torch.testing.assert_close(layer(constant, Lattice(points)), constant)


def test_weights_are_a_matrix_for_each_neighbour():
    """One learned weight joins one vertex to one neighbour, in one order."""
    points, values, _ = cloud(300, 2, spread=2)
    lattice = Lattice(points)
    layer = BilateralConv(2, 3, dimensions=2, init="random").double()
    at = lattice.splat(values)
    expected = 0
    for offset, matrix in zip(layer.offsets, layer.weight, strict=True):
        for row, other in enumerate(lattice.neighbours(offset).tolist()):
            if other < lattice.size:
                one = torch.zeros(lattice.size, 3).double()
                one[row] = at[other] @ matrix
                expected = expected + one
    gaussian = BilateralConv(1, 1, dimensions=2).double()
    assert torch.equal(layer.taps, gaussian.taps)
    norm = lattice.slice(lattice.splat(torch.ones(300, 1).double())) * 0
    for tap, offset in zip(layer.taps, layer.offsets, strict=True):
        ones = lattice.splat(torch.ones(300, 1).double())
        ones = torch.cat([ones, ones[:1] * 0])
        norm = norm + tap * lattice.slice(ones[lattice.neighbours(offset)])
    torch.testing.assert_close(
        layer(values, lattice), lattice.slice(expected) / norm
    )


def test_gradients():
    points, values, _ = cloud(8, 2)
    lattice = Lattice(points)
    layer = BilateralConv(2, 3, dimensions=2, init="random").double()
    weight = layer.weight.detach().requires_grad_()

    def call(values, weight):
        return torch.func.functional_call(
            layer, {"weight": weight}, (values, lattice)
        )

    assert torch.autograd.gradcheck(call, (values.requires_grad_(), weight))


def test_random_weights_follow_the_generator():
    a, b = (
        BilateralConv(
            2,
            3,
            dimensions=2,
            init="random",
            generator=torch.Generator().manual_seed(3),
        ).weight
        for _ in range(2)
    )
    assert torch.equal(a, b)
    assert 0.2 < a.abs().max() < 1 / 14**0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimensions": 0}, "dimensions=0"),
        ({"radius": 0}, "radius=0"),
        ({"in_channels": 0}, "in_channels=0"),
        ({"init": "zero"}, "init='zero'"),
        ({"out_channels": 3}, "out_channels=3"),
    ],
)
def test_wrong_options_are_named(options, message):
    right = {"in_channels": 2, "out_channels": 2, "dimensions": 2}
    with pytest.raises(ValueError, match=message):
        BilateralConv(**(right | options))


def test_wrong_inputs_are_named():
    layer = BilateralConv(2, 2, dimensions=2)
    lattice = Lattice(torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"shape \(4, 3\): must be \(N, 2\)"):
        layer(torch.zeros(4, 3), lattice)
    with pytest.raises(ValueError, match="lattice of 3 dimensions"):
        layer(torch.zeros(4, 2), lattice)
