"""What a run says of itself where it is not what one process would do.

Order, views and losses do not depend on how many processes share a batch,
nor in how many parts it comes. Two things do.
"""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from atrous.recipes.recipe import Recipe

Share = tuple[int, int]  # processes, and parts that each takes in turn


def remarks(
    network: nn.Module,
    recipe: Recipe,
    share: Share,
    before: Share | None = None,
) -> list[str]:
    """Sentences on what depends on how a batch is shared.

    Args:
        network: Of the recipe, on this process.
        recipe: What is trained.
        share: How its batch is shared now.
        before: How it was when the state was saved that the run goes on
            from; None if it begins, or does not know.
    """
    processes, parts = share
    changed = before is not None and before != share
    found = []
    if changed:
        found.append(
            f"so far on {before[0]} processes in {before[1]} parts each: "
            "the steps are the same up to rounding, which training amplifies"
        )
    if parts > 1 and recipe.normalisation == "batch" and _has_norms(network):
        seen = -(-recipe.batch // parts)
        found.append(
            f"batch normalisation sees up to {seen} of {recipe.batch} "
            "pictures at a time, and not the batch that the recipe means: "
            "more processes or a larger --per-device mend it"
        )
    if (changed or processes * parts > 1) and _drops(network):
        found.append(
            "dropout draws for each process and part: on another number of "
            "them the result differs as with another --seed"
        )
    return found


def _has_norms(network: nn.Module) -> bool:
    return any(isinstance(m, _BatchNorm) for m in network.modules())


def _drops(network: nn.Module) -> bool:
    return any(isinstance(m, _DropoutNd) and m.p for m in network.modules())
