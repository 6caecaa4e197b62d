"""Large kernel attention: the reference, what it spans, what it skips."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from references import assert_equal, assert_same_state, count, record
from torch import nn

from atrous.arithmetic import Window, coverage, receptive_field, usage
from atrous.experiments.parity import reference_fill_, reference_input
from atrous.gridding.impulse_response import (
    components,
    impulse_response,
    phase_graph,
    support,
)
from atrous.large_kernels.large_kernel_attention import (
    GATES,
    LargeKernelAttention,
    lka_windows,
)
from atrous.ops.dilated_conv import shifted_products

DENSE, DILATED = lka_windows()


@torch.no_grad()
def test_it_is_the_released_one():
    reference = record("van_lka_64")
    module = LargeKernelAttention(64).double()
    assert_same_state(module, reference)
    reference_fill_(module)
    x = reference_input(1, 64, 40, 48)
    assert_equal(module(x), reference["outputs"]["out_40x48"])
    attention = reference["outputs"]["attention_40x48"]
    assert_equal(module.attention(x), attention)


# ---- the plan


@pytest.mark.parametrize(
    ("kernel", "dilation", "span"),
    # Table 6 of the paper, then the example of its Figure 2.
    [(7, 2, 9), (14, 3, 17), (21, 3, 23), (28, 4, 31), (13, 3, 17)],
)
def test_the_kernel_of_the_name_is_not_the_span(kernel, dilation, span):
    windows = lka_windows(kernel, dilation)
    assert receptive_field(windows) == span
    assert coverage(windows) == 1


def test_74_taps_for_529():
    assert (DENSE.span, DILATED.span) == (5, 19)
    assert DENSE.kernel**2 + DILATED.kernel**2 == 74
    assert receptive_field((DENSE, DILATED)) ** 2 == 529
    module = LargeKernelAttention(32)
    weights = sum(p.numel() for p in module.parameters() if p.ndim == 4)
    assert weights == 3_392 == 32 * 74 + 32 * 32
    assert count(module) == 3_392 + 96


@given(st.integers(1, 60), st.integers(1, 9))
def test_every_plan_covers_its_span(kernel, dilation):
    """As long as the size can be kept: an even span cannot be centred."""
    taps = -(-kernel // dilation)
    if (taps - 1) * dilation % 2:
        with pytest.raises(ValueError, match="even"):
            lka_windows(kernel, dilation)
        return
    windows = lka_windows(kernel, dilation)
    assert coverage(windows) == 1
    span = 2 * dilation - 1 + (taps - 1) * dilation
    assert receptive_field(windows) == span >= kernel
    # The first is no larger than it needs to be: its outermost taps alone
    # see what lies next to a tap of the second.
    smaller = Window(max(1, dilation - 1))
    if dilation > 2 and taps > 1:
        assert coverage((smaller, windows[1])) < 1


# ---- what the module sees


def positive(**options):
    module = LargeKernelAttention(2, **options)
    for parameter in module.parameters():
        nn.init.ones_(parameter)
    return module


def seen(**options):
    """Pixels that one pixel of the attention sees."""
    module = positive(**options)
    return support(impulse_response(Attention(module), 33, channels=2))


class Attention(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module.attention(x)


def test_the_field_is_23_and_all_of_it_is_seen():
    assert seen().shape == (23, 23)
    assert seen().all()


def test_without_the_small_kernel_only_every_third_pixel_is_seen():
    """And so with the plan: gridding."""
    touched = seen(windows=(DILATED,))
    assert touched.shape == (19, 19)
    offsets = touched.nonzero().unique().tolist()
    assert offsets == [*range(0, 19, 3)]
    assert touched.sum() == 49
    ways = usage((DILATED,))
    assert [i for i, n in enumerate(ways) if n] == offsets


@pytest.mark.parametrize(
    ("windows", "edges", "parts"),
    [((DILATED,), 9, 9), ((DENSE, DILATED), 81, 1)],
)
def test_phases_meet_by_the_small_kernel(windows, edges, parts):
    module = Attention(positive(windows=windows))
    graph = phase_graph(module, 3, 45, channels=2)
    assert graph.sum() == edges
    assert components(graph) == parts


@torch.no_grad()
def test_attention_is_three_convolutions():
    """Against the convolution by its definition, tap by tap."""
    module = LargeKernelAttention(4, windows=lka_windows(14, 3)).double()
    x = y = torch.randn(2, 4, 19, 21, dtype=torch.float64)
    for conv in (*module.depthwise, module.pointwise):
        y = shifted_products(
            y,
            conv.weight,
            conv.bias,
            padding=conv.padding[0],
            dilation=conv.dilation[0],
            groups=conv.groups,
        )
    torch.testing.assert_close(module.attention(x), y)
    torch.testing.assert_close(module(x), x * y)


@torch.no_grad()
def test_gates():
    x = torch.randn(1, 3, 8, 9)
    expected = {
        "product": lambda a: x * a,
        "sum": lambda a: x + a,
        "sigmoid": lambda a: x / (1 + torch.exp(-a)),
    }
    assert set(expected) == set(GATES)
    for gate, formula in expected.items():
        module = LargeKernelAttention(3, gate=gate)
        torch.testing.assert_close(module(x), formula(module.attention(x)))


def test_one_window_is_the_dense_kernel():
    dense = LargeKernelAttention(2, windows=(Window(21, padding=10),))
    assert dense.depthwise[0].weight.shape == (2, 1, 21, 21)
    assert dense(torch.rand(1, 2, 5, 7)).shape == (1, 2, 5, 7)


@pytest.mark.parametrize("gate", GATES)
def test_gradients(gate):
    module = LargeKernelAttention(
        2, windows=lka_windows(5, 2), gate=gate
    ).double()
    x = torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    parameters = tuple(module.parameters())
    names = [name for name, _ in module.named_parameters()]

    def call(x, *values):
        state = dict(zip(names, values, strict=True))
        return torch.func.functional_call(module, state, (x,))

    assert torch.autograd.gradcheck(call, (x, *parameters))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lka_windows(0), "kernel=0"),
        (lambda: lka_windows(21, 0), "dilation=0"),
        (lambda: lka_windows(10, 3), "kernel=4, dilation=3: .* even"),
        (lambda: LargeKernelAttention(2, windows=()), r"windows=\(\)"),
        (lambda: LargeKernelAttention(2, gate="plus"), "gate='plus': .*sum"),
        (
            lambda: LargeKernelAttention(2, windows=(Window(3),)),
            "keep the size, with stride=1 and padding=1",
        ),
        (
            lambda: LargeKernelAttention(2, windows=(Window(3, 2, 1, 1),)),
            "stride=2",
        ),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
