"""The receptive field block: the reference, its branches, its sum."""

import pytest
import torch
from references import assert_equal, assert_same_state, record, recorded
from torch import nn

from atrous.arithmetic import receptive_field
from atrous.experiments.parity import reference_fill_
from atrous.layers.rfb import RFB, rfb_branches
from atrous.layers.spec import windows


@torch.no_grad()
def test_it_is_the_released_one():
    reference = record("rfbnet_basicrfb_64")
    block = RFB(64, 64).double().eval()
    assert_same_state(block, reference)
    reference_fill_(block)
    ((_, x, expected),) = recorded(reference, 64)
    assert_equal(block(x), expected)


@pytest.mark.parametrize(
    ("visual", "rates", "fields"),
    [(1, (1, 2, 3), (3, 7, 11)), (2, (2, 3, 5), (5, 9, 15))],
)
def test_the_wider_a_branch_looks_the_larger_its_rate(visual, rates, fields):
    plans = rfb_branches(64, visual=visual)
    assert tuple(plan[-1].window.dilation for plan in plans) == rates
    assert tuple(receptive_field(windows(plan)) for plan in plans) == fields
    assert [len(plan) for plan in plans] == [2, 3, 4]
    assert [[layer.width for layer in plan] for plan in plans] == [
        [16, 16],
        [8, 16, 16],
        [8, 12, 16, 16],
    ]
    for plan in plans:
        relus = [layer.relu for layer in plan]
        assert relus == [True] * (len(plan) - 1) + [False]


@torch.no_grad()
def test_branches_are_scaled_and_the_shortcut_is_not():
    block = RFB(32, 20, scale=0.3).double().eval()
    reference_fill_(block)
    x = torch.randn(1, 32, 9, 7, dtype=torch.float64)
    maps = torch.cat([branch(x) for branch in block.branches], 1)
    assert maps.shape == (1, 24, 9, 7)
    expected = (0.3 * block.fuse(maps) + block.shortcut(x)).clamp(min=0)
    torch.testing.assert_close(block(x), expected)
    block.scale = 0
    torch.testing.assert_close(block(x), block.shortcut(x).clamp(min=0))


@pytest.mark.parametrize("visual", [1, 2])
def test_a_stride_is_in_every_branch_and_in_the_shortcut(visual):
    block = RFB(16, 24, stride=2, visual=visual)
    assert block(torch.rand(2, 16, 11, 8)).shape == (2, 24, 6, 4)
    strides = [
        [layer.window.stride for layer in branch.plan]
        for branch in block.branches
    ]
    assert strides == [[2, 1], [1, 2, 1], [1, 1, 2, 1]]
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.01}


def test_gradients():
    block = RFB(16, 8)
    block(torch.randn(2, 16, 9, 9)).square().sum().backward()
    for parameter in block.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RFB(8, 8), "channels=8: .* 16"),
        (lambda: RFB(16, 8, visual=0), "visual=0"),
        (lambda: RFB(16, 8, stride=0), "stride=0"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
