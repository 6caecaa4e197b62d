"""What is known of the maps of a network: their strides and layouts."""

import operator
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple

from torch import fx

from atrous.convert.tracing import TracedOp, dynamic

# Letters of the axes of a layout, by their number: sequences have steps T.
LETTERS = {1: "T", 2: "HW", 3: "DHW"}
SPATIAL = {*"DHWT"}


class Grid(NamedTuple):
    """What is known of a map in the new network.

    Attributes:
        stride: Input pixels between its places; None after a layer without
            a rule, which is allowed while no dilation is pending.
        dilation: The pending dilation: places to one of the old network's.
        size: A node, and how many places more than its output along each
            axis.
        layout: A letter for each dimension; those of `LETTERS` are axes.
    """

    stride: int | Fraction | None
    dilation: int
    size: tuple
    layout: str

    @classmethod
    def of(cls, node: fx.Node, axes: int, stride: int | None = 1) -> "Grid":
        """The grid of a map (B, C, *sides), of the size of its node."""
        size = (node, *(0,) * axes)
        return cls(stride, 1, size, "BC" + LETTERS[axes])

    @property
    def axes(self) -> str:
        """The letters of its axes, in their order."""
        return LETTERS[len(self.size) - 1]

    def grown(self, *more: int) -> "Grid":
        """The same grid with that many more places along each axis."""
        node, *before = self.size
        return self._replace(size=(node, *map(operator.add, before, more)))

    def sized(self, node: fx.Node) -> "Grid":
        """The same grid, of the size of a node's output."""
        return self._replace(size=(node, *(0,) * len(self.axes)))

    def spatial(self, dims: Iterable[int]) -> set[str]:
        """Which axes are among some dimensions."""
        return {self.layout[d] for d in dims} & SPATIAL

    @property
    def from_the_end(self) -> tuple[int, ...]:
        """Where its axes are, counted from the last dimension."""
        return tuple(
            self.layout.index(d) - len(self.layout) for d in self.axes
        )

    @property
    def axes_are_last(self) -> bool:
        """Whether its axes are the last dimensions, in their order."""
        return self.layout.endswith(self.axes)

    @property
    def old(self) -> tuple[slice | Any, ...]:
        """Index of the places that the old network has."""
        step = dict.fromkeys(self.axes, slice(None, None, self.dilation))
        return tuple(step.get(d, slice(None)) for d in self.layout)


class Size(NamedTuple):
    """The size of a map, or of some of its dimensions.

    Attributes:
        layer: That asks for it.
        grid: Of the map.
        letters: The dimensions, as in the map's layout.
    """

    layer: TracedOp
    grid: Grid
    letters: str


class Bounds(NamedTuple):
    """Places of an axis left out: `start` in front, -`stop` at the end."""

    start: int
    stop: int
    letter: str


def several(value: Any) -> tuple:
    """An option that may be one number, as a tuple."""
    return (
        tuple(value) if isinstance(value, tuple | list | range) else (value,)
    )


def without(layout: str, dims: Iterable[int]) -> str:
    """A layout without some dimensions."""
    left_out = {d % len(layout) for d in dims}
    return "".join(c for d, c in enumerate(layout) if d not in left_out)


def spelt_out(index: tuple, dims: int) -> list:
    """An index with a part for every dimension."""
    index = [*index]
    if not any(part is Ellipsis for part in index):
        index.append(Ellipsis)
    at = next(i for i, part in enumerate(index) if part is Ellipsis)
    given = sum(part is not None for part in index) - 1
    index[at : at + 1] = [slice(None)] * (dims - given)
    return index


def bounds(part: Any, letter: str) -> tuple[int | None, Bounds | None]:
    """The stride of a slice along an axis, and what it leaves out.

    None for what is no slice, or one whose bounds are not known, or that
    ends at a place counted from the first.
    """
    if not isinstance(part, slice):
        return None, None
    start, stop, step = part.start or 0, part.stop, part.step or 1
    known = not any(map(dynamic, (start, stop, step)))
    if not known or start < 0 or (stop is not None and stop >= 0):
        return None, None
    return step, Bounds(start, stop or 0, letter)
