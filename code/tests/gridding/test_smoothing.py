"""Cures beside one dilated convolution: GI, SSC and small pre-filters."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from references import count, error, meta
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from atrous.backbones.resnet import ResNet
from atrous.gridding.impulse_response import components, phase_graph
from atrous.gridding.smoothing import (
    FILTERS,
    SMOOTHINGS,
    ChannelFilter,
    GroupInteraction,
    PreFilter,
    SharedConvolution,
    SmoothedConv2d,
    smooth_,
)
from atrous.gridding.spectrum import module_gains

NAME = "smoothed_deeplabv2_resnet101"
TRAINED = ("gi", "ssc", "learned")


def normal(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g, dtype=torch.float64)


def randomised(module, seed=0):
    """The module in float64, no parameter of it left as it was."""
    for i, parameter in enumerate(module.double().parameters()):
        parameter.data = normal(*parameter.shape, seed=seed + i)
    return module.eval()


def smoothed(smoothing, rate, channels=1, bias=False, **options):
    """A convolution of normal weights with its cure, as it starts."""
    layer = nn.Conv2d(
        channels, channels, 3, padding=rate, dilation=rate, bias=bias
    )
    return smooth_(randomised(layer), smoothing=smoothing, **options)


# ---- the table of costs


@pytest.mark.parametrize(
    ("rate", "gi", "ssc"), [(2, 16, 9), (4, 256, 49), (8, 4096, 225)]
)
def test_parameters(rate, gi, ssc):
    assert count(GroupInteraction(rate)) == gi == rate**4
    assert count(SharedConvolution(rate)) == ssc == (2 * rate - 1) ** 2


@pytest.mark.parametrize(
    ("cure", "rate", "per_value", "percent"),
    [
        (GroupInteraction, 2, 4, 0.17),
        (GroupInteraction, 4, 16, 0.69),
        (SharedConvolution, 2, 9, 0.39),
        (SharedConvolution, 4, 49, 2.13),
    ],
)
def test_multiply_adds(cure, rate, per_value, percent):
    """Counted as they run; per pixel and channel, and in % of a 3x3."""
    x = torch.empty(1, 256, 16, 24, device="meta")
    found = []
    with torch.device("meta"):
        convolution = nn.Conv2d(256, 256, 3, padding=rate, dilation=rate)
        for module in (cure(rate), convolution):
            with FlopCounterMode(display=False) as counter:
                module(x)
            found.append(counter.get_total_flops() / 2)
    assert found[0] == per_value * x.numel()
    assert 100 * found[0] / found[1] == pytest.approx(percent, abs=0.005)


@pytest.mark.parametrize(
    ("smoothing", "extra"),
    [
        ("gi", 1_136),
        ("ssc", 354),
        ("average", 0),
        ("gaussian", 0),
        ("learned", 23 * 256 + 3 * 9 * 512),
    ],
)
def test_whole_network(smoothing, extra):
    network = meta(NAME, smoothing=smoothing)
    plain = meta("deeplabv2_resnet101")
    assert count(network) - count(plain) == extra
    found = [m for m in network.modules() if isinstance(m, SmoothedConv2d)]
    assert [m.dilation[0] for m in found] == [2] * 23 + [4] * 3
    assert not any(isinstance(m, SmoothedConv2d) for m in network.head)
    keys = [k for k in network.state_dict() if "smoothing" not in k]
    assert keys == [*plain.state_dict()]
    for side in (321, 97):  # 41 and 13 cells, no multiples of the rates
        x = torch.empty(1, 3, side, side + 9, device="meta")
        assert network(x).shape == (1, 21, side, side + 9)


# ---- how they start


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rate", [1, 2, 3, 4])
def test_gi_and_ssc_start_as_the_identity_to_the_bit(rate, dtype):
    x = normal(2, 3, 24, 12).to(dtype)
    for module in (
        GroupInteraction(rate),
        GroupInteraction(rate, slip=True),
        SharedConvolution(rate),
    ):
        assert torch.equal(module.to(dtype)(x), x)


@pytest.mark.parametrize("kind", FILTERS)
def test_at_rate_2_the_filters_are_the_identity(kind):
    x = normal(1, 3, 7, 8)
    assert torch.equal(PreFilter(2, kind=kind, channels=3).double()(x), x)


@pytest.mark.parametrize("rate", [3, 4, 5, 8])
def test_average(rate):
    x = normal(2, 3, 14, 15)
    before, after = (rate - 2) // 2, (rate - 1) // 2
    whole = F.pad(x, (before, after, before, after))
    expected = F.avg_pool2d(whole, rate - 1, 1)
    for kind in ("average", "learned"):
        found = PreFilter(rate, kind=kind, channels=3).double()(x)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("rate", "sigma"), [(3, 1.0), (4, 1.0), (6, 2.5)])
def test_gaussian(rate, sigma):
    kernel = PreFilter(rate, kind="gaussian", sigma=sigma).kernel.double()
    assert kernel.shape == (rate - 1, rate - 1)
    assert kernel.sum().item() == pytest.approx(1)
    torch.testing.assert_close(kernel, kernel.flip(0, 1))
    torch.testing.assert_close(kernel, kernel.T)
    middle = (rate - 2) / 2
    for y, x in itertools.product(range(rate - 1), repeat=2):
        square = (y - middle) ** 2 + (x - middle) ** 2 - 2 * middle**2
        ratio = torch.tensor(-square / 2 / sigma**2).double().exp()
        torch.testing.assert_close(
            kernel[y, x] / kernel[0, 0], ratio, rtol=1e-6, atol=0
        )


def test_learned_trains_one_kernel_a_channel():
    module = PreFilter(4, kind="learned", channels=5)
    assert count(module) == 5 * 9
    x = torch.randn(1, 5, 9, 9)
    module(x)[:, 2].sum().backward()
    by_channel = module.kernel.grad.abs().sum((1, 2))
    assert by_channel.nonzero().flatten().tolist() == [2]


# ---- what they compute


def mix(x, matrix, rate, slip=False):
    """Phase by phase; the slip as the released code has it, term by term."""
    places = [*itertools.product(range(rate), repeat=2)]
    phases = [x[..., v::rate, u::rate] for v, u in places]
    out = torch.empty_like(x)
    for j, (v, u) in enumerate(places):
        terms = [matrix[i, j] * phase for i, phase in enumerate(phases)]
        if slip:
            terms[0] = matrix[0, j] * phases[j]
        out[..., v::rate, u::rate] = sum(terms)
    return out


@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.booleans(),
    st.integers(0, 99),
)
def test_group_interaction_mixes_phases(rate, m, n, slip, seed):
    module = randomised(GroupInteraction(rate, slip=slip), seed)
    x = normal(2, 3, m * rate, n * rate, seed=seed)
    torch.testing.assert_close(module(x), mix(x, module.matrix, rate, slip))


def test_filters_act_on_each_channel():
    for kernel in (normal(3, 3), normal(4, 3, 3), normal(2, 2)):
        x = normal(2, 4, 8, 9)
        found = ChannelFilter(kernel)(x)
        k = kernel.shape[-1]
        ends = ((k - 1) // 2, k // 2) * 2
        for c in range(4):
            weight = kernel if kernel.ndim == 2 else kernel[c]
            expected = F.conv2d(F.pad(x[:, c, None], ends), weight[None, None])
            torch.testing.assert_close(found[:, c, None], expected)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [(12, 12), (13, 16), (5, 3)])
@pytest.mark.parametrize("rate", [2, 3])
def test_group_interaction_on_maps_of_any_size(rate, size, bias):
    """All phases reach over the map by as much, and are cut off again."""
    layer = randomised(smoothed("gi", rate, 2, bias))
    x = normal(2, 2, *size)
    whole = F.pad(x, (0, -size[1] % rate, 0, -size[0] % rate))
    y = F.conv2d(whole, layer.weight, None, 1, rate, rate)
    expected = mix(y, layer.smoothing.matrix, rate)
    if bias:
        expected = expected + layer.bias[:, None, None]
    expected = expected[..., : size[0], : size[1]]
    torch.testing.assert_close(layer(x), expected)


def test_a_bias_is_no_grid():
    layer = randomised(smoothed("gi", 2, 1, bias=True))
    nn.init.zeros_(layer.weight)
    out = layer(normal(1, 1, 8, 8))
    assert torch.equal(out, layer.bias.expand_as(out))


@pytest.mark.parametrize("smoothing", ["ssc", "average", "gaussian"])
def test_a_filter_comes_first(smoothing):
    layer = randomised(smoothed(smoothing, 4, 2, bias=True))
    x = normal(1, 2, 9, 10)
    expected = F.conv2d(layer.smoothing(x), layer.weight, layer.bias, 1, 4, 4)
    assert torch.equal(layer(x), expected)


def test_ssc_commutes_with_the_convolution_in_the_interior():
    layer = randomised(smoothed("ssc", 3, 2))
    x = normal(1, 2, 40, 40)
    after = layer.smoothing(F.conv2d(x, layer.weight, None, 1, 3, 3))
    inside = (..., slice(5, -5), slice(5, -5))
    assert error(layer(x)[inside], after[inside]) < 1e-12
    assert error(layer(x), after) > 0.01  # not at the border


# ---- shifts


@given(st.integers(2, 4), st.integers(-3, 3), st.integers(-3, 3))
def test_gi_commutes_with_shifts_by_multiples_of_the_rate(rate, down, right):
    module = randomised(GroupInteraction(rate))
    x = normal(1, 2, 3 * rate, 4 * rate)
    moves = (down * rate, right * rate)
    moved = module(x.roll(moves, (2, 3)))
    torch.testing.assert_close(moved, module(x).roll(moves, (2, 3)))


@pytest.mark.parametrize("rate", [2, 3, 4])
def test_gi_does_not_commute_with_other_shifts(rate):
    module = randomised(GroupInteraction(rate))
    x = normal(1, 2, 3 * rate, 4 * rate)
    for shift in range(1, rate):
        for axis in (2, 3):
            a, b = module(x.roll(shift, axis)), module(x).roll(shift, axis)
            assert (a - b).abs().max() > 0.1 * b.abs().max()


@given(
    st.sampled_from(["ssc", "average", "gaussian", "learned"]),
    st.integers(2, 4),
    st.integers(-3, 3),
    st.integers(-3, 3),
)
def test_filters_commute_with_any_shift(smoothing, rate, down, right):
    layer = randomised(smoothed(smoothing, rate))
    x = torch.zeros(1, 1, 40, 40).double()
    x[..., 16:24, 16:24] = normal(8, 8)  # nothing reaches the border
    moved = layer(x.roll((down, right), (2, 3)))
    torch.testing.assert_close(moved, layer(x).roll((down, right), (2, 3)))


# ---- gridding before and after


@pytest.mark.parametrize(
    ("smoothing", "rate", "gain"),
    [
        ("average", 2, 1),  # 1x1: it does nothing
        ("average", 4, 0.333),
        ("average", 8, 0.143),
        ("ssc", 2, 0.333),  # as a uniform box of 2 r - 1
        ("ssc", 4, 0.143),
    ],
)
def test_gains_of_boxes(smoothing, rate, gain):
    layer = smoothed(smoothing, rate)
    nn.init.ones_(layer.weight)
    if smoothing == "ssc":
        nn.init.constant_(layer.smoothing.kernel, 1 / (2 * rate - 1) ** 2)
    found = module_gains(layer, rate, 6 * rate + 1)
    assert found[0, 1].item() == pytest.approx(gain, abs=5e-4)
    assert found[1, 0].item() == pytest.approx(gain, abs=5e-4)


def test_a_gaussian_passes_more_of_the_grid_than_a_box():
    layer = smoothed("gaussian", 4)
    nn.init.ones_(layer.weight)
    box = smoothed("average", 4)
    box.weight = layer.weight
    found, least = (module_gains(m, 4, 25)[0, 1] for m in (layer, box))
    assert least < found < 1


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_as_they_start_only_averages_join_phases(smoothing):
    layer = smoothed(smoothing, 4)
    graph = phase_graph(layer, 4, 36, probes=1)
    if smoothing in FILTERS:
        assert (int(graph.sum()), components(graph)) == (16 * 9, 1)
    else:
        assert torch.equal(graph, torch.eye(16, dtype=torch.bool))


@pytest.mark.parametrize(
    ("smoothing", "options", "edges"),
    [
        ("gi", {}, 16),
        ("gi", {"slip": True}, 13),
        ("ssc", {}, 16),
        ("average", {}, 4),
        ("learned", {}, 4),
    ],
)
def test_phase_graph_at_rate_2(smoothing, options, edges):
    """At the start it is 4 loops; this is after some training."""
    layer = randomised(smoothed(smoothing, 2, **options))
    graph = phase_graph(layer, 2, 24)
    assert graph.sum() == edges
    assert components(graph) == (1 if edges > 4 else 4)
    if edges == 13:  # phase 0 reaches no phase but its own
        assert graph[0].tolist() == [True, False, False, False]
        assert graph[1:].all()


# ---- into a network and back out of it


@pytest.mark.parametrize("smoothing", TRAINED)
@torch.no_grad()
def test_a_smoothed_network_starts_as_the_plain_one(smoothing):
    plain = ResNet(18, output_stride=8, variant="caffe").double().eval()
    network = smooth_(copy.deepcopy(plain), smoothing=smoothing)
    missing, unexpected = network.load_state_dict(
        plain.state_dict(), strict=False
    )
    assert not unexpected
    assert len(missing) == 8
    assert all(".smoothing." in key for key in missing)
    x = normal(1, 3, 97, 121)  # 13 x 16 cells
    if smoothing == "learned":
        assert error(network(x), plain(x)) > 0.01
        return
    assert error(network(x), plain(x)) < 1e-12
    # To the bit only the cures are the identity: GI pads the maps to whole
    # phases, and a convolution of another size may round in another way.
    y = normal(1, 3, 8, 12)
    for module in network.modules():
        if isinstance(module, SmoothedConv2d):
            assert torch.equal(module.smoothing(y), y)


@pytest.mark.parametrize("smoothing", ["average", "gaussian"])
def test_fixed_filters_leave_the_state_dict_alone(smoothing):
    plain = ResNet(18, output_stride=8)
    keys = [*plain.state_dict()]
    network = smooth_(plain, smoothing=smoothing)
    assert [*network.state_dict()] == keys
    assert count(network) == count(ResNet(18))


def test_the_object_stays_the_same():
    """Parameters, hooks, mode, type of the values, references to it."""
    layer = nn.Conv2d(2, 2, 3, padding=2, dilation=2).bfloat16().eval()
    calls, weight = [], layer.weight
    layer.register_forward_hook(lambda *_: calls.append(1))
    model = nn.Sequential(layer)
    assert smooth_(model, smoothing="gi") is model
    assert model[0] is layer
    assert type(layer) is SmoothedConv2d
    assert layer.weight is weight
    assert not layer.smoothing.training
    assert layer.smoothing.matrix.dtype == torch.bfloat16
    assert layer(torch.ones(1, 2, 5, 5).bfloat16()).shape == (1, 2, 5, 5)
    assert calls == [1]
    with torch.device("meta"):
        model = nn.Conv2d(2, 2, 3, padding=2, dilation=2)
    assert smooth_(model, smoothing="average").smoothing.kernel.is_meta


@pytest.mark.parametrize(
    "options",
    [
        {"dilation": 1, "padding": 1},
        {"stride": 2},
        {"dilation": (2, 1)},
        {"kernel_size": 5, "padding": "same"},
        {"padding": 0},
        {"padding": (2, 0)},
        {"padding_mode": "reflect"},
    ],
)
def test_other_convolutions_are_left_alone(options):
    options = {"kernel_size": 3, "padding": 2, "dilation": 2} | options
    other = nn.Conv2d(1, 1, **options)
    layer = nn.Conv2d(1, 1, 3, padding="same", dilation=2)
    smooth_(nn.Sequential(other, layer, layer), smoothing="ssc")
    assert type(other) is nn.Conv2d
    assert type(layer) is SmoothedConv2d
    with pytest.raises(ValueError, match="model=Conv2d: has no dilated"):
        smooth_(other, smoothing="ssc")
    with pytest.raises(ValueError, match="has no dilated"):  # not twice
        smooth_(layer, smoothing="gi")


# ---- gradients and errors


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_gradients(smoothing):
    layer = randomised(smoothed(smoothing, 3, 2, bias=True))
    x = normal(1, 2, 7, 8).requires_grad_()
    names, values = zip(*layer.named_parameters(), strict=True)

    def function(x, *values):
        state = dict(zip(names, values, strict=True))
        return torch.func.functional_call(layer, state, x)

    assert len(names) == (3 if smoothing in TRAINED else 2)
    assert torch.autograd.gradcheck(function, (x, *values))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GroupInteraction(0), "rate=0"),
        (lambda: SharedConvolution(0), "rate=0"),
        (lambda: PreFilter(1), "rate=1: must be at least 2"),
        (lambda: PreFilter(4, kind="median"), "kind='median'.*gaussian"),
        (lambda: PreFilter(4, kind="learned", channels=0), "channels=0"),
        (lambda: PreFilter(4, kind="gaussian", sigma=0), "sigma=0"),
        (lambda: smooth_(nn.ReLU(), smoothing="gi"), "model=ReLU"),
        (lambda: smooth_(nn.ReLU(), smoothing="tv"), "smoothing='tv'.*ssc"),
        (
            lambda: smooth_(nn.Conv3d(1, 1, 3, 1, 2, 2), smoothing="gi"),
            "model=Conv3d: has no .*; in sequences and volumes nothing",
        ),
        (
            lambda: GroupInteraction(2)(torch.ones(1, 2, 4, 4, 4)),
            r"\(1, 2, 4, 4, 4\): must be \(B, C, H, W\)",
        ),
        (lambda: GroupInteraction(2)(torch.ones(1, 2, 4)), r"\(1, 2, 4\)"),
        (lambda: SharedConvolution(2)(torch.ones(4, 4, 4)), r"\(4, 4, 4\)"),
        (lambda: meta(NAME, smoothing="tv"), "smoothing='tv'"),
        (
            lambda: GroupInteraction(2)(torch.ones(1, 2, 4, 5)),
            r"\(1, 2, 4, 5\).*multiples of rate=2",
        ),
        (
            lambda: GroupInteraction(3)(torch.ones(1, 2, 5, 6)),
            r"\(1, 2, 5, 6\).*multiples of rate=3",
        ),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
