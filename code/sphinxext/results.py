"""The results page: a ledger of claims, and all tables that are stored.

The tables are those that `atrous.experiments.tables.Table` has shown, read
from the notebooks' outputs in the order of the table of contents. A claim
stands in the metadata of the cell that judges it, and names a row of the
cell's table, from which the ledger takes the figures and the verdict:

    claims:
    - says: what is claimed
      source: where, in which paper
      paper: the paper's own figures, or nothing
      row: the first cells of a row, joined by ", "
      over: over what its mean was taken, where that is not seeds
      but: what the chapter says against its own verdict, or nothing

A table's caption is the `caption` of its cell's metadata, or else the heading
above it. What was computed over seeds adds how many they were, and the task.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from myst_parser.mdit_to_docutils.base import compute_unique_slug
from sphinx.application import Sphinx

from provenance import Origin, Tracer

PAGE = "book/results"
FOLDER = "chapters"
INTERVAL = "95 % interval"  # the mean stands before it, the verdict after it
LEDGER = "<!-- the ledger -->"  # where the page wants it
CONTENTS = "<!-- the contents -->"
TASK = "{func}`%s <atrous.experiments.tasks.%s>`"
HEADER = (
    "| claim | verdict | here: mean (95 % interval) | over | paper "
    "| its figures | section |\n|---|---|---|---|---|---|---|"
)
WORDS = {  # what a verdict says of a claim that something is better
    "gain": "holds here",
    "loss": "the opposite here",
    "no gain": "not seen",
    "no loss": "not decided; no loss",
    "not decided": "not decided",
}
NARROW = "no loss; a gain on this machine, not on every one"


@dataclass(frozen=True)
class Found:
    """A stored table: under which heading, and how far it may differ."""

    heading: str
    slug: str
    caption: str
    table: str
    tolerance: float | None


def sections(
    notebook: nbformat.NotebookNode,
) -> Iterator[tuple[nbformat.NotebookNode, str, str]]:
    """Each cell of a notebook, with the last heading and its slug.

    The slug is that by which MyST lets other pages link to a heading.
    """
    heading = slug = ""
    slugs = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for node in SyntaxTreeNode(MarkdownIt().parse(cell.source)):
                if node.type == "heading":
                    heading = node.children[0].content
                    slug = compute_unique_slug(node, slugs)
                    slugs.append(slug)
        yield cell, heading, slug


def shown(cell: nbformat.NotebookNode) -> list[str]:
    """The tables that a cell has shown."""
    texts = (
        output.get("data", {}).get("text/markdown", "")
        for output in cell.get("outputs", ())
    )
    return [text for text in texts if text.startswith("| ")]


def seeds(origin: Origin, table: str) -> str:
    """Over how many seeds a table was computed, on which task; or ""."""
    if not origin.seeds:
        return ""
    count = " and ".join(map(str, sorted(origin.seeds)))
    names = [TASK % (name, name) for name in sorted(origin.tasks)]
    task = f"task{'s' * (len(names) > 1)} {' and '.join(names)}"
    over = "Mean ± standard deviation over" if "±" in table else "Over"
    return f" {over} {count} seeds" + (f", {task}." if names else ".")


def tables(notebook: nbformat.NotebookNode) -> list[Found]:
    """The stored tables of a notebook."""
    found, tracer = [], Tracer()
    for cell, heading, slug in sections(notebook):
        if cell.cell_type != "code":
            continue
        origin = tracer.read(cell.source)
        said = cell.metadata.get("caption", f"{heading}.")
        tolerance = cell.metadata.get("nbval", {}).get("atol")
        for table in shown(cell):
            caption = said + seeds(origin, table)
            found.append(Found(heading, slug, caption, table, tolerance))
    return found


def judged(table: str, row: str) -> tuple[str, str, str]:
    """Mean, interval and verdict in the row of a table that begins so.

    Raises:
        ValueError: If there is no interval, or not one such row.
    """
    lines = [
        [cell.strip().replace("\\|", "|") for cell in line[1:-1].split(" | ")]
        for line in table.splitlines()
    ]
    header, _, *rows = lines
    if INTERVAL not in header:
        raise ValueError(f"claim {row!r}: its table has no {INTERVAL}")
    at = header.index(INTERVAL)
    names = [", ".join(cells[: at - 1]) for cells in rows]
    # All of a row's name, or the beginning of it.
    found = [i for i, name in enumerate(names) if name == row] or [
        i for i, name in enumerate(names) if name.startswith(f"{row}, ")
    ]
    if len(found) != 1:
        raise ValueError(f"claim {row!r}: {len(found)} rows begin so")
    return tuple(rows[found[0]][at - 1 : at + 2])


def verdict_words(interval: str, verdict: str) -> str:
    """What a table's verdict says of a claim that something is better."""
    low, high = map(float, interval.split(" to "))
    if verdict == "no loss" and not low <= 0 <= high:
        return NARROW
    return WORDS[verdict]


