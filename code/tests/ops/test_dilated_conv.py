import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from atrous.arithmetic import Window, valid_weights
from atrous.ops.dilated_conv import (
    phases,
    shifted_products,
    sparse_im2col,
    valid_taps,
    zero_filled,
)

AT_STRIDE_1 = (phases, valid_taps)
FORMS = (shifted_products, zero_filled, sparse_im2col, *AT_STRIDE_1)
names = [form.__name__ for form in FORMS]


def case(shape, out, kernel, groups, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*size):
        return torch.randn(size, generator=generator, dtype=torch.float64)

    x = draw(*shape).requires_grad_()
    w = draw(out, shape[1] // groups, *kernel).requires_grad_()
    b = draw(out).requires_grad_()
    return x, w, b


def assert_equal(form, inputs, options):
    """Values and gradients of one form are those of torch's own."""
    ours, theirs = form(*inputs, **options), F.conv2d(*inputs, **options)
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    probe = torch.sin(torch.arange(ours.numel()).double()).view(ours.shape)
    mine = torch.autograd.grad(ours, inputs, probe)
    reference = torch.autograd.grad(theirs, inputs, probe)
    for a, b in zip(mine, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


grid = list(
    itertools.product(
        (1, 2, 3, 5),  # dilation
        (0, 1, 4),  # padding
        (1, 2),  # groups
        ((3, 3), (1, 1), (2, 3)),  # kernel
        (1, 2),  # stride
    )
)


@pytest.mark.parametrize("form", FORMS, ids=names)
def test_grid(form):
    tried = 0
    for dilation, padding, groups, kernel, stride in grid:
        options = {"dilation": dilation, "padding": padding, "groups": groups}
        if form not in AT_STRIDE_1:
            options["stride"] = stride
        inputs = case((2, 4, 13, 11), 6, kernel, groups)
        assert_equal(form, inputs, options)
        tried += 1
    assert tried == 144


@pytest.mark.parametrize("form", FORMS, ids=names)
@given(data=st.data())
@settings(max_examples=60)
def test_random_shapes(form, data):
    draw = data.draw
    size = st.integers(1, 12)
    groups, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    padding = draw(st.integers(0, 5))
    kernel = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    shape = (
        draw(st.integers(1, 2)),
        groups * draw(st.integers(1, 2)),
        draw(size),
        draw(size),
    )
    for side, k in zip(shape[2:], kernel, strict=True):
        assume(side + 2 * padding >= (k - 1) * dilation + 1)
    options = {"dilation": dilation, "padding": padding, "groups": groups}
    if form not in AT_STRIDE_1:
        options["stride"] = draw(st.integers(1, 3))
    inputs = case(shape, groups * draw(st.integers(1, 2)), kernel, groups)
    assert_equal(form, inputs, options)


@pytest.mark.parametrize("rate", [1, 5, 12, 13])
def test_valid_taps_multiply_what_is_valid(rate):
    """On 13 cells, with rate 13 beyond them."""
    x, w, b = case((1, 4, 13, 13), 6, (3, 3), 1)
    with FlopCounterMode(display=False) as counter:
        valid_taps(x, w, b, padding=rate, dilation=rate)
    valid = valid_weights(13, Window(3, 1, rate, rate))
    taps = sum(n * places for n, places in valid.items())
    assert counter.get_total_flops() == 2 * 4 * 6 * taps


@pytest.mark.parametrize("form", FORMS, ids=names)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes_without_bias(form, dtype):
    x, w, _ = case((1, 2, 9, 8), 3, (3, 3), 1)
    x, w = x.detach().to(dtype), w.detach().to(dtype)
    out = form(x, w, dilation=2, padding=2)
    assert out.dtype == dtype
    expected = F.conv2d(x.double(), w.double(), dilation=2, padding=2)
    tolerance = 1e-5 if dtype == torch.float32 else 0.2
    torch.testing.assert_close(
        out.double(), expected, rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("form", FORMS, ids=names)
def test_runs_on_the_meta_device(form):
    x = torch.empty(1, 4, 20, 20, device="meta")
    w = torch.empty(8, 4, 3, 3, device="meta")
    assert form(x, w, dilation=3, padding=3).shape == (1, 8, 20, 20)


@pytest.mark.parametrize("form", FORMS, ids=names)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dilation": 0}, "dilation=0"),
        ({"padding": -1}, "padding=-1"),
        ({"groups": 0}, "groups=0"),
        ({"groups": 4}, "groups=4"),
        ({"groups": 3}, "x has 4 channels.*needs 12"),
        ({"dilation": 9}, "kernel 19 does not fit into size=13"),
    ],
)
def test_wrong_options_are_named(form, options, message):
    x, w, _ = case((1, 4, 13, 13), 6, (3, 3), 1)
    with pytest.raises(ValueError, match=message):
        form(x, w, **options)


@pytest.mark.parametrize("form", FORMS, ids=names)
def test_wrong_shapes_are_named(form):
    x, w, _ = case((1, 4, 13, 13), 6, (3, 3), 1)
    with pytest.raises(ValueError, match=r"\(4, 13, 13\)"):
        form(x[0], w)
    with pytest.raises(ValueError, match="x has 3 channels"):
        form(x[:, :3], w)
