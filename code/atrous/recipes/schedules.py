"""The learning rate of each step, and which parameters it is for.

A schedule is a function of time alone, and not, like torch's schedulers, of
the rate before: a run that is taken up again needs no state of it.
"""

import fnmatch
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import Optimizer

from atrous.recipes.recipe import Optimiser, Rule, Schedule

NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


def factor(schedule: Schedule, time: int, length: int) -> float:
    """Factor of the learning rate at a time, 0 to `length` - 1.

    Raises:
        ValueError: If the time is out of range.
    """
    if not 0 <= time < length:
        raise ValueError(f"time={time}: must be in 0..{length - 1}")
    if schedule.kind == "constant":
        return 1.0
    if schedule.kind == "poly":
        every = max(schedule.every, 1)
        return (1 - time // every * every / length) ** schedule.power
    steps = sum(time >= at for at in schedule.at)
    steps += time // schedule.every if schedule.every else 0
    return schedule.factor**steps


def set_rates_(optimizer: Optimizer, share: float) -> None:
    """Set each group's learning rate to a share of its first one, in place."""
    for group in optimizer.param_groups:
        group["lr"] = share * group["initial_lr"]


def parameter_groups(network: nn.Module, optimiser: Optimiser) -> list[dict]:
    """Parameter groups of a network under an optimiser's rules.

    Parameters of the same learning rate and weight decay make a group, which
    says them. Those at a learning rate of 0 are frozen, in place.

    Raises:
        ValueError: If a rule fits no parameter, or nothing is left to train.
    """
    groups: dict[tuple[float, float], list] = {}
    fitted = set()
    for name, parameter, kinds in _described(network):
        lr, decay = optimiser.lr, optimiser.weight_decay
        for number, rule in enumerate(optimiser.rules):
            if _fits(rule, name, kinds):
                fitted.add(number)
                lr, decay = lr * rule.lr, decay * rule.weight_decay
        if lr == 0:
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            groups.setdefault((lr, decay), []).append(parameter)
    for number, rule in enumerate(optimiser.rules):
        if number not in fitted:
            raise ValueError(
                f"optimiser.rules.{number}={rule}: fits no parameter"
            )
    if not groups:
        raise ValueError("optimiser.rules: leave no parameter to train")
    return [
        {
            "params": parameters,
            "lr": lr,
            "initial_lr": lr,
            "weight_decay": decay,
        }
        for (lr, decay), parameters in groups.items()
    ]


def optimizer(network: nn.Module, optimiser: Optimiser) -> Optimizer:
    """The optimiser of a recipe over a network's parameters.

    Raises:
        ValueError: As `parameter_groups`.

    Departs:
        Caffe keeps the learning rate inside the momentum, torch outside: a
        rate that falls takes effect at once here, there after some steps.
    """
    groups = parameter_groups(network, optimiser)
    if optimiser.kind == "adam":
        return torch.optim.Adam(groups, optimiser.lr, betas=optimiser.betas)
    return torch.optim.SGD(
        groups,
        optimiser.lr,
        momentum=optimiser.momentum,
        nesterov=optimiser.nesterov,
    )


def _described(
    network: nn.Module,
) -> Iterator[tuple[str, nn.Parameter, set[str]]]:
    """Name, parameter and kinds of all parameters."""
    modules = dict(network.named_modules())
    for name, parameter in network.named_parameters():
        path, _, last = name.rpartition(".")
        module, kinds = modules[path], {""}
        if isinstance(module, NORMS):
            kinds.add("norm")
        if last == "bias":
            kinds.add("bias")
        yield name, parameter, kinds


def _fits(rule: Rule, name: str, kinds: set[str]) -> bool:
    return rule.kind in kinds and fnmatch.fnmatchcase(name, rule.names)
