"""Phases side by side in the batch, in one, two and three dimensions."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from atrous.ops.dilated_conv import phases
from atrous.ops.space_to_batch import (
    batch_to_space,
    by_phases,
    space_to_batch,
)

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
sides = st.lists(st.integers(1, 7), min_size=1, max_size=3)
rates = st.integers(1, 4)


@given(sides, rates, st.integers(1, 2))
def test_there_and_back(sides, rate, batch):
    x = torch.rand(batch, 2, *sides)
    folded = space_to_batch(x, rate)
    n, small = len(sides), [-(-side // rate) for side in sides]
    assert folded.shape == (rate**n * batch, 2, *small)
    assert torch.equal(batch_to_space(folded, rate, sides), x)
    # Phase by phase, the last axis fastest, as strided slices have them.
    for number in range(rate**n):
        starts = [number // rate ** (n - 1 - i) % rate for i in range(n)]
        phase = x[(..., *(slice(start, None, rate) for start in starts))]
        own = folded[number * batch :][:batch]
        inside = (..., *(slice(side) for side in phase.shape[2:]))
        assert torch.equal(own[inside], phase)
        assert own.sum() == pytest.approx(phase.sum().item(), rel=1e-5)


@settings(max_examples=30)
@given(sides, rates, st.integers(1, 3))
def test_a_dense_convolution_of_phases_is_the_dilated_one(sides, rate, k):
    """At sides that are multiples of the rate, padded by k - 1 or not."""
    n = len(sides)
    x = torch.randn(2, 3, *(rate * side for side in sides)).double()
    weight = torch.randn(4, 3, *(2 * k - 1,) * n).double()
    bias, conv = torch.randn(4).double(), CONVOLUTIONS[n]
    found = by_phases(
        lambda y: conv(y, weight, bias, padding=k - 1).relu(), x, rate
    )
    side = rate * (k - 1)
    expected = conv(x, weight, bias, padding=side, dilation=rate).relu()
    torch.testing.assert_close(found, expected)
    if n == 2:  # the form that pads by itself, at any size
        own = phases(x, weight, bias, padding=side, dilation=rate)
        torch.testing.assert_close(own.relu(), found)


@torch.no_grad()
def test_a_stack_of_layers_on_the_phases_of_a_volume():
    def stack(rate):
        return nn.Sequential(
            nn.Conv3d(2, 3, 3, padding=rate, dilation=rate),
            nn.BatchNorm3d(3),
            nn.PReLU(),
            nn.Conv3d(3, 2, 3, padding=rate, dilation=rate),
        ).double()

    dense, dilated = stack(1), stack(2)
    dilated.load_state_dict(dense.state_dict())
    x = torch.randn(2, 2, 6, 4, 8).double()
    for mode in (True, False):  # statistics are over the same values
        dense.train(mode), dilated.train(mode)
        found = by_phases(dense, x, 2)
        torch.testing.assert_close(found, dilated(x))
    # At other sides a phase is longer than the others, and it shows.
    whole = batch_to_space(dense(space_to_batch(x[..., :7], 2)), 2, (6, 4, 7))
    assert (whole - dilated(x[..., :7])).abs().max() > 1e-3


def test_gradients():
    x = torch.randn(1, 2, 5, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: space_to_batch(x, 3), x)
    y = torch.randn(4, 2, 3, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda y: batch_to_space(y, 2, (5, 4)), y)


X = torch.zeros(4, 2, 3, 6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: space_to_batch(X, 0), "rate=0"),
        (lambda: space_to_batch(X[0, 0], 2), r"x of shape \(3, 6\)"),
        (lambda: batch_to_space(X, 0, (3, 6)), "rate=0"),
        (lambda: batch_to_space(X, 3, (9, 9)), "a multiple of 9"),
        (lambda: batch_to_space(X, 2, (7, 12)), r"at most \(6, 12\)"),
        (lambda: batch_to_space(X, 2, (6,)), "the sides 2 of"),
        (
            lambda: by_phases(nn.Identity(), X, 2),
            r"x of shape \(4, 2, 3, 6\): its sides must be multiples of",
        ),
        (
            lambda: by_phases(lambda y: y[..., 1:], X, 3),
            r"function: gave phases of shape .* keep the size",
        ),
        (lambda: by_phases(nn.Identity(), X, -1), "rate=-1"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
