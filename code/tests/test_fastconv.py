"""The fast convolution: a drop-in for torch's, in whatever way it runs."""

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import fx, nn

from atrous import fastconv
from atrous.fastconv import (
    WAYS,
    AtrousConv2d,
    convert_,
    race,
)
from atrous.operators import atrous_conv2d
from atrous.surgery import dilate
from atrous.taps import layout

CONTIGUOUS, CHANNELS_LAST = torch.contiguous_format, torch.channels_last


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Takes one way whatever the machine; records the calls that had it."""
    return force(monkeypatch, request.param)


@pytest.fixture
def calls(monkeypatch):
    """The calls that left torch's own, all made to."""
    return force(monkeypatch, "taps").calls


def force(monkeypatch, name):
    class Choice(str):
        calls = None

    choice = Choice(name)
    choice.calls = []

    def fastest(call):
        choice.calls.append(call)
        return str(choice)

    monkeypatch.setattr(fastconv, "SMALLEST", 0)
    monkeypatch.setattr(fastconv, "fastest", fastest)
    monkeypatch.setattr(fastconv, "_ways", Forgetful())
    return choice


class Forgetful(dict):
    """Keeps nothing, so that each call is chosen for."""

    def __setitem__(self, key, value):
        pass


def draw(*size, dtype=torch.float64, form=CONTIGUOUS):
    generator = torch.Generator().manual_seed(sum(size))
    x = torch.randn(size, generator=generator, dtype=dtype)
    return x.to(memory_format=form) if len(size) == 4 else x


def assert_drop_in(inputs, options, tolerance=1e-11):
    """Values, gradients and layout are torch's."""
    expected = F.conv2d(*inputs, **options)
    found = atrous_conv2d(*inputs, **options)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert layout(found) == layout(expected)
    close = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(found, expected, **close)
    probe = torch.sin(torch.arange(found.numel()).to(found)).view(found.shape)
    inputs = [x for x in inputs if x is not None and x.requires_grad]
    for a, b in zip(
        torch.autograd.grad(found, inputs, probe),
        torch.autograd.grad(expected, inputs, probe),
        strict=True,
    ):
        torch.testing.assert_close(a, b, **close)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@settings(max_examples=150)
