import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from atrous.arithmetic import Window, coverage, fields, usage
from atrous.gridding.impulse_response import (
    components,
    impulse_response,
    phase_graph,
    phase_sums,
    support,
)

windows = st.builds(
    Window,
    kernel=st.integers(1, 4),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 4),
    padding=st.integers(0, 3),
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def conv(rate, inputs=1, outputs=1, kernel=3, **options):
    """A convolution of normal weights that keeps the size if it can."""
    options.setdefault("padding", rate * (kernel // 2))
    module = nn.Conv2d(inputs, outputs, kernel, dilation=rate, **options)
    for weight in module.parameters():
        nn.init.normal_(weight, generator=generator())
    return module


@given(st.lists(windows, min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_one_output_of_a_plain_stack_sees_its_usage(stack):
    layers = [
        nn.Conv2d(1, 1, w.kernel, w.stride, w.padding, w.dilation, bias=False)
        for w in stack
    ]
    for layer in layers:
        nn.init.ones_(layer.weight)
    field = fields(stack)[-1]
    size = 3 * field.size + 4 * sum(w.padding for w in stack) * field.jump + 3
    seen = impulse_response(nn.Sequential(*layers), size, transposed=True)
    touched = support(seen)
    assert touched.shape == (field.size, field.size)
    assert touched.double().mean().item() == pytest.approx(coverage(stack))
    line = torch.tensor(usage(stack), dtype=torch.float64)
    torch.testing.assert_close(seen.max(), line.max() ** 2)
    torch.testing.assert_close(seen.sum(), line.sum() ** 2)


def test_an_impulse_turns_into_the_kernel_reflected():
    module = conv(2, inputs=3, outputs=5)
    kernel = F.conv_transpose2d(  # r - 1 zeros put between the taps
        module.weight.detach().double().flatten(0, 1)[:, None],
        torch.ones(1, 1, 1, 1).double(),
        stride=2,
    ).view(5, 3, 5, 5)
    out = impulse_response(module, 9, channels=3, at=(4, 3))
    expected = kernel.flip(2, 3).transpose(0, 1)
    torch.testing.assert_close(out[..., 2:7, 1:6], expected)
    seen = impulse_response(module, 9, channels=3, at=(4, 3), transposed=True)
    torch.testing.assert_close(seen[..., 2:7, 1:6], kernel)


def test_bias_normalisation_and_mode_leave_no_trace():
    module = nn.Sequential(
        conv(2, outputs=4), nn.BatchNorm2d(4), conv(1, inputs=4), nn.Dropout()
    )
    for weight in (module[0].weight, module[2].weight):
        weight.data.abs_()
    module[1].running_mean.normal_(generator=generator())
    before = {name: t.clone() for name, t in module.state_dict().items()}
    touched = support(impulse_response(module, 15))
    assert touched.shape == (7, 7)
    assert touched.all()  # 3 taps of rate 2, each filled by 3 of rate 1
    assert module.training
    assert module[1].training
    for name, t in module.state_dict().items():
        assert t.dtype == before[name].dtype
        assert torch.equal(t, before[name])


def test_weights_that_hooks_make():
    """Pruning leaves a weight with a history, which deepcopy refuses."""
    layer = conv(2)
    expected = impulse_response(layer, 11)
    prune.custom_from_mask(layer, "weight", torch.ones(1, 1, 3, 3))
    assert not layer.weight.is_leaf
    assert torch.equal(impulse_response(layer, 11), expected)


@pytest.mark.parametrize(
    ("rates", "touched"), [((2, 4, 8, 16), 33), ((16,), 9)]
)
def test_what_esps_fused_branch_touches(rates, touched):
    """33 of the 33 x 33 pixels of its field, 9 without fusion."""
    branches = [conv(rate) for rate in rates]
    total = impulse_response(
        lambda x: sum(b.double()(x) for b in branches), 35
    )
    assert support(total).shape == (33, 33)
    assert support(total).sum() == touched


@pytest.mark.parametrize(
    ("r1", "r2", "expected"),
    [(10, 7, 0.605), (20, 15, 0.669), (30, 25, 0.779)],
)
def test_coverage_of_kronecker_convolutions(r1, r2, expected):
    module = nn.Sequential(nn.AvgPool2d(r2, 1, r2 // 2), conv(r1))
    share = support(impulse_response(module, 3 * r1 + 5)).double().mean()
    assert share.item() == pytest.approx(expected, abs=5e-4)


def test_max_pooling_spreads_an_impulse():
    assert support(impulse_response(nn.MaxPool2d(3, 1, 1), 7)).sum() == 9


CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@given(st.sampled_from([1, 3]), st.lists(windows, min_size=1, max_size=2))
@settings(max_examples=15)
def test_sequences_and_volumes(axes, stack):
    """The fields of lines are those of pictures and volumes."""
    layers = [
        CONVOLUTIONS[axes](
            1, 1, w.kernel, w.stride, w.padding, w.dilation, bias=False
        )
        for w in stack
    ]
    for layer in layers:
        nn.init.ones_(layer.weight)
    field = fields(stack)[-1]
    size = 2 * field.size + 4 * sum(w.padding for w in stack) * field.jump + 3
    assume(size < 200 if axes == 1 else size < 45)
    seen = impulse_response(
        nn.Sequential(*layers), size, transposed=True, axes=axes
    )
    assert seen.shape == (1, 1, *(size,) * axes)
    touched = support(seen, axes=axes)
    assert touched.shape == (field.size,) * axes
    share = touched.double().mean().item()
    assert share == pytest.approx(coverage(stack, axes=axes))
    line = torch.tensor(usage(stack), dtype=torch.float64)
    torch.testing.assert_close(seen.sum(), line.sum() ** axes)


@pytest.mark.parametrize("axes", [1, 3])
def test_an_impulse_along_other_axes(axes):
    """It turns into the kernel reflected, about the place it is at."""
    module = CONVOLUTIONS[axes](2, 3, 3, padding=2, dilation=2)
    kernel = module.weight.detach().double()
    at = (4, 3, 5)[:axes]
    out = impulse_response(module, 9, channels=2, at=at, axes=axes)
    taps = (..., *(slice(p - 2, p + 3, 2) for p in at))
    spatial = [*range(-axes, 0)]
    expected = kernel.transpose(0, 1).flip(spatial)
    torch.testing.assert_close(out[taps], expected)
    # Nothing lies between the taps, but for rounding beside the biases.
    torch.testing.assert_close(out.abs().sum(), expected.abs().sum())


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("rate", [2, 3])
def test_phases_of_sequences_and_volumes(axes, rate):
    options = {"channels": 2, "axes": axes, "generator": generator()}
    for dilation, edges, parts in (
        (rate, rate**axes, rate**axes),
        (1, rate ** (2 * axes), 1),
    ):
        module = CONVOLUTIONS[axes](2, 2, 3, 1, dilation, dilation)
        found = phase_graph(module, rate, 3 * rate + 3, **options)
        assert found.shape == (rate**axes,) * 2
        assert found.sum() == edges
        assert components(found) == parts


@given(st.integers(1, 9), st.integers(1, 4), st.sampled_from([1, 3]))
def test_phase_sums_along_other_axes(side, rate, axes):
    maps = torch.randn(2, *range(side, side + axes), generator=generator())
    found = phase_sums(maps.double(), rate, axes=axes)
    assert found.shape == (2, *(rate,) * axes)
    for starts in itertools.product(range(rate), repeat=axes):
        own = maps[(..., *(slice(start, None, rate) for start in starts))]
        expected = own.double().flatten(1).sum(1)
        torch.testing.assert_close(found[(..., *starts)], expected)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_phase_sums_by_slicing(height, width, rate):
    maps = torch.randn(2, height, width, generator=generator()).double()
    found = phase_sums(maps, rate)
    assert found.shape == (2, rate, rate)
    for v in range(rate):
        for u in range(rate):
            expected = maps[:, v::rate, u::rate].sum((1, 2))
            torch.testing.assert_close(found[:, v, u], expected)


def graph(module, rate, size=24, **options):
    return phase_graph(module, rate, size, generator=generator(), **options)


@pytest.mark.parametrize("rate", [1, 2, 3, 4])
def test_a_dilated_convolution_keeps_phases_apart(rate):
    found = graph(conv(rate, 2, 3), rate, channels=2)
    assert torch.equal(found, torch.eye(rate**2, dtype=torch.bool))
    assert components(found) == rate**2


@pytest.mark.parametrize(
    ("module", "rate", "edges", "parts"),
    [
        (conv(1), 2, 16, 1),
        (conv(1), 4, 16 * 9, 1),
        (conv(2), 4, 16 * 4, 4),
        (conv(1, kernel=2), 2, 16, 1),
        (nn.Conv2d(1, 1, (1, 3), padding=(0, 1)), 2, 8, 2),
        (nn.Sequential(conv(2), conv(2)), 2, 4, 4),
        (nn.Sequential(conv(2), conv(1)), 2, 16, 1),
        (nn.Sequential(nn.ReLU(inplace=True), conv(1)), 2, 16, 1),
        (nn.Sequential(conv(2, 1, 3), nn.BatchNorm2d(3)), 2, 4, 4),
    ],
)
def test_known_graphs(module, rate, edges, parts):
    found = graph(module, rate)
    assert found.sum() == edges
    assert components(found) == parts


def test_a_shift_permutes_the_phases():
    """Output (y, x) reads input (y, x + 1): [i, j] is from i to j."""
    found = graph(lambda x: x.roll(-1, 3), 2)
    assert found.nonzero().tolist() == [[0, 1], [1, 0], [2, 3], [3, 2]]


def test_nothing_cancels():
    """Neither over input channels, nor over output channels."""
    opposite = conv(2, inputs=2, bias=False)
    opposite.weight.data[:, 1] = -opposite.weight.data[:, 0]
    assert graph(opposite, 2, channels=2).sum() == 4
    opposite = conv(2, outputs=2, bias=False)
    opposite.weight.data[1] = -opposite.weight.data[0]
    assert graph(opposite, 2).sum() == 4


def test_the_graph_is_the_union_over_probes():
    def module(x):
        return x if x.mean() > 0 else x.roll(1, 3)

    assert graph(module, 2, probes=1).sum() == 4
    assert graph(module, 2, probes=8).sum() == 8


def test_a_relu_that_is_rarely_alive_still_passes():
    module = nn.Sequential(conv(2), nn.ReLU(), conv(1))
    module[0].weight.data /= module[0].weight.data.norm()
    module[0].bias.data.fill_(-1.5)
    assert graph(module, 2, size=36).sum() == 16


def test_padding_is_not_mixing():
    module = nn.Sequential(nn.ReplicationPad2d(2), conv(2, padding=0))
    assert graph(module, 2).sum() == 4
    assert graph(module, 2, border=0).sum() > 4
    with pytest.raises(ValueError, match=r"border=1.*still see the edge"):
        graph(module, 2, border=1)


def test_a_module_that_sees_everything():
    def module(x):
        return x + x.mean((2, 3), keepdim=True)

    assert graph(module, 2, border=0).sum() == 16
    with pytest.raises(ValueError, match="still see the edge"):
        graph(module, 2)


def interaction(matrix):
    """Group interaction: output phase i is sum over j of matrix[i, j] x_j."""
    r = round(len(matrix) ** 0.5)

    def mix(x):
        x = F.pixel_unshuffle(x, r)
        return F.pixel_shuffle(F.conv2d(x, matrix[..., None, None]), r)

    return mix


@given(st.integers(2, 3), st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_group_interaction_gives_back_its_matrix(rate, seed):
    matrix = torch.randn(rate**2, rate**2, generator=generator(seed)).double()
    matrix *= matrix > 0.3
    found = graph(interaction(matrix), rate, size=12)
    assert torch.equal(found, (matrix != 0).T)


def test_the_slip_of_the_released_group_interaction_loses_three_edges():
    """Its first term is l[i] in place of l[0]: 13 of 16 edges."""
    matrix = torch.ones(4, 4).double()
    matrix[1:, 0] = 0
    assert graph(interaction(matrix), 2).sum() == 13


def test_components_of_a_chain_and_of_blocks():
    chain = torch.eye(16, dtype=torch.bool)
    chain[range(15), range(1, 16)] = True
    assert components(chain) == 1
    assert components(torch.block_diag(chain, chain[:4, :4]).bool()) == 2
    assert components(torch.zeros(4, 4, dtype=torch.bool)) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: graph(conv(1), 0), "rate=0"),
        (lambda: graph(conv(1), 2.0), r"rate=2\.0"),
        (lambda: graph(conv(1), 2, border=-1), "border=-1"),
        (lambda: graph(conv(1), 2, probes=0), "probes=0"),
        (lambda: graph(conv(1), 4, size=6), "size=6, border=2: .* 4 x 4"),
        (lambda: graph(nn.Flatten(), 2), r"shape \(1, 576\)"),
        (lambda: impulse_response(conv(4), 8), "size=8: the response"),
        (lambda: impulse_response(conv(1), 8, at=(8, 0)), r"at=\(8, 0\)"),
        (lambda: impulse_response(conv(1), 8, at=(0, -1)), r"at=\(0, -1\)"),
        (lambda: support(torch.zeros(1, 4, 4)), "zero everywhere"),
        (lambda: phase_sums(torch.zeros(3), 2), r"shape \(3,\): needs 2"),
        (
            lambda: support(torch.ones(3, 3), axes=3),
            r"shape \(3, 3\): needs 3",
        ),
        (lambda: support(torch.ones(3), axes=0), "axes=0: must be 1, 2 or 3"),
        (lambda: impulse_response(conv(1), 8, axes=4), "axes=4"),
        (lambda: graph(conv(1), 2, axes=0), "axes=0"),
        (
            lambda: impulse_response(conv(1), 8, at=(4,)),
            r"at=\(4,\): outside of 8 x 8",
        ),
        (
            lambda: impulse_response(nn.Flatten(2), 8),
            r"gave shape \(2, 1, 64\), not \(B, C, H, W\); axes= says",
        ),
        (
            lambda: graph(nn.Conv1d(1, 1, 1), 3, size=6, axes=1),
            "size=6, border=2: leaves less than 3 of the 6",
        ),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_module_of_other_axes_says_so():
    with pytest.raises(RuntimeError) as caught:
        impulse_response(nn.Conv1d(1, 1, 3), 8)
    assert caught.value.__notes__ == [
        "The module was given (B, C, H, W): axes=2."
    ]


def test_support_of_one_map_and_of_many():
    maps = torch.zeros(2, 3, 5, 6)
    maps[0, 1, 1, 2] = maps[1, 2, 3, 4] = -1.0
    touched = support(maps)
    assert touched.shape == (3, 3)
    assert touched.sum() == 2
    assert torch.equal(support(maps.abs().sum((0, 1))), touched)


def test_rounding_is_no_response():
    """A kernel may round the pictures of one batch in different ways."""

    def rounded(x):
        y = F.conv2d(x, torch.ones(1, 1, 3, 3).double(), padding=1) + 3
        noise = torch.arange(len(y)).view(-1, 1, 1, 1) * 2.0**-51
        return y + noise

    assert support(impulse_response(rounded, 9)).shape == (3, 3)
