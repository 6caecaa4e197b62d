"""Tables that a chapter shows: a page renders them, a terminal prints them.

Imported by chapters only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header; numbers are set flush right.

    Show one by making it the last line of a cell. A float shows four
    significant digits, a whole one too: 1.000 is a measured number, 1 a
    count. From a thousand it is whole. Format it first for anything else.

    Raises:
        ValueError: If a row is not as long as the header.
    """

    header: Sequence[str]
    rows: Iterable[Sequence[object]]

    def __post_init__(self):
        rows = tuple(tuple(row) for row in self.rows)
        for number, row in enumerate(rows, 1):
            if len(row) != len(self.header):
                raise ValueError(
                    f"row {number} has {len(row)} cells, the header "
                    f"{len(self.header)}"
                )
        object.__setattr__(self, "rows", rows)

    def _repr_markdown_(self) -> str:
        right = [
            all(isinstance(row[i], int | float) for row in self.rows)
            for i in range(len(self.header))
        ]
        rule = ["--:" if flush else ":--" for flush in right]
        rows = [self.header, *([*map(_text, r)] for r in self.rows)]
        head, *body = ([c.replace("|", r"\|") for c in row] for row in rows)
        return "\n".join(
            "| " + " | ".join(line) + " |" for line in (head, rule, *body)
        )

    def __repr__(self) -> str:
        lines = [
            tuple(self.header),
            *(tuple(map(_text, r)) for r in self.rows),
        ]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True))
            for line in lines
        )


def _text(cell: object) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 999.5 else f"{cell:#.4g}"
    return str(cell)
