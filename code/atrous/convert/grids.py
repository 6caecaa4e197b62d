"""What is known of the maps of a network: their strides and layouts."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple

from torch import fx

from atrous.convert.tracing import TracedOp, dynamic

SPATIAL = {"H", "W"}  # letters of a layout


class Grid(NamedTuple):
    """What is known of a map in the new network.

    Attributes:
        stride: Input pixels between its places; None after a layer without
            a rule, which is allowed while no dilation is pending.
        dilation: The pending dilation: places to one of the old network's.
        size: A node, and how many rows and columns more than its output.
        layout: A letter for each dimension; H and W are height and width.
    """

    stride: int | Fraction | None
    dilation: int
    size: tuple[fx.Node, int, int]
    layout: str = "BCHW"

    def grown(self, rows: int, columns: int) -> "Grid":
        """The same grid with that many more rows and columns."""
        node, down, across = self.size
        return self._replace(size=(node, down + rows, across + columns))

    def spatial(self, dims: Iterable[int]) -> set[str]:
        """Which of height and width are among some dimensions."""
        return {self.layout[d] for d in dims} & SPATIAL

    @property
    def from_the_end(self) -> tuple[int, int]:
        """Where height and width are, counted from the last dimension."""
        return tuple(self.layout.index(d) - len(self.layout) for d in "HW")

    @property
    def old(self) -> tuple[slice | Any, ...]:
        """Index of the places that the old network has."""
        step = dict.fromkeys("HW", slice(None, None, self.dilation))
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
    """Rows or columns left out: `start` in front, and -`stop` at the end."""

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
    """The stride of a slice of rows or columns, and what it leaves out.

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
