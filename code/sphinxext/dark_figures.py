"""Figures change with the page: what a dark page lays over each of them.

A chapter's notebook stores two renderings of a figure. MyST-NB writes the
first, named by its hash; this step puts the second behind it in the page,
where `book.css` lays it over the first, in dark mode only. Drawings in SVG
get a second one, too, in the tones of the same palette.
"""

import base64
import hashlib
import os
import re
from pathlib import Path

import nbformat
from docutils import nodes
from sphinx.application import Sphinx

from atrous.experiments.colours import DARK
from atrous.experiments.renderings import MIME

# No link to a larger picture: the first rendering has it.
CLASSES = ["for-dark", "no-scaled-link"]


def renderings(notebook: Path) -> dict[str, bytes]:
    """Second renderings of a notebook's figures, by the hash of the first."""
    found = {}
    for cell in nbformat.read(notebook, as_version=4).cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if MIME in data:
                light = base64.b64decode(data["image/png"])
                name = hashlib.sha256(light).hexdigest()
                found[name] = base64.b64decode(data[MIME])
    return found


def recolour(drawing: str) -> str:
    """A drawing in SVG for dark pages; what has no tone stays."""
    tones = {light.lower(): dark for light, dark in DARK.items()}
    return re.sub(
        r"#[0-9a-fA-F]{6}\b",
        lambda found: tones.get(found[0].lower(), found[0]),
        drawing,
    )


def add(app: Sphinx, doctree: nodes.document) -> None:
    """Put the second rendering of each figure of a page after the first."""
    env = app.env
    notebook = Path(env.doc2path(env.docname)).with_suffix(".ipynb")
    found = renderings(notebook) if notebook.exists() else {}
    folder = Path(app.outdir).parent / "dark_figures"
    folder.mkdir(exist_ok=True)
    for image in [*doctree.findall(nodes.image)]:
        _, path = env.relfn2path(image["uri"])
        path = Path(path)
        made = found.get(path.stem)
        if path.suffix == ".svg":
            made = recolour(path.read_text(encoding="utf-8")).encode()
        if made is None:
            continue
        target = folder / f"{path.stem}-dark{path.suffix}"
        target.write_bytes(made)
        second = image.deepcopy()
        second["uri"] = f"/{os.path.relpath(target, app.srcdir)}"
        second["classes"] = [*image["classes"], *CLASSES]
        second["alt"] = ""  # the first says what is seen
        image.parent.insert(image.parent.index(image) + 1, second)


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    # Before Sphinx collects what images there are.
    app.connect("doctree-read", add, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
