"""What the theme leaves to be done on every page, after it is written.

Scripts no longer hold a page up, what no page uses is not shipped, and the
few tags that accessibility checkers object to are changed. The theme's
templates hard-code all of this, so it is done on the finished files.
"""

import html
import re
import shutil
from pathlib import Path

from bs4 import BeautifulSoup
from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx

# Settings that scripts in the page read while it is being read.
AT_ONCE = "documentation_options.js"
# Of Sphinx's own search, whose place `searching` takes; and icons that the
# web font has, too.
DROPPED = (
    "fontawesome.js",
    "language_data.js",
    "searchindex.js",
    "searchtools.js",
    "sphinx_highlight.js",
)
MAP = re.compile(r"//# sourceMappingURL=\S+\s*")
UNUSED = (
    "../searchindex.js",
    AT_ONCE,  # it stands in the pages
    "language_data.js",
    "locales",
    "sbt-webpack-macros.html",
    "scripts/fontawesome.js",
    "scripts/fontawesome.js.LICENSE.txt",
    "searchtools.js",
    "sphinx_highlight.js",
    "webpack-macros.html",
)
# A number, an interval, a mean with its deviation: what columns are made of.
NUMBER = r"[-+]?\d[\d,]*(\.\d+)?"
NUMBERS = re.compile(rf"{NUMBER}(( to | ± ){NUMBER})?( \(n=\d+\))?")
LONGEST_DESCRIPTION = 155  # characters that a search engine shows


def describe(app: Sphinx, page, template, context, doctree) -> None:
    """Take a page's first paragraph for its description."""
    text = f"{context.get('title') or page}: {app.config.html_title}"
    for paragraph in doctree.findall(nodes.paragraph) if doctree else ():
        if isinstance(paragraph.parent, nodes.section):
            text = " ".join(paragraph.astext().split())
            break
    if len(text) > LONGEST_DESCRIPTION:
        text = (
            text[:LONGEST_DESCRIPTION].rsplit(" ", 1)[0].rstrip(",;:") + " ..."
        )
    text = html.escape(html.unescape(text))
    context["metatags"] = (
        context.get("metatags", "")
        + f'\n<meta name="description" content="{text}" />'
    )


def order_head(soup: BeautifulSoup, options: str) -> None:
    """Let no script hold the page up, and drop what it does not use.

    The file of `options` is needed at once: it moves into the page.
    """
    head = soup.head
    for script in head.select("script[src]"):
        if any(name in script["src"] for name in DROPPED):
            script.decompose()
        elif AT_ONCE in script["src"]:
            script.attrs = {}
            script.string = options
        else:
            script["defer"] = "defer"
    for link in head.select('link[rel="preload"][as="script"]'):
        link.decompose()
    for viewport in head.select('meta[name="viewport"]')[1:]:
        viewport.decompose()  # there are three


def mend(soup: BeautifulSoup) -> None:
    """Change the tags that accessibility checkers or readers object to."""
    for sidebar in soup.select("#pst-primary-sidebar"):
        sidebar["role"] = "region"  # content belongs to a landmark
        sidebar["aria-label"] = "Book"
    for toggle in soup.select("summary:has(> .toctree-toggle)"):
        link = toggle.find_parent("li").find("a")
        title = " ".join(link.get_text().split())
        toggle["aria-label"] = f"Pages of {title}"
    for entry in soup.select('[role="doc-biblioentry"], .citation-list'):
        del entry["role"]  # deprecated; a list of what is no item
    for button in soup.select(".search-button-field[aria-label]"):
        del button["aria-label"]  # its name is what it shows
    for summary in soup.select('summary[aria-label="Toggle hidden content"]'):
        del summary["aria-label"]  # its name is what it shows
    for prompt in soup.select(".tag_hide-cell > details > summary > p"):
        words = prompt.get_text().replace("code cell content", "the solution")
        prompt.string = words  # such cells solve the exercises
    for link in soup.select('a[href*="_sources/chapters/"][href$=".md"]'):
        # Of a chapter, the notebook is what a reader wants.
        link["href"] = link["href"].removesuffix(".md") + ".ipynb"
        for text in link.find_all(string=re.compile(r"\.md")):
            text.replace_with(text.replace(".md", ".ipynb"))
    for footer in soup.select("footer.bd-footer"):
        if not footer.get_text(strip=True):
            footer.decompose()  # a line below the last line
    for heading in soup.find_all("th"):
        if not heading.get_text(strip=True) and not heading.find("img"):
            heading.name = "td"  # it heads nothing
            heading.attrs = {}


def align(soup: BeautifulSoup) -> None:
    """Set columns of numbers flush right, those too that came as words."""
    for table in soup.select("table.table:not(:has([colspan], [rowspan]))"):
        rows = [row.find_all(["td", "th"]) for row in table.select("tr")]
        for column in zip(*rows, strict=True):
            words = [cell.get_text(strip=True) for cell in column[1:]]
            if not all(NUMBERS.fullmatch(one) for one in words if one):
                continue
            for cell in column if any(words) else ():
                names = {*cell.get("class", ()), "text-right"}
                cell["class"] = sorted(names - {"text-left"})


def measure(soup: BeautifulSoup, folder: Path) -> None:
    """Say every picture's size, and load it when it is needed.

    Nothing moves when a picture arrives, and those below wait their turn.
    """
    for image in soup.select('img:not([src$=".svg"]):not([width])'):
        with Image.open(folder / image["src"]) as picture:
            image["width"], image["height"] = map(str, picture.size)
        image["loading"] = "lazy"


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Rewrite the pages, and drop what they do not use."""
    if exception is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    static = out / "_static"
    options = (static / AT_ONCE).read_text(encoding="utf-8")
    for path in sorted(out.rglob("*.html")):
        if static in path.parents or path == out / "index.html":
            continue
        soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        order_head(soup, options)
        mend(soup)
        align(soup)
        measure(soup, path.parent)
        path.write_text(str(soup), encoding="utf-8")
    for name in UNUSED:
        if (static / name).is_dir():
            shutil.rmtree(static / name)
        else:
            (static / name).unlink(missing_ok=True)
    for path in static.rglob("*.map"):
        path.unlink()
    for path in static.rglob("*.js"):
        text = path.read_text(encoding="utf-8")
        path.write_text(MAP.sub("", text), encoding="utf-8")


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.connect("html-page-context", describe)
    # After the extensions that still copy files then.
    app.connect("build-finished", finish, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
