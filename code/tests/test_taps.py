"""The sum over valid taps: the same values and gradients, fewer products."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from atrous.arithmetic import Window, valid_weights
from atrous.taps import CHANNELS_LAST, CONTIGUOUS, layout, reaches, valid_taps

LAYOUTS = (CONTIGUOUS, CHANNELS_LAST)


def draw(*size, dtype=torch.float64, form=CONTIGUOUS, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(size))
    x = torch.randn(size, generator=generator, dtype=dtype)
    return x.to(memory_format=form) if len(size) == 4 else x


class Record(TorchDispatchMode):
    """Bytes of all tensors made, and gradients asked of convolutions."""

    def __init__(self):
        super().__init__()
        self.sizes, self.masks = [], []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.sizes.append(out.untyped_storage().nbytes())
        if function is torch.ops.aten.convolution_backward.default:
            self.masks.append(args[-1])
        return out


def probe(like):
    return torch.sin(torch.arange(like.numel()).to(like)).view(like.shape)


@pytest.mark.parametrize("rate", [1, 7, 12, 16, 17, 24, 32, 33])
@pytest.mark.parametrize("padding", [0, 9, 24])
def test_reaches_count_the_valid_weights(rate, padding):
    """The products done are the valid weights of the figure, no more."""
    window = Window(3, dilation=rate, padding=padding)
    if 33 + 2 * padding < window.span:
        return
    counted = sum(n * m for n, m in valid_weights(33, window).items())
    axis = sum(r.last - r.first for r in reaches(33, 3, padding, rate))
    assert axis**2 == counted


def test_a_rate_beyond_the_map_leaves_one_tap():
    assert reaches(9, 3, 9, 9) == ((1, 0, 9, 0),)
    assert [reach.tap for reach in reaches(9, 3, 8, 8)] == [0, 1, 2]
    assert reaches(1, 1, 2, 1) == ((0, 2, 3, -2),)


@settings(max_examples=150)
@given(st.data())
def test_random_shapes(data):
    def integer(low, high):
        return data.draw(st.integers(low, high))

    shape = [integer(1, 3), integer(1, 4), integer(1, 12), integer(1, 12)]
    kernel = integer(1, 4), integer(1, 4)
    padding = integer(0, 9), integer(0, 9)
    dilation = integer(1, 14), integer(1, 14)
    for size, k, p, r in zip(
        shape[2:], kernel, padding, dilation, strict=True
    ):
        assume(size + 2 * p >= (k - 1) * r + 1)
        assume(reaches(size, k, p, r))
    forms = [data.draw(st.sampled_from(LAYOUTS)) for _ in range(2)]
    x = draw(*shape, form=forms[0]).requires_grad_()
    out = integer(1, 5)
    weight = draw(out, shape[1], *kernel, form=forms[1]).requires_grad_()
    bias = draw(out).requires_grad_() if data.draw(st.booleans()) else None
    inputs = [x, weight] if bias is None else [x, weight, bias]
    found = valid_taps(*inputs, padding=padding, dilation=dilation)
    expected = F.conv2d(*inputs, padding=padding, dilation=dilation)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    mine = torch.autograd.grad(found, inputs, probe(found))
    theirs = torch.autograd.grad(expected, inputs, probe(found))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("of_x", LAYOUTS)
@pytest.mark.parametrize("of_weight", LAYOUTS)
def test_the_result_has_the_layout_of_torchs(of_x, of_weight):
    x = draw(2, 4, 9, 7, form=of_x, dtype=torch.float32)
    weight = draw(6, 4, 3, 3, form=of_weight, dtype=torch.float32)
    options = {"padding": (5, 5), "dilation": (5, 5)}
    found = valid_taps(x, weight, **options)
    assert found.stride() == F.conv2d(x, weight, **options).stride()
    assert layout(found) == layout(x, weight)


def test_inputs_are_left_alone_and_may_be_views():
    x = draw(1, 8, 20, 20)
    before = x.clone()
    view = x[:, ::2, 3:15, ::2].transpose(2, 3)
    weight = draw(5, 4, 3, 3)
    kept = weight.clone()
    found = valid_taps(view, weight, padding=(8, 6), dilation=(8, 6))
    expected = F.conv2d(view, weight, padding=(8, 6), dilation=(8, 6))
    torch.testing.assert_close(found, expected)
    assert torch.equal(x, before)
    assert torch.equal(weight, kept)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("biased", [False, True])
def test_gradients_of_gradients(biased):
    inputs = [draw(2, 2, 5, 4), draw(2, 2, 3, 3)]
    inputs += [draw(2)] if biased else []
    inputs = [x.requires_grad_() for x in inputs]

    def function(*inputs):
        return valid_taps(*inputs, padding=(3, 3), dilation=(3, 3))

    assert torch.autograd.gradcheck(
        function, inputs, check_forward_ad=True, check_batched_grad=False
    )
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2), (1, 2)])
def test_gradients_of_some_inputs_only(wanted):
    inputs = [draw(2, 2, 5, 4), draw(3, 2, 3, 3), draw(3)]
    for i in wanted:
        inputs[i].requires_grad_()
    out = valid_taps(*inputs, padding=(3, 3), dilation=(3, 3))
    chosen = [inputs[i] for i in wanted]
    expected = F.conv2d(*inputs, padding=3, dilation=3)
    with Record() as record:
        found = torch.autograd.grad(out, chosen, probe(out))
    assert [i for i in range(3) if record.masks[0][i]] == list(wanted)
    for a, b in zip(
        found,
        torch.autograd.grad(expected, chosen, probe(out)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dims", [(0, None, None), (None, 0, 0), (0, 0, 0)])
def test_under_vmap(dims):
    inputs = [draw(2, 3, 5, 4), draw(6, 3, 3, 3), draw(6)]
    inputs = [
        x if dim is None else torch.stack([x, 2 * x, x + 1])
        for x, dim in zip(inputs, dims, strict=True)
    ]

    def ours(*inputs):
        return valid_taps(*inputs, padding=(3, 3), dilation=(3, 3))

    def theirs(*inputs):
        return F.conv2d(*inputs, padding=3, dilation=3)

    found, expected = (torch.vmap(f, dims)(*inputs) for f in (ours, theirs))
    torch.testing.assert_close(found, expected)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("tangents", [(0,), (1,), (2,), (0, 1, 2)])
def test_forward_mode(tangents):
    inputs = [draw(2, 2, 5, 4), draw(3, 2, 3, 3), draw(3)]

    def along(function):
        def of(*chosen):
            full = [*inputs]
            for i, x in zip(tangents, chosen, strict=True):
                full[i] = x
            return function(*full)

        chosen = tuple(inputs[i] for i in tangents)
        return torch.func.jvp(of, chosen, tuple(map(probe, chosen)))

    found = along(lambda *i: valid_taps(*i, padding=(3, 3), dilation=(3, 3)))
    expected = along(lambda *i: F.conv2d(*i, padding=3, dilation=3))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_runs_on_the_meta_device():
    x = torch.empty(2, 4, 20, 20, device="meta")
    weight = torch.empty(8, 4, 3, 3, device="meta")
    out = valid_taps(x, weight, padding=(9, 9), dilation=(9, 9))
    assert out.shape == (2, 8, 20, 20)
    assert out.device.type == "meta"


def test_peak_memory_is_below_that_of_patches():
    """Nothing as large as k^2 maps is ever held."""
    x, weight = draw(1, 8, 20, 20), draw(8, 8, 3, 3)
    with Record() as record:
        valid_taps(x, weight, padding=(6, 6), dilation=(6, 6))
    assert max(record.sizes) <= x.untyped_storage().nbytes()


@pytest.mark.parametrize(
    ("x", "weight", "options", "message"),
    [
        ((4, 9, 9), (2, 4, 3, 3), {}, r"\(4, 9, 9\).*do not fit"),
        ((1, 4, 9, 9), (2, 3, 3, 3), {}, r"\(2, 3, 3, 3\).*do not fit"),
        ((1, 4, 9, 9), (2, 4, 3), {}, "do not fit"),
        ((1, 4, 9, 9), (2, 4, 3, 3), {"dilation": (9, 1)}, r"\(9, 1\)"),
        ((1, 4, 9, 9), (2, 4, 3, 3), {"dilation": (1, 0)}, r"\(1, 0\): must"),
        ((1, 4, 9, 9), (2, 4, 3, 3), {"padding": (-1, 0)}, r"\(-1, 0\), d"),
        ((1, 4, 9, 9), (2, 4, 3, 3), {"bias": torch.zeros(1)}, r"\(1,\)"),
        ((1, 4, 0, 9), (2, 4, 3, 3), {"padding": (1, 1)}, "no tap is valid"),
    ],
)
def test_wrong_values_are_named(x, weight, options, message):
    with pytest.raises(ValueError, match=message):
        valid_taps(torch.zeros(x), torch.zeros(weight), **options)
