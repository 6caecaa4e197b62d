"""The commands `list` and `show`: which recipes there are, and one of them."""

import argparse
import sys

import torch

from atrous.recipes.building import build
from atrous.recipes.plain_data import override
from atrous.recipes.published import RECIPES, recipe
from atrous.recipes.settings import takes_changes

HELP = "print a recipe: its values and where they come from"
LIST_HELP = "name all recipes"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `show` takes."""
    parser.add_argument("name", help="of a recipe; see `list`")
    takes_changes(parser)
    parser.add_argument(
        "--json", action="store_true", help="as JSON, and not as a table"
    )


def run(given: argparse.Namespace) -> None:
    """Print a recipe.

    Raises:
        ValueError: If the name or a path is unknown, or a value wrong.
    """
    chosen = recipe(given.name)
    for setting in given.set:
        chosen = override(chosen, setting)
    if given.set:  # its options are its own, and known by no data class
        with torch.device("meta"):
            build(chosen.network)
    text = chosen.to_json() if given.json else chosen.table() + "\n"
    sys.stdout.write(text)


def names(given: argparse.Namespace) -> None:
    """Print the names of all recipes, each with its paper and its aim."""
    width = max(map(len, RECIPES))
    for name, found in RECIPES.items():
        aim = found.aims[0]
        sys.stdout.write(
            f"{name:{width}}  {found.paper}: {aim.value} {aim.what}\n"
        )
