"""Label maps and strokes of three photographs, drawn by hand for this book.

painted.json holds polygons in the order in which they cover one another, and
sets of strokes, lines through the middle of things; both as corners (x, y)
in pixels. What belongs to no class is "ignored".
"""

import functools
import itertools
import json
from pathlib import Path

import numpy as np
import torch
from skimage.draw import disk, line, polygon
from torch import Tensor

from atrous.datasets.pairs import IGNORE

FILE = Path(__file__).with_name("painted.json")


@functools.cache
def _painted() -> dict[str, dict]:
    return json.loads(FILE.read_text(encoding="utf-8"))


def names() -> tuple[str, ...]:
    """The photographs that are painted, names of `photographs.photograph`."""
    return tuple(_painted())


def classes(name: str) -> tuple[str, ...]:
    """Names of a photograph's classes; a label is an index into them.

    Raises:
        ValueError: If no photograph of that name is painted.
    """
    if name not in _painted():
        raise ValueError(f"name={name!r}: painted are {', '.join(_painted())}")
    return tuple(_painted()[name]["classes"])


def labels(name: str) -> Tensor:
    """Label map of a photograph, int64 (1, H, W), IGNORE for no class.

    Edges are right to two or three pixels. Class 0 is what is left where
    nothing is painted.

    Raises:
        ValueError: If no photograph of that name is painted.
    """
    known = classes(name)
    painting = np.zeros(_painted()[name]["size"], dtype=np.int64)
    for word, corners in _painted()[name]["polygons"]:
        x, y = zip(*corners, strict=True)
        inside = polygon(y, x, painting.shape)
        painting[inside] = IGNORE if word == "ignored" else known.index(word)
    return torch.from_numpy(painting)[None]


def stroke_sets(name: str) -> int:
    """How many sets of strokes a photograph has.

    Raises:
        ValueError: If no photograph of that name is painted.
    """
    classes(name)
    return len(_painted()[name]["strokes"])


def strokes(name: str, number: int, *, width: int = 11) -> Tensor:
    """Labels where somebody has drawn, int64 (1, H, W), else IGNORE.

    A set has 13 to 19 strokes and each of the photograph's classes. They were
    drawn by eye, so a few pixels may lie across an edge of `labels`.

    Args:
        name: The photograph.
        number: Which set, from 0.
        width: Of a stroke, pixels.

    Raises:
        ValueError: If no photograph of that name is painted, it has fewer
            sets, or `width` is below 1.
    """
    known, sets = classes(name), stroke_sets(name)
    if not 0 <= number < sets:
        raise ValueError(f"number={number}: {name} has the sets 0..{sets - 1}")
    if width < 1:
        raise ValueError(f"width={width}: must be at least 1")
    drawn = np.full(_painted()[name]["size"], IGNORE)
    for word, corners in _painted()[name]["strokes"][number]:
        for (x0, y0), (x1, y1) in itertools.pairwise(corners):
            for centre in zip(*line(y0, x0, y1, x1), strict=True):
                dot = disk(centre, width / 2, shape=drawn.shape)
                drawn[dot] = known.index(word)
    return torch.from_numpy(drawn)[None]
