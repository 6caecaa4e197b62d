"""The results page: all tables that the notebooks have stored.

The tables are those that `atrous.experiments.tables.Table` has shown, read
from the notebooks' outputs in the order of the table of contents.
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
    parts = [source[0]]
    for document in app.config.external_site_map:
        path = Path(app.srcdir, f"{document}.ipynb")
        if path.parent.name == FOLDER and path.exists():
            app.env.note_dependency(str(path))
            parts.append(page(path.stem, nbformat.read(path, as_version=4)))
    source[0] = "\n".join(parts)


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
