"""Queues: a step costs each weight once, and equals the full computation."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import error
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from atrous.arithmetic import receptive_field
from atrous.sequences.causal import CausalConv1d
from atrous.sequences.generation import (
    Queue,
    Stepper,
    drawn,
    generate,
    most_likely,
)
from atrous.sequences.separator import Separator
from atrous.sequences.tcn import TCN
from atrous.sequences.wavenet import WaveNet

numbers = st.integers


def wavenet(classes=6, **options):
    small = {"channels": 4, "width": 5, "skip": 6}
    return WaveNet(classes, **small | options).double()


# ---- equal at every step


@given(
    st.lists(numbers(1, 9), min_size=1, max_size=3),
    numbers(2, 4),
    numbers(1, 3),
    numbers(1, 25),
    st.data(),
)
@settings(max_examples=20)
def test_random_stacks(rates, kernel, batch, steps, data):
    """WaveNets and TCNs, whole and in two parts."""
    if data.draw(st.booleans()):
        network = wavenet(
            3,
            cycle=rates,
            cycles=data.draw(numbers(1, 2)),
            kernel=kernel,
            first_kernel=data.draw(numbers(1, 3)),
            weight_norm=data.draw(st.booleans()),
            scaled=data.draw(st.booleans()),
        )
    else:
        widths = [3 + (i > 1) for i in range(len(rates))]
        options = {"widths": widths, "kernel": kernel, "dilations": rates}
        network = TCN(3, 2, **options).double().eval()
    x = torch.randn(batch, 3, steps, dtype=torch.float64)
    with torch.no_grad():
        full = network(x)
    stepper, cut = Stepper(network, batch), data.draw(numbers(1, steps))
    parts = [part for part in x.split([cut, steps - cut], 2) if part.numel()]
    found = torch.cat([stepper(part) for part in parts], 2)
    assert error(found, full) < 1e-12


@pytest.mark.parametrize("norm", ["channel", "cumulative"])
@pytest.mark.parametrize("skip", [None, 5])
@torch.no_grad()
def test_separators(norm, skip):
    network = Separator(
        6,
        bottleneck=4,
        hidden=8,
        kernel=2,
        blocks=2,
        repeats=2,
        causal=True,
        norm=norm,
        skip=skip,
    ).double()
    x = torch.randn(2, 6, 20, dtype=torch.float64)
    full, stepper = network(x), Stepper(network, 2)
    assert error(stepper(x), full) < 1e-12
    # Each sequence on its own has the same masks.
    assert error(Stepper(network)(x[1:]), full[1:]) < 1e-12


@torch.no_grad()
def test_a_single_layer_and_layers_of_each_step():
    layer = CausalConv1d(3, 4, 3, dilation=5).double()
    x = torch.randn(1, 3, 30, dtype=torch.float64)
    assert error(Stepper(layer)(x), layer(x)) < 1e-12
    network = nn.Sequential(
        layer, nn.BatchNorm1d(4), nn.Conv1d(4, 4, 1), nn.PReLU()
    ).double()
    network[1].running_mean.fill_(2.0)
    network.train()
    stepper = Stepper(network)
    assert network.training
    found = stepper(x)
    assert error(found, network.eval()(x)) < 1e-12
    network[0].weight.zero_()  # does not reach the copy
    assert error(Stepper(network)(x), network(x)) < 1e-12
    assert torch.equal(
        stepper.network[0][0].weight, stepper.memories[0].weight
    )
    assert stepper.memories[0].weight.any()


# ---- what it costs


@pytest.mark.parametrize("first_kernel", [1, 2])
@pytest.mark.parametrize("dilation", [1, 7])
def test_a_step_takes_each_weight_once(dilation, first_kernel):
    """Of multiply-adds; the memory is what grows with the field."""
    cycle = [dilation * 2**i for i in range(5)]
    network = wavenet(cycle=cycle, cycles=2, first_kernel=first_kernel)
    weights = sum(p.numel() for p in network.parameters() if p.ndim == 3)
    stepper = Stepper(network, 3)
    with FlopCounterMode(display=False) as counter:
        stepper(torch.zeros(3, 6, 1, dtype=torch.float64))
    assert counter.get_total_flops() == 2 * 3 * weights
    field = receptive_field(network.windows)
    steps = field - first_kernel
    assert stepper.stored == 3 * (4 * steps + 6 * (first_kernel - 1))
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(3, 6, field, dtype=torch.float64))
    assert counter.get_total_flops() == 2 * 3 * weights * field


@given(numbers(1, 5), numbers(1, 6), numbers(1, 30))
def test_a_queue_gives_what_the_taps_see(kernel, dilation, steps):
    queue = Queue(kernel, dilation, torch.zeros(2, 3, 1))
    x = torch.rand(2, 3, steps)
    for t in range(steps):
        seen = queue.push(x[..., t : t + 1])
        assert seen.shape == (2, 3, kernel)
        for tap in range(kernel):
            place = t - (kernel - 1 - tap) * dilation
            expected = x[..., place] if place >= 0 else torch.zeros(2, 3)
            assert torch.equal(seen[..., tap], expected)


# ---- generation


@pytest.mark.parametrize("batch", [1, 3])
def test_generation_is_the_full_computation_again_and_again(batch):
    network = wavenet(cycle=(1, 2, 4), cycles=2)
    given_ = torch.eye(6).double()[torch.arange(4 * batch).view(batch, 4) % 6]
    given_ = given_.mT.contiguous()
    found = generate(network, given_, 25, choose=most_likely)
    assert found.shape == (batch, 6, 25)
    assert found.dtype == torch.float64
    assert torch.equal(found.sum(1), torch.ones(batch, 25).double())
    x = given_
    with torch.no_grad():
        for step in range(25):
            chosen = network(x)[..., -1].argmax(1)
            assert torch.equal(chosen, found[..., step].argmax(1))
            x = torch.cat([x, found[..., step : step + 1]], 2)


def test_drawn_classes_have_their_shares():
    shares = torch.tensor([0.1, 0.2, 0.7])
    logits = shares.log().expand(4000, 3)
    generator = torch.Generator().manual_seed(0)
    found = drawn(logits, generator=generator).mean(0)
    torch.testing.assert_close(found, shares, rtol=0, atol=0.03)
    cold = drawn(logits, temperature=0.5, generator=generator).mean(0)
    squares = shares.square() / shares.square().sum()
    torch.testing.assert_close(cold, squares, rtol=0, atol=0.03)
    generator.manual_seed(7)
    one = drawn(logits, generator=generator)
    assert torch.equal(one, drawn(logits, generator=generator.manual_seed(7)))


# ---- errors


class Twice(nn.Module):
    def __init__(self, step):
        super().__init__()
        self.step = step
        self.conv = CausalConv1d(2, 2, 2)

    def forward(self, x):
        return self.step(self.conv, x)


@pytest.mark.parametrize(
    "step", [lambda conv, x: conv(conv(x)), lambda conv, x: x]
)
def test_each_layer_is_called_once_a_step(step):
    stepper = Stepper(Twice(step))
    with pytest.raises(ValueError, match="calls a causal layer twice, or not"):
        stepper(torch.zeros(1, 2, 1))


def test_a_network_with_weight_normalisation_stays_as_it_was():
    network, x = TCN(widths=(4,), kernel=3).eval(), torch.randn(1, 2, 9)
    before = [*network.state_dict()], network(x)
    torch.testing.assert_close(Stepper(network)(x), before[1])
    torch.testing.assert_close(Stepper(network)(x), before[1])
    assert [*network.state_dict()] == before[0]
    network(x).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_a_layer_with_two_names_is_called_twice():
    layer = CausalConv1d(2, 2, 2)
    stepper = Stepper(nn.Sequential(layer, layer))  # two queues, and right
    x = torch.randn(1, 2, 9)
    torch.testing.assert_close(stepper(x), layer(layer(x)))
    block = nn.Sequential(layer)
    with pytest.raises(ValueError, match="twice, or not at all"):
        Stepper(nn.Sequential(block, block))(x)


STEPPER = Stepper(CausalConv1d(2, 2, 3, dilation=4), 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: STEPPER(torch.zeros(3, 2, 5)),
            r"x of shape \(3, 2, 5\).* memory of batch=2 sequences",
        ),
        (lambda: STEPPER(torch.zeros(2, 2, 0)), "T at least 1"),
        (lambda: STEPPER(torch.zeros(2, 5)), "must be a batch of sequences"),
        (
            lambda: Queue(2, 3, torch.zeros(2, 3, 1)).push(
                torch.ones(1, 3, 1)
            ),
            r"x of shape \(1, 3, 1\): .*shape \(2, 3, 1\)",
        ),
        (
            lambda: Queue(1, 3, torch.zeros(2, 3, 1)).push(
                torch.ones(2, 3, 2)
            ),
            r"x of shape \(2, 3, 2\)",
        ),
        (lambda: Stepper(nn.ReLU(), 0), "batch=0"),
        (
            lambda: Stepper(nn.Sequential(nn.Conv1d(2, 2, 3, padding=1))),
            "network: Conv1d '0' may see several steps",
        ),
        (
            lambda: Stepper(nn.Sequential(nn.Conv1d(2, 2, 1, 2))),
            "Conv1d '0' may see",
        ),
        (
            lambda: Stepper(nn.Sequential(nn.Conv1d(2, 2, 1, padding=1))),
            "Conv1d '0' may see",
        ),
        (lambda: Stepper(nn.MaxPool1d(2)), "MaxPool1d '' may see"),
        (
            lambda: Stepper(Separator(4, bottleneck=4, hidden=4, blocks=1)),
            r"GlobalNorm 'blocks\.0\.inner\.0\.2' may see",
        ),
        (
            lambda: generate(
                wavenet(), torch.zeros(1, 6, 1), 0, choose=most_likely
            ),
            "steps=0",
        ),
        (
            lambda: generate(
                wavenet(), torch.zeros(1, 6, 0), 1, choose=most_likely
            ),
            "T at least 1",
        ),
        (lambda: drawn(torch.zeros(1, 2), temperature=0), "temperature=0"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