@given(st.data())
def test_random_calls(data):
    """Shapes, rates, paddings, strides, groups, types and layouts."""
    integer = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731

    def option(low, high):
        both = st.tuples(st.integers(low, high), st.integers(low, high))
        one = st.integers(low, high)
        return data.draw(one | both | both.map(list) | one.map(lambda i: (i,)))

    groups = data.draw(st.sampled_from([1, 1, 1, 2]))
    dtype = data.draw(st.sampled_from([torch.float64, torch.float32]))
    forms = [
        data.draw(st.sampled_from([CONTIGUOUS, CHANNELS_LAST]))
        for _ in range(2)
    ]
    channels, out = groups * integer(2, 3), groups * integer(2, 3)
    kernel = integer(2, 3), integer(2, 3)
    x = draw(
        integer(0, 2),
        channels,
        integer(2, 12),
        integer(2, 12),
        dtype=dtype,
        form=forms[0],
    )
    weight = draw(out, channels // groups, *kernel, dtype=dtype, form=forms[1])
    inputs = [x.requires_grad_(), weight.requires_grad_()]
    if data.draw(st.booleans()):
        inputs.append(draw(out, dtype=dtype).requires_grad_())
    padding = data.draw(st.sampled_from(["same", "valid", "number"]))
    options = {
        "stride": data.draw(st.sampled_from([1, 1, (1, 1), 2, (1, 2)])),
        "padding": option(0, 9) if padding == "number" else padding,
        "dilation": option(1, 14),
        "groups": groups,
    }
    try:
        F.conv2d(*inputs, **options)
    except RuntimeError as error:
        with pytest.raises(RuntimeError, match=re.escape(str(error))):
            atrous_conv2d(*inputs, **options)
        return
    for name in WAYS:
        with pytest.MonkeyPatch.context() as patch:
            force(patch, name)
            assert_drop_in(
                inputs, options, 1e-11 if dtype == torch.float64 else 1e-4
            )


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(
    ("size", "kernel", "padding", "dilation", "taken"),
    [
        ((9, 14), (3, 3), 4, 4, True),
        ((9, 14), (3, 3), (12, 5), (12, 5), True),
        ((1, 1), (3, 3), 2, 2, True),
        ((5, 3), (3, 3), 40, 40, True),  # beyond the map
        ((9, 8), (3, 3), "same", 6, True),
        ((9, 8), (3, 3), "valid", 2, True),
        ((9, 8), (1, 1), 0, 1, True),
        ((9, 8), (3, 2), "same", (2, 2), True),
        ((9, 8), (3, 2), "same", (2, 3), False),  # its sides differ
        ((9, 8), (2, 2), 9, 18, False),  # no tap is valid anywhere
        ((9, 8), (1, 1), 3, 2, True),
    ],
)
def test_particular_calls(way, size, kernel, padding, dilation, taken):
    inputs = [draw(2, 4, *size), draw(3, 4, *kernel), draw(3)]
    inputs = [x.requires_grad_() for x in inputs]
    options = {"padding": padding, "dilation": dilation}
    assert_drop_in(inputs, options)
    assert bool(way.calls) == taken


def test_arguments_by_position(way):
    inputs = draw(2, 4, 9, 9), draw(3, 4, 3, 3), draw(3)
    expected = F.conv2d(*inputs, 1, 5, 5, 1)
    torch.testing.assert_close(atrous_conv2d(*inputs, 1, 5, 5, 1), expected)
    named = {"input": inputs[0], "weight": inputs[1], "bias": inputs[2]}
    found = atrous_conv2d(**named, stride=1, padding=5, dilation=5, groups=1)
    torch.testing.assert_close(found, expected)
    assert len(way.calls) == 2


X, W = (2, 4, 9, 9), (6, 4, 3, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"padding": -1},
        {"padding": 1.0},
        {"padding": (1.0, 1.0)},
        {"padding": (1, 2, 3)},
        {"padding": "full"},
        {"padding": None},
        {"padding": "same", "stride": 2},
        {"dilation": 0},
        {"dilation": -2},
        {"dilation": "2"},
        {"dilation": 9},
        {"stride": 0},
        {"stride": 1.0},
        {"stride": (1, 1, 1)},
        {"groups": 0},
        {"groups": 3},
        {"groups": 1.0},
        {"weight": torch.zeros(6, 3, 3, 3)},
        {"weight": torch.zeros(6, 4, 3)},
        {"weight": torch.zeros(*W, dtype=torch.float64)},
        {"weight": None},
        {"bias": torch.zeros(5)},
        {"bias": torch.zeros(6, 1)},
        {"bias": torch.zeros(6, dtype=torch.float64)},
        {"bias": 1.0},
        {"input": torch.zeros(2, 3, 9, 9)},
        {"input": torch.zeros(9, 9)},
        {"input": torch.zeros(X, dtype=torch.int64)},
        {"input": [1.0]},
    ],
    ids=str,
)
def test_torch_refuses_what_is_wrong(calls, change):
    defaults = {"bias": None, "stride": 1, "padding": 0, "dilation": 1}
    given = {"input": torch.zeros(X), "weight": torch.zeros(W)}
    values = (given | defaults | {"groups": 1} | change).values()
    with pytest.raises(Exception) as expected:  # noqa: PT011
        F.conv2d(*values)
    with pytest.raises(expected.type) as found:
        atrous_conv2d(*values)
    assert str(found.value) == str(expected.value)
    assert not calls


class Subclass(torch.Tensor):
    pass


