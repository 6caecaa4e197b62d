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
"""

from dataclasses import dataclass
from pathlib import Path

import nbformat
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from myst_parser.mdit_to_docutils.base import compute_unique_slug
from sphinx.application import Sphinx

PAGE = "book/results"
FOLDER = "chapters"
INTERVAL = "95 % interval"  # the mean stands before it, the verdict after it
LEDGER = "<!-- the ledger -->"  # where the page wants it
HEADER = (
    "| claim | paper | its figures | here: mean (95 % interval) | verdict "
    "| section |\n|---|---|---|---|---|---|"
)
WORDS = {  # what a verdict says of a claim that something is better
    "gain": "holds here",
    "loss": "the opposite here",
    "no gain": "not seen",
    "no loss": "not decided; no loss",
    "not decided": "not decided",
}


@dataclass(frozen=True)
class Found:
    """A stored table: under which heading, and how far it may differ."""

    heading: str
    slug: str
    table: str
    tolerance: float | None


def tables(notebook: nbformat.NotebookNode) -> tuple[str, list[Found]]:
    """Title of a notebook and its stored tables.

    A heading's slug is that by which MyST lets other pages link to it.
    """
    title = heading = slug = ""
    slugs, found = [], []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for node in SyntaxTreeNode(MarkdownIt().parse(cell.source)):
                if node.type == "heading":
                    heading = node.children[0].content
                    slug = compute_unique_slug(node, slugs)
                    slugs.append(slug)
                    title = title or heading
        for output in cell.get("outputs", ()):
            table = output.get("data", {}).get("text/markdown", "")
            if table.startswith("| "):
                atol = cell.metadata.get("nbval", {}).get("atol")
                found.append(Found(heading, slug, table, atol))
    return title, found


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
    found = [r for r, name in zip(rows, names, strict=True) if name == row]
    if not found:  # further cells stand before the mean
        found = [
            r
            for r, name in zip(rows, names, strict=True)
            if name.startswith(f"{row}, ")
        ]
    if len(found) != 1:
        raise ValueError(f"claim {row!r}: {len(found)} rows begin so")
    return tuple(found[0][at - 1 : at + 2])


def ledger(name: str, notebook: nbformat.NotebookNode) -> list[str]:
    """Rows of the ledger, one a claim of the chapter.

    Raises:
        ValueError: As `judged`, or if a cell with claims shows no table.
    """
    heading, slugs, slug, lines = "", [], "", []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for node in SyntaxTreeNode(MarkdownIt().parse(cell.source)):
                if node.type == "heading":
                    heading = node.children[0].content
                    slug = compute_unique_slug(node, slugs)
                    slugs.append(slug)
        shown = [
            output.get("data", {}).get("text/markdown", "")
            for output in cell.get("outputs", ())
        ]
        for claim in cell.metadata.get("claims", ()):
            mean, interval, verdict = judged(shown[-1], claim["row"])
            link = f"[{heading}](../{FOLDER}/{name}.md#{slug})"
            cells = (
                claim["says"],
                claim["source"],
                str(claim.get("paper", "")),
                f"{mean} ({interval})",
                WORDS[verdict],
                link,
            )
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def page(name: str, notebook: nbformat.NotebookNode) -> str:
    """Markdown of one chapter's part: a heading for each section."""
    title, found = tables(notebook)
    lines = [f"## {title}", ""]
    before = None
    for one in found:
        if one.slug != before:
            link = f"../{FOLDER}/{name}.md#{one.slug}"
            lines += [
                f"### {one.heading}",
                "",
                f"[In the chapter]({link})",
                "",
            ]
            before = one.slug
        lines += [one.table, ""]
        if one.tolerance is not None:
            lines += [f"Decimals may differ by {one.tolerance}.", ""]
    return "\n".join(lines)


def fill(app: Sphinx, docname: str, source: list[str]) -> None:
    """Append the tables to the page that is to hold them."""
    if docname != PAGE:
        return
    claims, parts = [], []
    for document in app.config.external_site_map:
        path = Path(app.srcdir, f"{document}.ipynb")
        if path.parent.name == FOLDER and path.exists():
            app.env.note_dependency(str(path))
            notebook = nbformat.read(path, as_version=4)
            claims += ledger(path.stem, notebook)
            parts.append(page(path.stem, notebook))
    source[0] = source[0].replace(LEDGER, "\n".join([HEADER, *claims]))
    source[0] = "\n".join([source[0], *parts])


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
