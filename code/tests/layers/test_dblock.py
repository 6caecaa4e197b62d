"""D-LinkNet's block: the reference, its fields, the chain that is summed."""

import pytest
import torch
from references import assert_equal, assert_same_state, count, record, recorded
from torch import nn

from atrous.arithmetic import receptive_field
from atrous.experiments.parity import reference_fill_
from atrous.gridding.hybrid_rates import covers
from atrous.gridding.impulse_response import impulse_response, support
from atrous.layers.dblock import DBlock
from atrous.layers.spec import windows


@torch.no_grad()
def test_it_is_the_released_one():
    reference = record("dlinknet_dblock_32")
    block = DBlock(32).double()
    assert_same_state(block, reference)
    reference_fill_(block)
    ((_, x, expected),) = recorded(reference, 32)
    assert_equal(block(x), expected)


def test_fields_grow_in_the_chain():
    plan = windows(DBlock(1).plan)
    fields = [receptive_field(plan[:n]) for n in range(5)]
    assert fields == [1, 3, 7, 15, 31]
    assert receptive_field(windows(DBlock(1, rates=(1, 2, 4, 8, 16)).plan))
    assert covers(plan)
    block = DBlock(1)
    for module in block:
        if isinstance(module, nn.Conv2d):
            nn.init.ones_(module.weight)
    touched = support(impulse_response(block, 41))
    assert touched.shape == (31, 31)
    assert touched.all()


def test_published_number():
    """At D-LinkNet-34's 512 channels."""
    with torch.device("meta"):
        assert round(count(DBlock(512)) / 1e6, 2) == 9.44


@torch.no_grad()
def test_every_step_is_summed():
    block = DBlock(3, rates=(1, 3)).double()
    first, _, second, _ = block
    assert first.bias.count_nonzero() == second.bias.count_nonzero() == 0
    assert second.dilation == second.padding == (3, 3)
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    one = first(x).clamp(min=0)
    expected = x + one + second(one).clamp(min=0)
    torch.testing.assert_close(block(x), expected)


def test_gradients():
    block = DBlock(2)
    x = torch.randn(1, 2, 20, 18, requires_grad=True)
    block(x).square().sum().backward()
    for tensor in (x, *block.parameters()):
        assert tensor.grad.isfinite().all()
        assert tensor.grad.any()


@pytest.mark.parametrize("rates", [(), (1, 0)])
def test_wrong_values_are_named(rates):
    with pytest.raises(ValueError, match=r"rates=\("):
        DBlock(2, rates=rates)
