"""Dilated re-parameterisation: the reference, the merge, the step."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from references import assert_equal, assert_same_state, count, error, record
from torch import nn

from atrous.experiments.parity import reference_fill_, reference_input
from atrous.large_kernels.dilated_reparam import (
    BRANCHES,
    DilatedReparam,
    branch_counts,
    merge_,
    zero_filled_kernel,
)
from atrous.ops import dilated_conv

# Those the paper compares with: same kernels undilated, same spans undilated.
SAME_KERNELS = tuple((k, 1) for k, _ in BRANCHES[13])
SAME_SPANS = tuple(((k - 1) * r + 1, 1) for k, r in BRANCHES[13])


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def trained(kernel, channels=3, **options):
    """A block whose weights and statistics are far from the first ones."""
    block = DilatedReparam(channels, kernel, **options).double().eval()
    reference_fill_(block)
    return block


@pytest.mark.parametrize(
    ("channels", "kernel", "size"), [(24, 9, (33, 41)), (32, 13, (40, 48))]
)
@torch.no_grad()
def test_it_is_the_released_one_before_and_after_the_merge(
    channels, kernel, size
):
    reference = record(f"unireplknet_reparam_c{channels}_k{kernel}")
    expected = reference["outputs"]
    pairs = zip(
        reference["branch_kernels"],
        reference["branch_dilations"],
        strict=True,
    )
    assert BRANCHES[kernel] == tuple(pairs)
    block = DilatedReparam(channels, kernel).double().eval()
    assert_same_state(block, reference)
    reference_fill_(block)
    x, name = reference_input(1, channels, *size), f"{size[0]}x{size[1]}"
    assert_equal(block(x), expected[f"out_{name}"])
    weight, bias = block.merged()
    assert_equal(weight, expected["merged_kernel"])
    assert_equal(bias, expected["merged_bias"])
    assert_equal(block.merge_()(x), expected[f"merged_out_{name}"])


@pytest.mark.parametrize(
    ("kernel", "kernels", "rates"),
    # As published for 7, 9, 13 and 17; 5, 11 and 15 from the released code.
    [
        (5, "3 3", "1 2"),
        (7, "5 3 3", "1 2 3"),
        (9, "5 5 3 3", "1 2 3 4"),
        (11, "5 5 3 3 3", "1 2 3 4 5"),
        (13, "5 7 3 3 3", "1 2 3 4 5"),
        (15, "5 7 3 3 3", "1 2 3 5 7"),
        (17, "5 9 3 3 3", "1 2 4 5 7"),
    ],
)
def test_branches_by_kernel(kernel, kernels, rates):
    branches = DilatedReparam(2, kernel).branches
    first, *others = [conv for conv, _ in branches]
    assert first.kernel_size == (kernel, kernel)
    assert " ".join(str(c.kernel_size[0]) for c in others) == kernels
    assert " ".join(str(c.dilation[0]) for c in others) == rates


# ---- the merge


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize(
    ("kernel", "branches"),
    [
        *((kernel, None) for kernel in BRANCHES),
        (13, SAME_KERNELS),
        (13, SAME_SPANS),
        (13, ()),
        (3, ()),
    ],
)
@torch.no_grad()
def test_the_merge_is_exact(kernel, branches, norm):
    block = trained(kernel, branches=branches, norm=norm)
    x = normal(2, 3, kernel + 5, kernel + 2)
    expected = block(x)
    weight, bias = block.merged()
    assert (bias is None) != norm
    found = F.conv2d(x, weight, bias, padding=kernel // 2, groups=3)
    assert error(found, expected) < 1e-13
    assert error(block.merge_()(x), expected) < 1e-13
    assert count(block) == 3 * (kernel**2 + 1)
    # A second merge finds one convolution and leaves its values.
    assert error(block.merge_()(x), expected) < 1e-13


def test_merged_weights_are_a_state_of_their_own():
    """Those of a merged network load into a merged one."""
    one, other = trained(7).merge_(), DilatedReparam(3, 7).double().merge_()
    other.load_state_dict(one.state_dict())
    shapes = [tuple(t.shape) for t in one.state_dict().values()]
    assert shapes == [(3, 1, 7, 7), (3,)]
    x = normal(1, 3, 9, 9)
    assert torch.equal(one(x), other(x))
    x = normal(1, 3, 9, 9).requires_grad_()
    one(x).sum().backward()  # it can be trained further
    assert all(p.grad.any() for p in one.parameters())


@given(st.integers(1, 7), st.integers(1, 5), st.integers(0, 3))
@torch.no_grad()
def test_zeros_between_the_taps_are_the_dilated_kernel(k, r, border):
    """The second form of the operator in the first chapter, and a border."""
    weight, x = normal(2, 3, k, k), normal(1, 3, 31, 33)
    span = (k - 1) * r + 1
    dense = zero_filled_kernel(weight, r, side=span + 2 * border)
    found = F.conv2d(x, dense, padding=border)
    expected = dilated_conv.zero_filled(x, weight, dilation=r)
    torch.testing.assert_close(found, expected)
    assert torch.equal(
        zero_filled_kernel(weight, r),
        dense if border == 0 else dense[..., border:-border, border:-border],
    )


@torch.no_grad()
def test_a_network_is_merged_part_by_part():
    network = nn.Sequential(
        DilatedReparam(4, 9), nn.ReLU(), nn.Sequential(DilatedReparam(4, 5))
    )
    reference_fill_(network.double().eval())
    x = normal(1, 4, 20, 20)
    expected = network(x)
    before = copy.deepcopy(network)
    assert merge_(network) is network
    assert count(network) == 4 * (81 + 1 + 25 + 1)
    assert error(network(x), expected) < 1e-13
    assert error(before(x), expected) == 0


# ---- what is trained


def test_how_many_branches_have_a_weight_at_a_tap():
    counts = branch_counts()
    assert counts.shape == (13, 13)
    assert (counts.min(), counts.max()) == (1, 6)
    assert counts[6, 6] == 6
    weights = sum(k * k for k, _ in ((13, 1), *BRANCHES[13]))
    assert counts.sum() == weights == 169 + 25 + 49 + 3 * 9
    assert torch.equal(counts, counts.T)
    assert torch.equal(counts, counts.flip(0))
    # Rates 2 (seven taps), 5, 4, 3, and 1 (five taps), from the border in.
    assert counts[6].tolist() == [2, 2, 3, 2, 3, 2, 6, 2, 3, 2, 3, 2, 2]
    assert (branch_counts(13, SAME_SPANS) - counts).min() == 0


@pytest.mark.parametrize("kernel", BRANCHES)
def test_without_norm_a_step_is_a_dense_one_at_a_rate_for_each_tap(kernel):
    """The learning rate times the number of branches that have the tap."""
    block = DilatedReparam(2, kernel, norm=False).double()
    dense = block.merged()[0].requires_grad_()
    x, target = normal(1, 2, 20, 19), normal(1, 2, 20, 19)
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    (block(x) - target).square().mean().backward()
    optimizer.step()
    found = F.conv2d(x, dense, padding=kernel // 2, groups=2)
    (found - target).square().mean().backward()
    step = branch_counts(kernel) * (0.1 * dense.grad)
    assert (block.merged()[0] - (dense - step)).abs().max() < 1e-15
    assert step.abs().max() > 1e-4


def test_gradients_reach_every_branch():
    block = DilatedReparam(2, 17)
    block(torch.randn(2, 2, 20, 18)).square().mean().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad.isfinite().all(), name
    weights = [branch[0].weight.grad for branch in block.branches]
    assert all(gradient.any() for gradient in weights)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DilatedReparam(2, 3), r"kernel=3: .* \[5, 7, .*17\]"),
        (lambda: DilatedReparam(2, 8, branches=()), "even"),
        (lambda: DilatedReparam(2, 7, branches=((5, 2),)), "kernel 5 at dil"),
        (lambda: DilatedReparam(2, 7, branches=((2, 2),)), "kernel 2 at dil"),
        (lambda: DilatedReparam(2, 7, branches=((3, 0),)), "dilation=0"),
        (lambda: merge_(nn.ReLU()), "model=ReLU: has no part"),
        (
            lambda: zero_filled_kernel(torch.ones(1, 1, 3, 3), 2, side=3),
            "side=3: .* 5 pixels",
        ),
        (
            lambda: zero_filled_kernel(torch.ones(1, 1, 3, 3), 2, side=8),
            "side=8",
        ),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