@pytest.mark.parametrize(
    ("change", "options"),
    [
        ({}, {"stride": 2}),
        ({}, {"stride": (1, 2)}),
        ({"weight": torch.ones(6, 2, 3, 3)}, {"groups": 2}),
        ({"input": torch.ones(4, 9, 9)}, {}),
        ({"input": torch.ones(0, 4, 9, 9)}, {}),
        ({"input": torch.ones(2, 0, 9, 9),
          "weight": torch.ones(6, 0, 3, 3)}, {}),
        ({"input": torch.ones(X).to(torch.bfloat16),
          "weight": torch.ones(W).to(torch.bfloat16)}, {}),
        ({"input": torch.ones(X).as_subclass(Subclass)}, {}),
        ({"input": torch.ones(X, device="meta"),
          "weight": torch.ones(W, device="meta")}, {}),
    ],
)  # fmt: skip
def test_other_calls_are_left_to_torch(calls, change, options):
    given = {"input": torch.ones(X), "weight": torch.ones(W)} | change
    options = {"padding": 5, "dilation": 5} | options
    found = atrous_conv2d(**given, **options)
    expected = F.conv2d(**given, **options)
    assert type(found) is type(expected)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if found.device.type != "meta":
        assert torch.equal(found, expected)
    assert not calls


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_modes_are_left_to_torch(calls):
    x, weight = torch.ones(X), torch.ones(W)

    def function(x):
        return atrous_conv2d(x, weight, padding=5, dilation=5)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert function(x).dtype == torch.bfloat16
    torch.jit.trace(function, x, check_trace=False)
    torch.use_deterministic_algorithms(True)
    try:
        function(x)
    finally:
        torch.use_deterministic_algorithms(False)
    assert not calls
    function(x)
    assert len(calls) == 1


