"""What `code/benchmarks/surgery.py --store` found of others' backbones.

```{surgery}
```

is replaced by what chapters/surgery.json holds: the names of the networks
that `dilate` keeps exact, and a table of the others with the reason.
"""

import json
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

STORED = "chapters/surgery.json"


def table(stored: dict) -> list[str]:
    """Markdown of what was found."""
    versions = ", ".join(f"{n} {v}" for n, v in stored["versions"].items())
    networks = stored["networks"]
    exact = [n for n, row in networks.items() if row["kind"] == "exact"]
    worst = max(networks[name]["error"] for name in exact)
    lines = [
        f"Of {len(networks)} backbones, filled with numbers and without "
        f"their classifier, brought to output stride 8 ({versions}), "
        f"{len(exact)} are exact, to {worst:.0e} of the largest value in "
        "float64:",
        "",
        *by_library(exact),
        "",
        "| network | | deviation | why |",
        "|---|---|---|---|",
    ]
    for name, row in networks.items():
        if row["kind"] != "exact":
            error = f"{row['error']:.1e}" if "error" in row else ""
            why = row.get("why", "").replace("|", "\\|").replace("_", "\\_")
            lines.append(f"| {name} | {row['kind']} | {error} | {why} |")
    return lines


def by_library(networks: list[str]) -> list[str]:
    """Markdown of networks called "library/name", an item a library."""
    libraries = {}
    for network in networks:
        library, _, name = network.partition("/")
        libraries.setdefault(library, []).append(name)
    return [f"- {one}: {', '.join(names)}" for one, names in libraries.items()]


class Surgery(SphinxDirective):
    """The table, where the directive stands."""

    def run(self) -> list:
        """Parse the table where the directive stands."""
        path = Path(self.env.srcdir, STORED)
        self.env.note_dependency(str(path))
        stored = json.loads(path.read_text(encoding="utf-8"))
        return self.parse_text_to_nodes("\n".join(table(stored)))


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.add_directive("surgery", Surgery)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
