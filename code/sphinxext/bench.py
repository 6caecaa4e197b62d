"""What `make bench` measured of whole networks, as tables.

```{bench}
```

is replaced by one table a network of chapters/bench.json, with the machine
that it was measured on.
"""

import json
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

STORED = "chapters/bench.json"
COLUMNS = {  # of a way to run a network: heading, and how a cell is written
    "1 threads": ("time, one thread", "{:.2f}"),
    "2 threads": ("time, two threads", "{:.2f}"),
    "first": ("first output", "{:.1f}"),
    "gib": ("memory, GiB", "{:.1f}"),
    "same": ("decisions kept", "{:.3%}"),
    "differs": ("largest difference", "{:.0e}"),
}


def tables(section: dict | None) -> list[str]:
    """Markdown of the tables, a heading in bold before each."""
    if section is None:
        return ["Not measured yet; `make bench` does it."]
    lines = [f"Measured on {', '.join(section['machine'].values())}.", ""]
    for name, ways in section["found"].items():
        keys = [key for key in COLUMNS if key in next(iter(ways.values()))]
        header = ["", *(COLUMNS[key][0] for key in keys)]
        rows = [header, ["---"] * len(header)]
        for way, row in ways.items():
            cells = (COLUMNS[key][1].format(row[key]) for key in keys)
            rows.append([way, *cells])
        lines += [f"**{name}**", ""]
        lines += [f"| {' | '.join(row)} |" for row in rows] + [""]
    return lines


class Bench(SphinxDirective):
    """The tables of the section "networks"."""

    def run(self) -> list:
        """Parse the tables where the directive stands."""
        path = Path(self.env.srcdir, STORED)
        self.env.note_dependency(str(path))
        stored = json.loads(path.read_text(encoding="utf-8"))
        return self.parse_text_to_nodes(
            "\n".join(tables(stored.get("networks")))
        )


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.add_directive("bench", Bench)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