def test_small_calls_are_left_to_torch(monkeypatch):
    choice = force(monkeypatch, "taps")
    monkeypatch.setattr(fastconv, "SMALLEST", 2 * 4 * 81 * 6 * 9 + 1)
    atrous_conv2d(torch.ones(X), torch.ones(W), padding=5, dilation=5)
    assert not choice.calls
    monkeypatch.setattr(fastconv, "SMALLEST", 2 * 4 * 81 * 6 * 9)
    atrous_conv2d(torch.ones(X), torch.ones(W), padding=5, dilation=5)
    assert choice.calls


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_transforms_of_functions(way):
    """Batches of calls, forward mode, gradients of gradients."""
    x, weight = draw(*X), draw(*W)

    def ours(x):
        return atrous_conv2d(x, weight, padding=5, dilation=5)

    def theirs(x):
        return F.conv2d(x, weight, padding=5, dilation=5)

    def results(f):
        stack = torch.stack([x, x + 1])
        yield torch.vmap(f)(stack)
        yield from torch.func.jvp(f, (x,), (x.sin(),))
        yield torch.func.grad(lambda x: f(x).square().sum())(x)
        yield torch.vmap(torch.func.grad(lambda x: f(x).sin().sum()))(stack)

    for a, b in zip(results(ours), results(theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)
    small = draw(1, 2, 4, 3).requires_grad_(), draw(2, 2, 3, 3)
    assert torch.autograd.gradgradcheck(
        lambda x: atrous_conv2d(x, small[1], padding=2, dilation=2), small[0]
    )


# The rule.


def test_the_fastest_is_kept_and_measured_once(monkeypatch):
    monkeypatch.setattr(fastconv, "SMALLEST", 0)
    monkeypatch.setattr(fastconv, "_fastest", {})
    monkeypatch.setattr(fastconv, "_ways", {})
    raced = []

    def race(ways):
        assert [*ways] == [*WAYS]
        assert not torch.is_grad_enabled()
        outputs = [function() for function in ways.values()]
        assert not any(out.requires_grad for out in outputs)
        raced.append(1)
        return "taps"

    monkeypatch.setattr(fastconv, "race", race)
    weight = torch.ones(W, requires_grad=True)

    def call(size, weight=weight, rate=5, form=CONTIGUOUS, batch=2):
        x = torch.ones(batch, 4, size, size).to(memory_format=form)
        atrous_conv2d(x, weight, padding=rate, dilation=rate)
        return len(raced)

    assert call(9) == 1
    assert call(9) == 1
    assert call(12) == 1  # rounds up to the same multiple of 4
    assert call(13) == 2
    assert call(9, rate=6) == 3
    assert call(9, batch=1) == 4
    assert call(9, form=CHANNELS_LAST) == 5
    assert call(9, weight=weight[:3]) == 6
    assert call(9, weight=weight.double().float()) == 6
    assert call(9, weight=weight.to(memory_format=CHANNELS_LAST)) == 7
    assert call(11, rate=10) == 8
    assert call(10, rate=10) == 9  # two taps less along each axis


def test_what_goes_torchs_way_is_read_once(monkeypatch):
    choice = force(monkeypatch, "torch")
    monkeypatch.setattr(fastconv, "_ways", {})
    x, weight = draw(2, 4, 9, 9), draw(W[0], 4, 3, 3)
    expected = F.conv2d(x, weight, padding=5, dilation=5)

    def call(**options):
        out = atrous_conv2d(x, weight, dilation=5, **options)
        return out if options["padding"] == 5 else None

    read = fastconv._read
    call(padding=5)
    monkeypatch.setattr(fastconv, "_read", None)
    torch.testing.assert_close(call(padding=5), expected)
    monkeypatch.setattr(fastconv, "_read", read)
    call(padding=6)
    assert len(choice.calls) == 2
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        call(padding=5)
    finally:
        torch.set_num_threads(threads)
    assert len(choice.calls) == 3


def test_another_way_is_chosen_once_but_read_each_time(monkeypatch):
    choice = force(monkeypatch, "taps")
    monkeypatch.setattr(fastconv, "_ways", {})
    monkeypatch.setattr(fastconv, "compute", lambda call, way: way)
    x, weight = draw(2, 4, 9, 9), draw(W[0], 4, 3, 3)
    options = {"padding": 5, "dilation": 5}
    assert atrous_conv2d(x, weight, **options) == "taps"
    assert atrous_conv2d(x, weight, **options) == "taps"
    assert len(choice.calls) == 1
    for other in ({"stride": 2}, {"stride": [1, 1], "groups": 1}):
        found = atrous_conv2d(x, weight, **options, **other)
        assert (found == "taps") == ("groups" in other)
    torch.use_deterministic_algorithms(True)
    try:
        found = atrous_conv2d(x, weight, **options)
    finally:
        torch.use_deterministic_algorithms(False)
    torch.testing.assert_close(found, F.conv2d(x, weight, **options))


def test_looks_are_forgotten_when_they_are_many(monkeypatch):
    choice = force(monkeypatch, "torch")
    monkeypatch.setattr(fastconv, "_ways", {})
    monkeypatch.setattr(fastconv, "MOST", 2)
    weight = draw(W[0], 4, 3, 3)
    for size in (9, 10, 9, 10, 11, 9):
        atrous_conv2d(draw(2, 4, size, size), weight)
    assert len(choice.calls) == 4
    assert len(fastconv._ways) == 2


def clock(monkeypatch, costs):
    """Ways that take so many milliseconds of a clock that they turn."""
    now, log = [0.0], []

    def spend(name, cost):
        log.append(name)
        now[0] += (cost(log.count(name)) if callable(cost) else cost) / 1e3

    monkeypatch.setattr(fastconv, "CLOCK", lambda: now[0])
    ways = {
        name: lambda name=name, cost=cost: spend(name, cost)
        for name, cost in costs.items()
    }
    return race(ways), log


@pytest.mark.parametrize(
    ("costs", "winner"),
    [
        ((10, 20, 30), "torch"),
        ((20, 10, 30), "layout"),
        ((30, 20, 10), "taps"),
        ((10, 9.8, 9.9), "torch"),  # too close to leave torch's own
        ((10, 10, 9.6), "taps"),
        ((0.1, 0.2, 0.09), "taps"),
    ],
)
def test_a_race_has_the_fastest_win(monkeypatch, costs, winner):
    found, _ = clock(monkeypatch, dict(zip(WAYS, costs, strict=True)))
    assert found == winner


def test_a_race_forgives_a_slow_start(monkeypatch):
    """What is set up in the first round is not held against a short call."""
    slow = {"torch": 1, "layout": 2, "taps": lambda n: 9 if n == 1 else 0.5}
    found, log = clock(monkeypatch, slow)
    assert found == "taps"
    assert log.count("torch") == log.count("taps") >= 3


def test_a_race_forgives_a_stutter(monkeypatch):
    """Another program may take the processor in any round but one."""
    slow = {"torch": 10, "layout": 20, "taps": lambda n: 9 if n == 2 else 12}
    found, log = clock(monkeypatch, slow)
    assert found == "taps"
    assert log[-1] == "taps"


def test_a_long_race_drops_who_is_far_behind(monkeypatch):
    found, log = clock(monkeypatch, {"torch": 100, "layout": 131, "taps": 101})
    assert found == "torch"
    assert [log.count(name) for name in WAYS] == [3, 1, 3]


def test_whatever_wins_is_right():
    """Nothing is forced: this machine's own choice."""
    x = draw(1, 64, 33, 33, dtype=torch.float32)
    weight = draw(256, 64, 3, 3, dtype=torch.float32)
    for rate in (1, 40):
        options = {"padding": rate, "dilation": rate}
        found = atrous_conv2d(x, weight, **options)
        expected = F.conv2d(x, weight, **options)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


# The module.


class Custom(nn.Conv2d):
    pass


def network():
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=5, dilation=5),
        nn.Sequential(nn.Conv2d(4, 4, 3, padding="same", bias=False)),
        nn.Conv2d(4, 4, 3, padding=2, padding_mode="reflect"),
        Custom(4, 4, 3, padding=1),
        nn.Conv2d(4, 6, 3, 2, groups=2),
        nn.ConvTranspose2d(6, 2, 2),
    ).double()
    for parameter in model.parameters():
        parameter.data.normal_(generator=generator)
    return model