def ledger(name: str, notebook: nbformat.NotebookNode) -> list[str]:
    """Rows of the ledger, one a claim of the chapter.

    Raises:
        ValueError: As `judged`, or if a cell with claims shows no table.
    """
    lines, tracer = [], Tracer()
    for cell, heading, slug in sections(notebook):
        if cell.cell_type == "code":
            seeds = sorted(tracer.read(cell.source).seeds)
        for claim in cell.metadata.get("claims", ()):
            if not shown(cell):
                raise ValueError(f"claim {claim['row']!r}: no table is shown")
            mean, interval, verdict = judged(shown(cell)[-1], claim["row"])
            own = claim["source"].startswith("this book")
            count = f"{' and '.join(map(str, seeds))} seeds"
            words = verdict_words(interval, verdict)
            cells = (
                claim["says"],
                f"{words}; but {claim['but']}" if "but" in claim else words,
                f"{mean} ({interval})",
                claim.get("over", count),
                claim["source"],
                str(claim.get("paper", "" if own else "none")),
                f"[{heading}](../{FOLDER}/{name}.md#{slug})",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def title(notebook: nbformat.NotebookNode) -> str:
    """The title of a chapter."""
    return next(heading for _, heading, _ in sections(notebook) if heading)


def target(name: str, slug: str = "") -> str:
    """What leads on this page to a chapter's tables, or to a section's."""
    return f"tables-{name}-{slug}" if slug else f"tables-{name}"


def contents(name: str, notebook: nbformat.NotebookNode) -> str:
    """An entry of the contents: a chapter, and its sections with tables."""
    places = {one.slug: one.heading for one in tables(notebook)}
    links = [f"[{text}](#{target(name, s)})" for s, text in places.items()]
    return f"- [{title(notebook)}](#{target(name)}): {' · '.join(links)}"


def page(name: str, notebook: nbformat.NotebookNode) -> str:
    """Markdown of one chapter's part: a heading for each section."""
    lines = [f"({target(name)})=", f"## {title(notebook)}", ""]
    before = None
    for one in tables(notebook):
        if one.slug != before:
            link = f"../{FOLDER}/{name}.md#{one.slug}"
            lines += [
                f"({target(name, one.slug)})=",
                f"### {one.heading}",
                "",
                f"[In the chapter]({link})",
                "",
            ]
            before = one.slug
        # After ``` a line may hold no code.
        lines += [f"~~~{{table}} {one.caption}", one.table, "~~~", ""]
        if one.tolerance is not None:
            lines += [f"Decimals may differ by {one.tolerance}.", ""]
    return "\n".join(lines)


def fill(app: Sphinx, docname: str, source: list[str]) -> None:
    """Append the tables to the page that is to hold them."""
    if docname != PAGE:
        return
    claims, entries, parts = [], [], []
    for document in app.config.external_site_map:
        path = Path(app.srcdir, f"{document}.ipynb")
        if path.parent.name == FOLDER and path.exists():
            app.env.note_dependency(str(path))
            notebook = nbformat.read(path, as_version=4)
            claims += ledger(path.stem, notebook)
            entries.append(contents(path.stem, notebook))
            parts.append(page(path.stem, notebook))
    source[0] = source[0].replace(LEDGER, "\n".join([HEADER, *claims]))
    source[0] = source[0].replace(CONTENTS, "\n".join(entries))
    source[0] = "\n".join([source[0], *parts])


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
