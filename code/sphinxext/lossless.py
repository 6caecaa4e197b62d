"""Figures as lossless WebP, which has each pixel of the PNG in fewer bytes.

The notebooks keep PNG, which Jupyter shows; the pages ask for WebP.
"""

import re
from pathlib import Path

from PIL import Image
from sphinx.application import Sphinx

FOLDER = "_images"
PICTURE = re.compile(rf"({FOLDER}/[\w.-]+)\.png\b")


def shrink(path: Path) -> None:
    """Replace a PNG by a WebP of the same pixels."""
    with Image.open(path) as picture:
        made = path.with_suffix(".webp")
        # Exact: below an alpha of 0, too.
        picture.save(made, lossless=True, exact=True, method=6)
    path.unlink()


def lighten(app: Sphinx, exception: Exception | None) -> None:
    """Shrink the figures, and let the pages ask for them."""
    if exception is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    for path in sorted((out / FOLDER).glob("*.png")):
        shrink(path)
    for page in out.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        page.write_text(PICTURE.sub(r"\1.webp", text), encoding="utf-8")


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    # Before `finishing`, which reads the sizes of the pictures.
    app.connect("build-finished", lighten, priority=890)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
