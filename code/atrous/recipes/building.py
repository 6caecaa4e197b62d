"""The network of a recipe, and the weights that it starts from."""

from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from atrous import zoo
from atrous.convert.checkpoints import load_checkpoint
from atrous.recipes.recipe import Initial, Network, Recipe
from atrous.segmentation.base import MultiScale


def build(network: Network, **options) -> nn.Module:
    """The network with fresh weights.

    Args:
        network: What a recipe says.
        options: Options that are others than the recipe's, such as those of
            its evaluation.

    Raises:
        ValueError: As `atrous.zoo.build`; or if the network does not take an
            option, or not such a value.
    """
    options = {**network.options, **options}
    try:
        built = zoo.build(network.name, **options)
    except TypeError as error:
        raise ValueError(
            f"network.options={options}: {network.name!r} does not take "
            f"them: {error}; --set network.options.NAME=VALUE replaces one"
        ) from error
    if network.scales == (1.0,):
        return built
    return MultiScale(built, scales=network.scales)


def part(network: nn.Module, initial: Initial) -> nn.Module:
    """The module of a network that initial weights fill.

    Raises:
        ValueError: If there is no such part, or no child of that name in it.
    """
    if isinstance(network, MultiScale):
        network = network.network
    try:
        found = network.get_submodule(initial.part)
    except AttributeError as error:
        raise ValueError(
            f"network.initial.part={initial.part!r}: {error}"
        ) from error
    if not initial.last:
        return found
    children = OrderedDict(found.named_children())
    if initial.last not in children:
        raise ValueError(
            f"network.initial.last={initial.last!r}: must be one of "
            f"{[*children]}"
        )
    end = [*children].index(initial.last) + 1
    return nn.Sequential(OrderedDict([*children.items()][:end]))


def start_(
    network: nn.Module,
    recipe: Recipe,
    *,
    file: str | Path | None = None,
    from_scratch: bool = False,
) -> str:
    """Fill a network with the weights that its recipe starts from, in place.

    Args:
        network: What `build` gave.
        recipe: What it was built of.
        file: Where the weights are; as `load_checkpoint` takes it.
        from_scratch: Keep fresh weights, whatever the recipe says.

    Returns:
        What it starts from, in words.

    Raises:
        ValueError: If the recipe starts from weights and there are none, or
            the other way round, or they do not fit.
        FileNotFoundError: If there is no such file.
    """
    initial = recipe.network.initial
    if file is None:
        if initial is None:
            return "starts from fresh weights"
        if not from_scratch:
            raise ValueError(
                f"{recipe.name} starts from {initial.what}, and no file is "
                "given: name one by --init FILE, or take fresh weights by "
                "--from-scratch, which will not give the published result"
            )
        return (
            f"STARTS FROM FRESH WEIGHTS, not from {initial.what}: the "
            "published result is not to be expected"
        )
    if from_scratch:
        raise ValueError(f"--init {file} and --from-scratch: must be one")
    # A recipe that starts from scratch can be taken up from a whole network.
    initial = initial or Initial("a whole network")
    load_checkpoint(part(network, initial), file, skip=initial.skip)
    return f"starts from {file} as {initial.what}"


@torch.no_grad()
def count(network: nn.Module) -> tuple[int, int]:
    """Parameters of a network, and how many of them are trained."""
    sizes = [(p.numel(), p.requires_grad) for p in network.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained)
