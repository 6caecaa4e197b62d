"""All recipes of the book by name."""

import difflib

from atrous.recipes import (
    deeplab,
    edge_networks,
    light_networks,
    residual_networks,
    yu_koltun,
)
from atrous.recipes.recipe import Recipe

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for table in (
        yu_koltun,
        deeplab,
        residual_networks,
        light_networks,
        edge_networks,
    )
    for recipe in table.ALL
}


def recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        ValueError: If there is none; names one like it, and all.
    """
    if name not in RECIPES:
        close = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"; did you mean {close[0]!r}" if close else ""
        raise ValueError(
            f"name={name!r}: no recipe has it{hint}. There are {[*RECIPES]}"
        )
    return RECIPES[name]
