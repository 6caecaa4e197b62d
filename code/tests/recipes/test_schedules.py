"""The rate of each step and each parameter: `atrous.recipes.schedules`."""

import re

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import MultiStepLR, PolynomialLR, StepLR

from atrous.recipes.recipe import Optimiser, Rule, Schedule
from atrous.recipes.schedules import (
    factor,
    optimizer,
    parameter_groups,
    set_rates_,
)


def network():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 2, 1)
    )


@pytest.mark.parametrize(
    ("schedule", "scheduler"),
    [
        (Schedule("poly"), lambda o: PolynomialLR(o, 20, power=0.9)),
        (Schedule("poly", power=2), lambda o: PolynomialLR(o, 20, power=2)),
        (Schedule("step", every=6), lambda o: StepLR(o, 6)),
        (
            Schedule("step", at=(3, 11), factor=0.5),
            lambda o: MultiStepLR(o, [3, 11], gamma=0.5),
        ),
        (Schedule(), lambda o: StepLR(o, 100)),
    ],
)
def test_factors_are_those_of_torchs_schedulers(schedule, scheduler):
    other = torch.optim.SGD(network().parameters(), lr=1.0)
    chain = scheduler(other)
    for time in range(20):
        assert factor(schedule, time, 20) == pytest.approx(
            other.param_groups[0]["lr"]
        )
        other.step()
        chain.step()


def test_a_poly_that_is_set_now_and_then_stays_between():
    schedule = Schedule("poly", power=1.0, every=5)
    found = [factor(schedule, time, 20) for time in range(20)]
    assert found == [1.0] * 5 + [0.75] * 5 + [0.5] * 5 + [0.25] * 5


@pytest.mark.parametrize("time", [-1, 20])
def test_times_outside_are_refused(time):
    with pytest.raises(ValueError, match=re.escape(f"time={time}")):
        factor(Schedule(), time, 20)


def test_rules_multiply_and_their_groups_say_so():
    optimiser = Optimiser(
        0.5,
        weight_decay=0.25,
        rules=(
            Rule(kind="bias", lr=2, weight_decay=0),
            Rule("2.*", lr=10),
            Rule(kind="norm", weight_decay=0),
        ),
    )
    found = network()
    groups = parameter_groups(found, optimiser)
    names = {id(p): name for name, p in found.named_parameters()}
    assert {
        (g["lr"], g["initial_lr"], g["weight_decay"]): sorted(
            names[id(p)] for p in g["params"]
        )
        for g in groups
    } == {
        (0.5, 0.5, 0.25): ["0.weight"],
        (1.0, 1.0, 0.0): ["0.bias", "1.bias"],
        (5.0, 5.0, 0.25): ["2.weight"],
        (10.0, 10.0, 0.0): ["2.bias"],
        (0.5, 0.5, 0.0): ["1.weight"],
    }


def test_a_rate_of_nothing_freezes():
    found = network()
    frozen = parameter_groups(found, Optimiser(1, rules=(Rule("0.*", lr=0),)))
    assert sum(len(g["params"]) for g in frozen) == 4
    assert not found[0].weight.requires_grad
    with pytest.raises(ValueError, match="leave no parameter to train"):
        parameter_groups(found, Optimiser(1, rules=(Rule(lr=0),)))


def test_a_rule_that_fits_nothing_is_named():
    rules = (Rule("2.*"), Rule("head.*", lr=10))
    with pytest.raises(ValueError, match=r"rules\.1=Rule\(names='head\.\*'"):
        parameter_groups(network(), Optimiser(1, rules=rules))


def test_steps_are_those_of_the_kind_and_rates_are_shares_of_the_first():
    """One weight and a gradient of 1: the moves are known."""
    moves = {
        # 0.1, then 0.05 of a momentum of 0.9 + 1
        "sgd": (Optimiser(0.1), [-0.1, -0.1 - 0.05 * 1.9]),
        "adam": (Optimiser(0.1, kind="adam"), [-0.1, -0.15]),
        "nesterov": (
            Optimiser(0.1, nesterov=True),
            [-0.1 * 1.9, -0.19 - 0.05 * (1 + 0.9 * 1.9)],
        ),
    }
    for given, expected in moves.values():
        found = nn.Linear(1, 1, bias=False).double()
        nn.init.zeros_(found.weight)
        steps = optimizer(found, given)
        for share, value in zip((1, 0.5), expected, strict=True):
            set_rates_(steps, share)
            found.weight.grad = torch.ones_like(found.weight)
            steps.step()
            assert found.weight.item() == pytest.approx(value, abs=1e-6)
