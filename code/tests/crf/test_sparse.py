import pytest
import torch

from atrous.crf.sparse import Sparse, linear

MATRIX = torch.tensor([[0, 2, 0, 3], [0, 0, 0, 0], [5, 7, 0, 0]]).double()


def matrix():
    columns = torch.tensor([1, 3, 0, 1]).int()
    starts = torch.tensor([0, 2, 2, 4]).int()
    return Sparse(columns, starts, torch.tensor([2, 3, 5, 7]).double())


@pytest.mark.parametrize("columns", [1, 3])
def test_products_are_the_dense_ones(columns):
    dense = torch.arange(4 * columns).double().view(4, columns)
    assert torch.equal(matrix() @ dense, MATRIX @ dense)


def test_even_rows():
    columns = torch.tensor([[1, 3], [0, 0], [2, 1]])
    weights = torch.tensor([[2, 3], [5, 7], [0, 1]]).double()
    expected = torch.zeros(3, 4).double().scatter_add_(1, columns, weights)
    product = Sparse.even(columns, weights) @ torch.eye(4).double()
    assert torch.equal(product, expected)


def test_the_gradient_is_the_adjoint_and_its_gradient_the_map():
    values = torch.ones(4, 2).double().requires_grad_()

    def apply(x):
        return linear(x, lambda x: matrix() @ x, lambda x: MATRIX.T @ x)

    assert torch.autograd.gradcheck(apply, values)
    assert torch.autograd.gradgradcheck(apply, values)
