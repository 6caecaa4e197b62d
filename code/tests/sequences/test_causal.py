"""Causal convolution: by definition, and what it can and cannot see."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from references import sensitivity
from torch import nn

from atrous.arithmetic import (
    Window,
    coverage,
    fields,
    receptive_field,
    usage,
)
from atrous.sequences.causal import (
    CausalConv1d,
    causal_window,
    centred_window,
    time_convolution,
)

numbers = st.integers


@given(numbers(1, 4), numbers(1, 5), numbers(1, 12), numbers(1, 2))
def test_by_definition(kernel, dilation, steps, groups):
    conv = CausalConv1d(
        2 * groups, 4, kernel, dilation=dilation, groups=groups
    ).double()
    x = torch.randn(2, 2 * groups, steps, dtype=torch.float64)
    expected = conv.bias[:, None].expand(2, 4, steps).clone()
    for t in range(steps):
        for j in range(kernel):
            if t - dilation * j >= 0:
                seen = x[:, :, t - dilation * j].chunk(groups, 1)
                taps = conv.weight[..., kernel - 1 - j].chunk(groups)
                parts = [s @ w.T for s, w in zip(seen, taps, strict=True)]
                expected[:, :, t] = expected[:, :, t] + torch.cat(parts, 1)
    torch.testing.assert_close(conv(x), expected)


stacks = st.lists(
    st.builds(causal_window, numbers(1, 4), numbers(1, 6)),
    min_size=1,
    max_size=4,
)


@given(stacks, numbers(0, 99))
def test_a_stack_sees_its_field_and_nothing_later(stack, seed):
    """Ones as weights: the gradient counts the paths, as `usage` does."""
    field = fields(stack)[-1]
    assert field.start + (field.size - 1) / 2 == 0  # its last step is t
    layers = [time_convolution(1, 1, w, bias=False).double() for w in stack]
    for layer in layers:
        nn.init.ones_(layer.weight)
    step = field.size + seed % 7
    x = torch.zeros(1, 1, step + 9, dtype=torch.float64)
    found = sensitivity(nn.Sequential(*layers), x, step)
    paths = found[step - field.size + 1 : step + 1]
    assert paths.tolist() == [*usage(stack)]
    assert found.sum() == paths.sum()


def test_one_path_to_each_of_1024_offsets():
    cycle = [causal_window(2, 2**i) for i in range(10)]
    assert usage(cycle) == (1,) * 1024
    layers = [time_convolution(1, 1, w, bias=False).double() for w in cycle]
    for layer in layers:
        nn.init.ones_(layer.weight)
    x = torch.zeros(1, 1, 1100, dtype=torch.float64)
    found = sensitivity(nn.Sequential(*layers), x, 1050)
    assert found[27:1051].tolist() == [1.0] * 1024
    assert found.sum() == 1024


def test_fields_of_other_systems():
    """ByteNet's paper has 315, which no number of whole cycles gives."""
    cycle = [causal_window(3, 2**i) for i in range(5)]
    assert receptive_field(cycle * 6) == 373
    assert receptive_field(cycle * 5) == 311
    assert 315 not in [receptive_field(cycle * n) for n in range(9)]
    x_vector = zip((5, 3, 3), (1, 2, 3), strict=True)
    assert receptive_field([centred_window(*w) for w in x_vector]) == 15


def test_windows():
    assert causal_window(3, 4) == Window(3, 1, 4, 8)
    assert centred_window(3, 4) == Window(3, 1, 4, 4)
    assert coverage([causal_window(2, 1), causal_window(2, 3)], axes=1) == 0.8
    with pytest.raises(ValueError, match="effective kernel 4 is even"):
        centred_window(4)


@pytest.mark.parametrize("weight_norm", [False, True])
@pytest.mark.parametrize("depthwise", [False, True])
def test_a_window_says_which_convolution_it_is(weight_norm, depthwise):
    options = {"weight_norm": weight_norm, "depthwise": depthwise}
    for window, causal in (
        (causal_window(3, 2), True),
        (centred_window(3, 2), False),
        (Window(1), False),
    ):
        conv = time_convolution(4, 4, window, **options)
        assert isinstance(conv, CausalConv1d) == causal
        assert conv.groups == (4 if depthwise else 1)
        assert hasattr(conv, "parametrizations") == weight_norm
        x = torch.randn(2, 4, 9)
        past = window.span - 1
        sides = (past, 0) if causal else (past // 2, past // 2)
        expected = F.conv1d(
            F.pad(x, sides),
            conv.weight,
            conv.bias,
            dilation=window.dilation,
            groups=conv.groups,
        )
        torch.testing.assert_close(conv(x), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CausalConv1d(1, 1, 0), "kernel=0"),
        (lambda: CausalConv1d(1, 1, 2, dilation=0), "dilation=0"),
        (lambda: causal_window(2, 0), "dilation=0"),
        (
            lambda: time_convolution(1, 1, Window(3, 2, 1, 2)),
            "stride 1 and a padding of 2 .* or 1 ",
        ),
        (
            lambda: time_convolution(1, 1, Window(2, 1, 3, 0)),
            r"padding of 3 .* or 1\.5 ",
        ),
        (
            lambda: CausalConv1d(2, 1, 3)(torch.zeros(1, 2, 0)),
            r"x of shape \(1, 2, 0\) .* T at least 1",
        ),
        (
            lambda: CausalConv1d(2, 1, 3)(torch.zeros(2, 5)),
            r"x of shape \(2, 5\) .*x\[None\] makes",
        ),
        (
            lambda: CausalConv1d(2, 1, 3)(torch.zeros(1, 2, 5).int()),
            "torch.int32: must be",
        ),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