def test_convert_is_in_place_and_keeps_the_weights(way):
    model = network()
    x = draw(2, 3, 9, 11)
    expected = model(x)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    parameters = [*map(id, model.parameters())]
    assert convert_(model) is model
    assert [*map(id, model.parameters())] == parameters
    assert [*model.state_dict()] == [*state]
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    types = [type(m) for m in model.modules() if not list(m.children())]
    fast = [AtrousConv2d]
    assert types == [*fast * 3, Custom, *fast, nn.ConvTranspose2d]
    found = model(x)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    assert len(way.calls) == 2  # the others reflect, stride or are not ours
    fresh = convert_(network())
    fresh.load_state_dict(state)


def test_converted_modules_copy_train_and_hook(calls):
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=5, dilation=5))
    seen = []
    model[0].register_forward_hook(lambda *_: seen.append(1))
    convert_(model)
    twin = copy.deepcopy(model)
    x = torch.randn(2, 3, 9, 9)
    assert torch.equal(twin(x), model(x))
    assert len(seen) == 2
    model(x).sum().backward()
    assert model[0].weight.grad.isfinite().all()
    assert "AtrousConv2d(3, 4, kernel_size=(3, 3)" in repr(model)
    assert len(calls) == 3


def test_converted_networks_can_be_traced_and_dilated():
    """To torch.fx they are the convolutions that they were."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, padding=1)
    ).double()
    x = draw(1, 3, 12, 12)
    expected = dilate(model, 1)(x)
    convert_(model)
    nodes = fx.symbolic_trace(model).graph.nodes
    assert [n.target for n in nodes if n.op == "call_function"] == [
        torch.conv2d
    ] * 2
    torch.testing.assert_close(dilate(model, 1)(x), expected)


def test_runs_on_the_meta_device():
    with torch.device("meta"):
        model = convert_(nn.Conv2d(8, 16, 3, padding=9, dilation=9))
        assert model(torch.empty(2, 8, 500, 20)).shape == (2, 16, 500, 20)
