"""Chapters' pages show the text, and the outputs that the notebooks store.

The pages are built from chapters/NAME.md. MyST-NB looks for the outputs of
its code in jupyter-cache; what is stored in chapters/NAME.ipynb is put there
first. A chapter whose code is not that of its notebook stops the build: it
would have no outputs that were checked, and MyST-NB would run it.
"""

import shutil
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from myst_nb.core.read import read_myst_markdown_notebook
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

FOLDER = "chapters"


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The cells that are run."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def stored(text: Path) -> nbformat.NotebookNode:
    """A chapter's text, as MyST-NB reads it, with the outputs of its code.

    Args:
        text: chapters/NAME.md; chapters/NAME.ipynb begins with a code cell
            of its own, which says what the notebook needs.

    Raises:
        ExtensionError: If the notebook is missing or has other code.
    """
    path = text.with_suffix(".ipynb")
    way_out = f"make execute NAMES={text.stem} runs the text"
    if not path.exists():
        raise ExtensionError(f"{path} is missing: {way_out}")
    notebook = read_myst_markdown_notebook(text.read_text(encoding="utf-8"))
    given = code(nbformat.read(path, as_version=4))[1:]
    if [c.source for c in code(notebook)] != [c.source for c in given]:
        raise ExtensionError(
            f"{text.name} has other code than {path.name}: {way_out}"
        )
    for count, cell in enumerate(code(notebook), start=1):
        cell.outputs = given[count - 1].outputs
        cell.execution_count = count
    return notebook


def fill(app: Sphinx, config: Config) -> None:
    """Put every chapter's stored outputs into an empty cache."""
    folder = Path(app.outdir).parent / ".jupyter_cache"
    config.nb_execution_cache_path = str(folder)
    shutil.rmtree(folder, ignore_errors=True)
    cache = get_cache(folder)
    for document in config.external_site_map:
        text = Path(app.srcdir, f"{document}.md")
        if text.parent.name == FOLDER:
            notebook = stored(text)
            source = text.with_suffix(".ipynb")
            bundle = CacheBundleIn(notebook, str(source))
            cache.cache_notebook_bundle(bundle)


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    # After the table of contents is read, before MyST-NB reads its options.
    app.connect("config-inited", fill, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
