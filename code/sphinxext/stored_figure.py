"""A chapter's figure on another page, with its caption and a link.

```{stored-figure} NAME fig-name
```

The picture is the one that chapters/NAME.ipynb stores, made a JPEG, which
takes a fifth of the space where there are photographs in it. Its second
rendering lies over it on dark pages, as in the chapter.
"""

import base64
import io
import os
from pathlib import Path
from typing import NamedTuple

import nbformat
from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from atrous.experiments.renderings import MIME
from dark_figures import CLASSES

FOLDER = "chapters"
QUALITY = 88  # of the JPEG, where letters have no halo yet


class Found(NamedTuple):
    """A stored figure: PNG files for light and dark pages, and its words."""

    light: bytes
    dark: bytes | None
    caption: str
    alt: str


def found(notebook: nbformat.NotebookNode, name: str) -> Found:
    """A notebook's figure.

    Raises:
        ValueError: If no cell has a figure of that name, or shows none.
    """
    for cell in notebook.cells:
        words = cell.metadata.get("mystnb", {})
        if words.get("figure", {}).get("name") != name:
            continue
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                dark = data.get(MIME)
                return Found(
                    base64.b64decode(data["image/png"]),
                    dark and base64.b64decode(dark),
                    " ".join(words["figure"]["caption"].split()),
                    " ".join(words["image"]["alt"].split()),
                )
    raise ValueError(f"{name}: no cell has and shows a figure of that name")


class StoredFigure(SphinxDirective):
    """The figure, its caption, and where it comes from."""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        """Write the picture beside the build and return the figure."""
        chapter, name = self.arguments
        path = Path(self.env.srcdir, FOLDER, f"{chapter}.ipynb")
        self.env.note_dependency(str(path))
        try:
            stored = found(nbformat.read(path, 4), name)
        except (OSError, ValueError) as problem:
            raise self.error(
                f"stored-figure: {path.name}: {problem}"
            ) from None
        folder = Path(self.env.app.outdir).parent / "figures"
        folder.mkdir(exist_ok=True)
        light, dark = folder / f"{name}.jpg", folder / f"{name}-dark.png"
        with Image.open(io.BytesIO(stored.light)) as pixels:
            pixels.convert("RGB").save(light, quality=QUALITY)
        figure = nodes.figure()
        figure += nodes.image(uri=self.uri(light), alt=stored.alt)
        if stored.dark:
            dark.write_bytes(stored.dark)
            figure += nodes.image(uri=self.uri(dark), alt="", classes=CLASSES)
        words, _ = self.parse_inline(
            f"{stored.caption} From {{doc}}`/{FOLDER}/{chapter}`.",
            lineno=self.lineno,
        )
        figure += nodes.caption("", "", *words)
        return [figure]

    def uri(self, file: Path) -> str:
        """A file's address, as images have it."""
        return f"/{Path(os.path.relpath(file, self.env.srcdir)).as_posix()}"


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.add_directive("stored-figure", StoredFigure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
