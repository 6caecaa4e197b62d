"""Label maps of three photographs, painted by hand for this book.

painted.json holds polygons in the order in which they cover one another,
corners as (x, y) in pixels. What belongs to no class is "ignored".
"""

import functools
import json
from pathlib import Path

import numpy as np
import torch
from skimage.draw import polygon
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
