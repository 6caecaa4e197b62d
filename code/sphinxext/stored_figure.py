"""A chapter's figure on another page, with its caption and a link.

```{stored-figure} NAME fig-name
```

The picture is the one that chapters/NAME.ipynb stores, made a JPEG, which
takes a fifth of the space where there are photographs in it.
"""

import base64
import io
import os
from pathlib import Path

import nbformat
from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FOLDER = "chapters"
QUALITY = 88  # of the JPEG, where letters have no halo yet


def found(
    notebook: nbformat.NotebookNode, name: str
) -> tuple[Image.Image, str, str]:
    """Picture, caption and alternative text of a notebook's figure.

    Raises:
        ValueError: If no cell has a figure of that name, or shows none.
    """
    for cell in notebook.cells:
        metadata = cell.metadata.get("mystnb", {})
        if metadata.get("figure", {}).get("name") != name:
            continue
        for output in cell.get("outputs", ()):
            if picture := output.get("data", {}).get("image/png"):
                pixels = Image.open(io.BytesIO(base64.b64decode(picture)))
                caption = " ".join(metadata["figure"]["caption"].split())
                return (
                    pixels,
                    caption,
                    " ".join(metadata["image"]["alt"].split()),
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
            pixels, caption, alt = found(nbformat.read(path, 4), name)
        except (OSError, ValueError) as problem:
            raise self.error(
                f"stored-figure: {path.name}: {problem}"
            ) from None
        file = Path(self.env.app.outdir).parent / "figures" / f"{name}.jpg"
        file.parent.mkdir(exist_ok=True)
        pixels.convert("RGB").save(file, quality=QUALITY)
        uri = Path(os.path.relpath(file, self.env.srcdir)).as_posix()
        figure = nodes.figure()
        figure += nodes.image(uri=f"/{uri}", alt=alt)
        words, _ = self.parse_inline(
            f"{caption} From {{doc}}`/{FOLDER}/{chapter}`.",
            lineno=self.lineno,
        )
        figure += nodes.caption("", "", *words)
        return [figure]


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.add_directive("stored-figure", StoredFigure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
