import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from atrous.arithmetic import (
    Field,
    Stage,
    Window,
    coverage,
    effective_kernel,
    fields,
    output_size,
    receptive_field,
    same_padding,
    stage_plan,
    usage,
    valid_weights,
)

windows = st.builds(
    Window,
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 4),
    padding=st.integers(0, 4),
)
stacks = st.lists(windows, min_size=1, max_size=4)


def convolve(x, stack):
    """All-ones convolutions along one axis, float64: counts stay exact."""
    for w in stack:
        ones = torch.ones(1, 1, w.kernel, dtype=torch.float64)
        x = F.conv1d(x, ones, None, w.stride, w.padding, w.dilation)
    return x


def fits(size, stack):
    try:
        return output_size(size, stack)
    except ValueError:
        return 0


@given(st.integers(1, 60), stacks)
def test_output_size_is_torchs(size, stack):
    expected = fits(size, stack)
    x = torch.zeros(1, 1, size, dtype=torch.float64)
    if expected:
        assert convolve(x, stack).shape[2] == expected
    else:
        with pytest.raises(RuntimeError):
            convolve(x, stack)


@given(stacks)
def test_field_and_usage_are_the_gradients(stack):
    """The gradient of an inner output is the usage, at the computed place."""
    field = fields(stack)[-1]
    size = 6 * field.size + 4 * sum(w.padding for w in stack) * field.jump
    x = torch.zeros(1, 1, size, dtype=torch.float64, requires_grad=True)
    y = convolve(x, stack)
    index = y.shape[2] // 2
    gradient = torch.autograd.grad(y[0, 0, index], x)[0][0, 0]
    seen = gradient.nonzero().flatten()
    first, last = seen[0].item(), seen[-1].item()
    assert last - first + 1 == field.size == receptive_field(stack)
    assert tuple(gradient[first : last + 1].int().tolist()) == usage(stack)
    assert (first + last) / 2 == field.start + index * field.jump


@given(stacks)
def test_bottom_up_is_top_down(stack):
    assert fields(stack)[-1].size == receptive_field(stack)


@given(stacks, st.integers(1, 3))
def test_coverage_is_the_share_of_used_pixels(stack, axes):
    counts = usage(stack)
    assert counts == counts[::-1]
    line = sum(c > 0 for c in counts) / len(counts)
    assert coverage(stack, axes=axes) == pytest.approx(line**axes)


@pytest.mark.parametrize(
    ("rates", "sizes"),
    [((1, 2, 4), [3, 7, 15]), ((2,), [5]), ((4,), [9])],
)
def test_figure_1_of_yu_and_koltun(rates, sizes):
    stack = [Window(3, dilation=r) for r in rates]
    assert [f.size for f in fields(stack)] == sizes


def test_centre_of_an_unpadded_dilated_window():
    """k=3, r=2, p=0: 2. A popular summary tool prints 1."""
    assert fields(Window(3, dilation=2)) == (Field(5, 1, 2.0),)


@given(st.integers(1, 9), st.integers(1, 9))
def test_same_padding_keeps_the_size(kernel, dilation):
    if effective_kernel(kernel, dilation) % 2 == 0:
        with pytest.raises(ValueError, match=f"kernel={kernel}"):
            same_padding(kernel, dilation)
    else:
        padding = same_padding(kernel, dilation)
        assert output_size(7, Window(kernel, 1, dilation, padding)) == 7


@pytest.mark.parametrize(
    ("output_stride", "expected"),
    [
        (32, [(1, 1), (2, 1), (2, 1), (2, 1)]),
        (16, [(1, 1), (2, 1), (2, 1), (1, 2)]),
        (8, [(1, 1), (2, 1), (1, 2), (1, 4)]),
        (4, [(1, 1), (1, 2), (1, 4), (1, 8)]),
    ],
)
def test_resnet_plans(output_stride, expected):
    assert stage_plan(output_stride) == tuple(Stage(*e) for e in expected)


def test_plans_of_other_networks():
    deep = stage_plan(256, strides=(1, 2, 2, 2, 2, 2, 2))
    assert [s.dilation for s in deep] == [1] * 7
    odd = stage_plan(6, stem=2, strides=(3, 2, 3))
    assert odd == (Stage(3, 1), Stage(1, 2), Stage(1, 6))


@given(
    st.integers(1, 4),
    st.lists(st.integers(1, 3), min_size=1, max_size=5),
    st.data(),
)
def test_a_plan_keeps_every_footprint(stem, strides, data):
    """stride so far x dilation is what it was without dilation."""
    totals = [stem]
    for stride in strides:
        totals.append(totals[-1] * stride)
    output_stride = data.draw(st.sampled_from(totals))
    plan = stage_plan(output_stride, stem=stem, strides=strides)
    reached = stem
    for stage, total in zip(plan, totals[1:], strict=True):
        reached *= stage.stride
        assert reached * stage.dilation == total
        assert reached <= output_stride
    assert reached == output_stride


def test_valid_weights_are_figure_4_of_deeplab_v3():
    path = Path(__file__).parent / "fingerprints" / "fig4_valid_weights.json"
    table = json.loads(path.read_text())
    numbers = table["columns"][1:]
    assert len(table["rows"]) >= 64
    for rate, *counts in table["rows"]:
        found = valid_weights(65, Window(3, 1, rate, rate))
        expected = dict(zip(numbers, counts, strict=True))
        assert found == {n: c for n, c in expected.items() if c}


@given(st.integers(1, 12), windows)
def test_valid_weights_by_counting(size, window):
    if not fits(size, window):
        return
    inside = torch.ones(1, 1, size, size, dtype=torch.float64)
    ones = torch.ones(1, 1, window.kernel, window.kernel).double()
    counts = F.conv2d(
        inside, ones, None, window.stride, window.padding, window.dilation
    )
    values, numbers = counts.unique(return_counts=True)
    expected = dict(zip(values.int().tolist(), numbers.tolist(), strict=True))
    assert valid_weights(size, window) == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: effective_kernel(0, 1), "kernel=0"),
        (lambda: effective_kernel(3, 0), "dilation=0"),
        (lambda: Window(0), "kernel=0"),
        (lambda: Window(3, stride=0), "stride=0"),
        (lambda: Window(3, dilation=0), "dilation=0"),
        (lambda: Window(3, padding=-1), "padding=-1"),
        (lambda: Window(2.5), "kernel=2.5"),
        (lambda: Window(3, dilation=True), "dilation=True"),
        (lambda: output_size(0, Window(1)), "size=0: must"),
        (lambda: output_size(8, Window(3, dilation=4)), "kernel 9 .* size=8"),
        (lambda: output_size(5, [Window(3), Window(5)]), "layer 2"),
        (lambda: coverage(Window(3), axes=0), "axes=0"),
        (lambda: stage_plan(12), r"output_stride=12.*\[4, 8, 16, 32\]"),
        (lambda: stage_plan(2), "output_stride=2"),
        (lambda: stage_plan(4, stem=0), "stem=0"),
        (lambda: stage_plan(4, strides=(0,)), r"strides=\(0,\)"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_empty_stack_is_the_identity():
    assert output_size(7, ()) == 7
    assert receptive_field(()) == 1
    assert usage(()) == (1,)
    assert stage_plan(4, strides=()) == ()


def test_arithmetic_imports_no_torch():
    check = "import sys, atrous.arithmetic; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)
