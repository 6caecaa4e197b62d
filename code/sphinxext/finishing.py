"""What the theme leaves to be done on every page, after it is written.

Scripts no longer hold a page up, what no page uses is not shipped, and the
few tags that accessibility checkers object to are changed. The theme's
templates hard-code all of this, so it is done on the finished files.
"""

import html
import re
import shutil
from pathlib import Path

import assets
from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx

HEAD_SCRIPT = re.compile(r'<script(?![^>]*\bdefer)([^>]*\bsrc="[^"]+")>')
# Other scripts read its settings while the page is being read.
AT_ONCE = "documentation_options.js"
SEARCH_ONLY = ("searchtools.js", "language_data.js", "searchindex.js")
SCRIPT_OF = r'\s*<script[^>]*\bsrc="[^"]*{}[^"]*"></script>'
PRELOAD = re.compile(r'\s*<link rel="preload" as="script"[^>]*/>')
VIEWPORT = re.compile(r'\s*<meta name="viewport"[^>]*/>')
# (what the theme or docutils writes, what stands there instead)
MENDS = (
    # Content belongs to a landmark.
    (
        'id="pst-primary-sidebar" class=',
        'id="pst-primary-sidebar" role="region" aria-label="Book" class=',
    ),
    # Roles that are deprecated, or not allowed where they stand.
    (' role="doc-biblioentry"', ""),
    (' role="list" class="citation-list"', ' class="citation-list"'),
    # What a button is called begins with what it shows.
    ('title="Search" aria-label="Search"', 'title="Search"'),
)
IMAGE = re.compile(r'<img\b(?![^>]*\bwidth=)([^>]*?\bsrc="([^"]+\.png)")')
# An empty heading of a column heads nothing.
NO_HEADING = re.compile(r"<th[^>]*>(?:<p></p>)?</th>")
UNUSED = (
    "locales",
    "sbt-webpack-macros.html",
    "scripts/fontawesome.js",
    "scripts/fontawesome.js.LICENSE.txt",
    "webpack-macros.html",
)
MOST = 155  # characters that a search engine shows


def describe(app: Sphinx, page, template, context, doctree) -> None:
    """Take a page's first paragraph for its description."""
    text = f"{context.get('title') or page}: {app.config.html_title}"
    for paragraph in doctree.findall(nodes.paragraph) if doctree else ():
        if isinstance(paragraph.parent, nodes.section):
            text = " ".join(paragraph.astext().split())
            break
    if len(text) > MOST:
        text = text[:MOST].rsplit(" ", 1)[0].rstrip(",;:") + " ..."
    text = html.escape(html.unescape(text))
    context["metatags"] = (
        context.get("metatags", "")
        + f'\n<meta name="description" content="{text}" />'
    )


def finished(page: str, *, searches: bool) -> str:
    """Return a page with its head put in order and its tags mended."""
    head, end, body = page.partition("</head>")
    for name in ("fontawesome.js", *(() if searches else SEARCH_ONLY)):
        head = re.sub(SCRIPT_OF.format(re.escape(name)), "", head)
    head = PRELOAD.sub("", head)
    head = HEAD_SCRIPT.sub(
        lambda m: m[0] if AT_ONCE in m[1] else f"<script defer{m[1]}>", head
    )
    if first := VIEWPORT.search(head):  # there are three
        end_of_first = first.end()
        rest = VIEWPORT.sub("", head[end_of_first:])
        head = head[:end_of_first] + rest
    for old, new in MENDS:
        body = body.replace(old, new)
    return head + end + NO_HEADING.sub("<td></td>", body)


def measured(page: str, folder: Path) -> str:
    """Return a page whose pictures say their size and load when needed.

    Nothing moves when a picture arrives, and those below wait their turn.
    """

    def image(match):
        with Image.open(folder / match[2]) as picture:
            width, height = picture.size
        size = f'width="{width}" height="{height}"'
        return f'<img loading="lazy" {size}{match[1]}'

    return IMAGE.sub(image, page)


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Rewrite the pages, and drop what they do not use."""
    if exception is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    static = out / "_static"
    paths = [
        path
        for path in sorted(out.rglob("*.html"))
        if static not in path.parents and path != out / "index.html"
    ]
    pages = []
    for path in paths:
        page = finished(
            path.read_text(encoding="utf-8"),
            searches=path.name == "search.html",
        )
        pages.append(measured(page, path.parent))
    assets.subset_icons(static, pages)
    pages = assets.bundle(static, pages)
    for path, page in zip(paths, pages, strict=True):
        path.write_text(page, encoding="utf-8")
    for name in UNUSED:
        if (static / name).is_dir():
            shutil.rmtree(static / name)
        else:
            (static / name).unlink(missing_ok=True)


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.connect("html-page-context", describe)
    # After the extensions that still copy files then.
    app.connect("build-finished", finish, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
