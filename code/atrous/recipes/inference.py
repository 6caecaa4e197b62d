"""What a trained network says of a whole picture, as a recipe's test has it.

A picture goes through the network at several sizes, mirrored as well, whole
or in overlapping tiles; what comes out is brought to its size and fused.
"""

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from atrous.datasets import geometry
from atrous.ops.upsampling import resize
from atrous.recipes.recipe import Evaluation, Recipe

OVERLAP = 1 / 3  # of a tile's side, with the next one
FUSED = {  # what is made of logits (1, C, H, W) before they are fused
    "probabilities": lambda z: z.softmax(1),
    "log probabilities": lambda z: z.log_softmax(1),
    "logits": lambda z: z,
    "maximum": lambda z: z,
}


@torch.no_grad()
def pixel_scores(
    network: nn.Module, recipe: Recipe, picture: Tensor
) -> Tensor:
    """Scores of the classes of each pixel, (C, H, W), or of an edge, (H, W).

    Args:
        network: In evaluation mode: a segmenter, or a detector of edges.
        recipe: Its pixels and evaluation are what counts.
        picture: (3, H, W) in 0..1, on the network's device.

    Returns:
        Of a segmenter the mean over sizes and mirror images of what
        `evaluation.fusion` names, or the largest logits; of a detector the
        mean probability of an edge.

    Raises:
        ValueError: If the picture has another shape.
    """
    if picture.ndim != 3 or picture.shape[0] != 3:
        raise ValueError(
            f"picture of shape {tuple(picture.shape)}: must be (3, H, W)"
        )
    test, size = recipe.evaluation, picture.shape[1:]
    edges = recipe.loss.kind == "edges"
    total, count = None, 0
    for scale, mirrored in views(test):
        seen = _scaled(picture, scale)
        seen = seen.flip(2) if mirrored else seen
        z = in_tiles(network, recipe.pixels(seen)[None], test.tile)
        z = z.flip(3) if mirrored else z
        z = resize(z, size) if z.shape[2:] != size else z
        z = z[:, -1:].sigmoid() if edges else FUSED[test.fusion](z)
        if total is None:
            total = z
        elif test.fusion == "maximum" and not edges:
            total = torch.maximum(total, z)
        else:
            total = total + z
        count += 1
    if test.fusion != "maximum" or edges:
        total = total / count
    return total[0, 0] if edges else total[0]


@torch.no_grad()
def picture_scores(
    network: nn.Module, recipe: Recipe, picture: Tensor
) -> Tensor:
    """Logits of a classifier for the middle of a picture, (C,).

    The shorter side is brought to `evaluation.resize`, and a square of side
    `evaluation.crop` is cut out of the middle.
    """
    test, (height, width) = recipe.evaluation, picture.shape[1:]
    if test.resize:
        short = min(height, width)
        size = [round(n * test.resize / short) for n in (height, width)]
        picture = geometry.resize_picture(picture, size, antialias=True)
    if test.crop:
        top, left = ((n - test.crop) // 2 for n in picture.shape[1:])
        if min(top, left) < 0:
            raise ValueError(
                f"evaluation.crop={test.crop}: the picture has "
                f"{tuple(picture.shape[1:])} pixels; evaluation.resize="
                f"{test.resize} must be as large"
            )
        rows = slice(top, top + test.crop)
        columns = slice(left, left + test.crop)
        picture = picture[:, rows, columns]
    return network(recipe.pixels(picture)[None])[0]


def views(test: Evaluation) -> Iterator[tuple[float, bool]]:
    """Sizes, and whether mirrored: everything that is fused."""
    mirrored = (False, True) if test.flip else (False,)
    return itertools.product(test.scales, mirrored)


def in_tiles(
    network: Callable[[Tensor], Tensor], x: Tensor, side: int
) -> Tensor:
    """Apply a network to tiles and take means where they overlap.

    Args:
        network: Maps (1, 3, h, w) to (1, C, h, w).
        x: (1, 3, H, W).
        side: Of a tile, in pixels; 0 for x as a whole.
    """
    if not side or max(x.shape[2:]) <= side:
        return network(x)
    total, count = None, x.new_zeros(1, 1, *x.shape[2:])
    starts = (tile_starts(length, side) for length in x.shape[2:])
    for top, left in itertools.product(*starts):
        place = ..., slice(top, top + side), slice(left, left + side)
        z = network(x[place])
        if total is None:
            total = z.new_zeros(1, z.shape[1], *x.shape[2:])
        total[place] += z
        count[place] += 1
    return total / count


def tile_starts(length: int, side: int) -> list[int]:
    """Where tiles begin: evenly spread, none further than two thirds."""
    if length <= side:
        return [0]
    steps = math.ceil((length - side) / (side * (1 - OVERLAP)))
    return [round(i * (length - side) / steps) for i in range(steps + 1)]


def _scaled(picture: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return picture
    size = [max(1, round(n * scale)) for n in picture.shape[1:]]
    return geometry.resize_picture(picture, size, antialias=False)
