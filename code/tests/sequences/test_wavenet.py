"""WaveNet: both ports, the paper's field, and the unit by definition."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from references import (
    assert_equal,
    count,
    filled,
    record,
    sensitivity,
    sequence,
)

from atrous.arithmetic import coverage, receptive_field, usage
from atrous.experiments.parity import reference_fill_
from atrous.sequences.causal import causal_window
from atrous.sequences.residual_unit import unit_windows
from atrous.sequences.wavenet import GatedUnit, WaveNet, wavenet_plan

PORT = {"weight_norm": True, "kernel": 3}

# ---- the released networks


@torch.no_grad()
def test_the_unit_is_the_ports():
    (plan,) = wavenet_plan(32, cycle=(8,), cycles=1, kernel=3)
    unit = GatedUnit(plan, 32, 48, weight_norm=True, scale=math.sqrt(0.5))
    unit, outputs = filled(unit, "r9y9_wavenet_block_32_k3_d8")
    on, skip = unit(sequence(32, 110))
    assert_equal(on, outputs["out_len110"])
    assert_equal(skip, outputs["skip_len110"])


@torch.no_grad()
def test_the_network_is_r9y9s():
    network = WaveNet(
        skip=48, cycle=(1, 2, 4, 8), cycles=2, scaled=True, **PORT
    )
    network, outputs = filled(network, "r9y9_wavenet_256_l8_s2_k3")
    assert receptive_field(network.windows) == 61
    assert_equal(network(sequence(256, 160)), outputs["out_len160"])


@torch.no_grad()
def test_the_network_is_vincentherrmanns():
    """Which has filters and gates apart, kind by kind, and no padding."""
    reference = record("vincentherrmann_wavenet_l4_b2")
    theirs = {
        name: torch.empty(shape, dtype=torch.float64)
        for _, name, shape in reference["state_dict"]
    }
    reference_fill_(SimpleNamespace(state_dict=lambda: theirs))
    network = WaveNet(
        64,
        channels=32,
        width=24,
        skip=48,
        end=40,
        cycle=(1, 2, 4, 8),
        cycles=2,
        bias=False,
    ).double()
    state = {"first.weight": theirs["start_conv.weight"]}
    for i in range(8):
        halves = [theirs[f"{n}_convs.{i}.weight"] for n in ("filter", "gate")]
        state[f"units.{i}.dilated.weight"] = torch.cat(halves)
        for kind in ("residual", "skip"):
            weight = theirs[f"{kind}_convs.{i}.weight"]
            state[f"units.{i}.{kind}.weight"] = weight
    for ours, end in ((1, "end_conv_1"), (3, "end_conv_2")):
        for kind in ("weight", "bias"):
            state[f"end.{ours}.{kind}"] = theirs[f"{end}.{kind}"]
    network.load_state_dict(state)
    assert count(network) == reference["parameters"]
    assert receptive_field(network.windows) == 31
    y = network(sequence(64, 46))[0, :, -16:].T
    assert_equal(y, reference["outputs"]["out_len46"])


# ---- the field


def test_three_cycles_reach_3070_steps_not_3072():
    network = WaveNet()
    assert receptive_field(network.windows) == 3 * 1023 + 1 == 3070
    milliseconds = 3070 / 16
    assert milliseconds == pytest.approx(192, abs=0.5)
    assert coverage(network.windows, axes=1) == 1
    one = unit_windows(wavenet_plan(1, cycles=1))
    assert usage(one) == (1,) * 1024
    wider = WaveNet(8, channels=2, width=2, skip=2, first_kernel=2)
    assert receptive_field(wider.windows) == 3071


def test_causal_and_no_further_than_the_field():
    network = WaveNet(
        3, channels=6, width=6, skip=6, cycle=(1, 2, 4), cycles=2
    ).double()
    field = receptive_field(network.windows)
    assert field == 15
    x = torch.randn(1, 3, 40, dtype=torch.float64)
    found = sensitivity(network, x, 25)
    assert not found[26:].any()
    assert not found[: 26 - field].any()
    assert (found[26 - field : 26] > 0).all()


# ---- by definition


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@torch.no_grad()
def test_networks_by_definition(scaled, bias):
    network = WaveNet(
        5,
        channels=4,
        width=3,
        skip=6,
        end=7,
        cycle=(3, 1),
        cycles=2,
        first_kernel=2,
        bias=bias,
        scaled=scaled,
    ).double()
    x = torch.randn(2, 5, 20, dtype=torch.float64)
    half, last = (0.5**0.5, 0.25**0.5) if scaled else (1, 1)
    first = network.first
    y = F.conv1d(F.pad(x, (1, 0)), first.weight, first.bias)
    skips = []
    for unit, rate in zip(network.units, (3, 1, 3, 1), strict=True):
        conv = unit.dilated
        z = F.conv1d(
            F.pad(y, (rate, 0)), conv.weight, conv.bias, dilation=rate
        )
        z = z[:, :3].tanh() / (1 + (-z[:, 3:]).exp())
        skips.append(unit.skip(z))
        y = half * (y + unit.residual(z))
        assert (unit.skip.bias is not None) == bias
    total = last * torch.stack(skips).sum(0)
    expected = network.end[3](network.end[1](total.relu()).relu())
    torch.testing.assert_close(network(x), expected)


def test_other_inputs_than_classes():
    network = WaveNet(
        30, inputs=1, channels=4, width=4, skip=8, cycle=(1, 2), cycles=1
    )
    y = network(torch.randn(2, 1, 7))
    assert y.shape == (2, 30, 7)
    y.square().mean().backward()
    missed = [n for n, p in network.named_parameters() if p.grad is None]
    assert missed == ["units.1.residual.weight", "units.1.residual.bias"]


def test_plans():
    plan = wavenet_plan(7, cycle=(1, 4), cycles=3)
    assert unit_windows(plan) == (causal_window(2), causal_window(2, 4)) * 3
    assert {unit.widths for unit in plan} == {(7,)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: WaveNet(0), "classes=0"),
        (lambda: WaveNet(inputs=0), "inputs=0"),
        (lambda: WaveNet(width=0), "width=0"),
        (lambda: WaveNet(channels=0), "channels=0"),
        (lambda: WaveNet(skip=-1), "skip=-1"),
        (lambda: WaveNet(end=0), "end=0"),
        (lambda: WaveNet(cycle=()), r"cycle=\(\): at least one"),
        (lambda: WaveNet(cycle=(1, 0)), "dilation=0"),
        (lambda: WaveNet(cycles=0), "cycles=0"),
        (lambda: WaveNet(kernel=1), "kernel=1"),
        (lambda: WaveNet(first_kernel=0), "kernel=0"),
        (
            lambda: WaveNet(4, cycles=1)(torch.zeros(1, 4, 0)),
            "T at least 1",
        ),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
