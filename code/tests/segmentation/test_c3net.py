"""C3: the released network, and blocks that skip no pixel."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from references import (
    assert_equal,
    assert_same_state,
    count,
    meta,
    multiply_adds,
    record,
    recorded,
)
from torch import nn

from atrous import zoo
from atrous.arithmetic import Window, coverage, receptive_field
from atrous.experiments.parity import reference_fill_, reference_input
from atrous.gridding.impulse_response import impulse_response, support
from atrous.gridding.spectrum import gain
from atrous.segmentation.c3net import C3Block, c3net
from atrous.segmentation.espnet import ESP

# ---- the released network


@torch.no_grad()
def test_the_block_is_the_released_one():
    reference = record("c3_block_32_d13")
    block = C3Block(32, 32, dilation=13).double().eval()
    assert_same_state(block, reference)
    reference_fill_(block)
    expected = reference["outputs"]["out_40x48"]
    assert_equal(block(reference_input(1, 32, 40, 48)), expected)


@torch.no_grad()
def test_the_encoder_is_the_released_one():
    reference = record("c3net_enc_p2q8_2_3_7_13_20")
    network = c3net().encoder.double().eval()
    assert_same_state(network, reference)
    reference_fill_(network)
    for _, x, expected in recorded(reference):
        assert_equal(network.logits(x), expected)


@torch.no_grad()
def test_the_network_is_the_released_one():
    """A rate of 1 among its rates, and channels left over in its unit."""
    reference = record("c3net_p2q1_1_3_5_9_22")
    options = {"num_classes": 22, "p": 2, "q": 1, "rates": (1, 3, 5, 9)}
    network = zoo.build("c3net", **options).double().eval()
    assert_same_state(network, reference)
    reference_fill_(network)
    for _, x, expected in recorded(reference):
        assert_equal(network(x), expected)
        assert_equal(network.logits(x), expected)


def test_published_numbers():
    options = {"num_classes": 20, "p": 2, "q": 8, "rates": (2, 3, 7, 13)}
    assert count(meta("c3net")) == count(meta("c3net", **options)) == 191_614
    found = multiply_adds(meta("c3net"), 512, 1024)
    assert found == pytest.approx(3.05e9, abs=0.005e9)
    # Released: the reductions at stride 1 a second time.
    again = 2 * 64 * 16 * 128 * 256 + 8 * 128 * 32 * 64 * 128
    again += 40 * 5 * 128 * 256
    assert found + again == pytest.approx(3.39e9, abs=0.005e9)


# ---- the block


def positive(module):
    for parameter in module.parameters():
        if parameter.ndim == 4:
            nn.init.ones_(parameter)
    return module


@given(st.integers(1, 16))
def test_a_block_skips_nothing_and_sees_further(dilation):
    block = positive(C3Block(1, 2, dilation=dilation))
    side = 4 * dilation - 1  # 3 at dilation 1
    touched = support(impulse_response(block, side + 2))
    assert touched.shape == (side, side)
    assert touched.all()
    plain = positive(nn.Conv2d(1, 1, 3, 1, dilation, dilation))
    touched = support(impulse_response(plain, side + 4))
    assert touched.shape == (2 * dilation + 1,) * 2
    assert touched.sum() == 9


def test_published_coverage():
    for d in (2, 3, 7, 13, 16):
        stack = (Window(2 * d - 1), Window(3, dilation=d))
        assert coverage(stack) == 1
        assert receptive_field(stack) == 4 * d - 1
        block = positive(C3Block(1, 1, dilation=d))
        touched = support(impulse_response(block, 4 * d + 1))
        assert touched.double().mean() == 1
        assert len(touched) == 4 * d - 1


def test_a_block_is_smaller_than_a_dense_convolution():
    assert count(C3Block(32, 32, dilation=16)) == 3_456
    assert count(C3Block(32, 32, dilation=1)) == 9 * 32 * 32 == 9_216


@torch.no_grad()
def test_at_dilation_1_it_is_dense():
    block = C3Block(3, 5, dilation=1)
    x = torch.randn(2, 3, 8, 9)
    (weight,) = block.parameters()
    assert torch.equal(block(x), F.conv2d(x, weight, padding=1))


@pytest.mark.parametrize(("dilation", "expected"), [(2, 0.333), (4, 0.143)])
def test_gain_of_the_uniform_block(dilation, expected):
    """That of a box of 2 d - 1."""
    block = positive(C3Block(1, 1, dilation=dilation))
    response = impulse_response(block, 4 * dilation + 1)
    assert gain(response, dilation) == pytest.approx(expected, abs=5e-4)


# ---- the network


def test_what_the_network_is_made_of():
    network = meta("c3net", num_classes=7, p=1, q=2)
    units = [m for m in network.modules() if isinstance(m, ESP)]
    assert len(units) == 2 + 1 + 2 + 1
    for unit in units:
        assert not unit.fusion
        taps = [block[0].kernel_size[0] for block in unit.branches]
        assert taps == [3, 5, 13, 25]


def test_pictures_of_any_size():
    network = meta("c3net", num_classes=9, p=1, q=1)
    for size in ((64, 96), (61, 83), (1, 9), (15, 2)):
        x = torch.empty(2, 3, *size, device="meta")
        assert network.logits(x).shape == network(x).shape == (2, 9, *size)
        cells = [-(-n // 8) for n in size]
        assert network.encoder.logits(x).shape == (2, 9, *cells)


@pytest.mark.parametrize("size", [(40, 48), (41, 43)])
def test_gradients(size):
    """In float64: the scale of a block's first batch norm comes to nothing.

    The second one takes it out again, up to its epsilon. What is left of
    the gradient is a part in 10^9, which float32 may round to exactly 0.
    """
    network = c3net(num_classes=4, p=1, q=1, rates=(1, 2, 3, 4)).double()
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    network(x).square().mean().backward()
    for parameter in network.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: C3Block(2, 2, dilation=0), "dilation=0"),
        (lambda: c3net(num_classes=3), "num_classes=3: .* 4"),
        (lambda: c3net(num_classes=0), "num_classes=0"),
        (lambda: c3net(p=0), "p=0"),
        (lambda: c3net(rates=()), r"rates=\(\)"),
        (lambda: c3net(rates=(2, 0)), r"rates=\(2, 0\)"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
