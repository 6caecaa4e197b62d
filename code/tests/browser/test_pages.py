"""Every page in a browser, light and wide, dark and narrow."""

import gzip
import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import jupytext
import pytest

from built_site import ROOT, SITE, contents, pages

PAGES = pages()
LARGEST_PAGE = 500_000  # bytes of a page, compressed, its figures aside
# What the search page looks through has the words of the whole book.
SEARCHED, LARGEST_SEARCHED = "_static/search/data.js", 300_000
WEIGHED = {".html", ".css", ".js", ".woff2", ".woff", ".ttf"}
FENCED = re.compile(r"^(`{3,}).*?^\1|`[^`]+`", re.MULTILINE | re.DOTALL)
FORMULA = re.compile(r"\$\$.+?\$\$|\$[^$\s][^$]*\$", re.DOTALL)
CODE = "pre, code, kbd, script, style, noscript, .katex"

# Pictures that wait to be scrolled to are called at once.
LOAD = """async () => {
    const images = [...document.images];
    for (const image of images) image.loading = "eager";
    await Promise.allSettled(images.map(image => image.decode()));
    await document.fonts.ready;
    return images.filter(i => !i.naturalWidth).map(i => i.src);
}"""
# What is left of a formula that was not typeset.
RAW = r"""selector => {
    const raw = /\\[([]|\\[)\]]|\$\$|\\[a-zA-Z]+|\$[^$\s][^$\n]*\$/;
    const found = [];
    const walk = document.createTreeWalker(document.body, 4);
    while (walk.nextNode()) {
        const text = walk.currentNode;
        if (!text.parentElement.closest(selector) && raw.test(text.data))
            found.push(text.data);
    }
    return found;
}"""
WIDE = """() => {
    const page = document.scrollingElement;
    if (page.scrollWidth <= page.clientWidth) return [];
    return [...document.querySelectorAll("body *")]
        .filter(e => e.getBoundingClientRect().right > page.clientWidth)
        .map(e => e.tagName + "." + e.className + " #" + e.id).slice(0, 9);
}"""


def test_every_page_of_the_contents_was_built():
    assert {f"{page}.html" for page in contents()} <= set(PAGES)
    assert {"search.html", "genindex.html"} <= set(PAGES)


@pytest.mark.parametrize(("theme", "width"), [("light", 1300), ("dark", 360)])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole(visit, name, theme, width):
    page = visit(name, width=width, color_scheme=theme, mounted=True)
    assert page.locator("html").get_attribute("data-theme") == theme
    assert page.evaluate(LOAD) == []
    assert page.evaluate(RAW, CODE) == []
    assert page.locator(".katex-error, .katex[style*=red]").count() == 0
    assert page.evaluate(WIDE) == []
    scroll = "document.scrollingElement.scrollWidth"
    assert page.evaluate(scroll) <= width


def formulas(name):
    """How many formulas the prose of a chapter holds, at least."""
    cells = jupytext.read(ROOT / f"{name}.md").cells
    prose = (c.source for c in cells if c.cell_type == "markdown")
    text = FENCED.sub("", "\n\n".join(prose))
    return len(FORMULA.findall(text))


@pytest.mark.parametrize("name", contents())
def test_equations_are_set_in_their_fonts(visit, name):
    page = visit(f"{name}.html")
    there = page.locator(".katex").count()
    if name.startswith("chapters/"):
        assert there >= formulas(name) > 0
    if not there:
        return
    page.evaluate("document.fonts.ready")
    fonts = page.evaluate(
        "[...document.fonts].map(f => [f.family.replace(/['\"]/g, ''),"
        " f.status])"
    )
    assert ["KaTeX_Main", "loaded"] in fonts
    assert "error" not in {status for _, status in fonts}
    # The style sheet is there: what is for screen readers is not shown.
    shown = "e => getComputedStyle(e).position"
    assert page.locator(".katex-mathml").first.evaluate(shown) == "absolute"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_light(visit, name):
    page = visit(name)
    page.evaluate("document.fonts.ready")
    asked = page.evaluate(
        'performance.getEntriesByType("resource").map(e => e.name)'
    )
    names = {urlsplit(url).path.lstrip("/") for url in (page.url, *asked)}
    sizes = {
        asset: len(gzip.compress((SITE / asset).read_bytes(), 6))
        for asset in names
        if PurePosixPath(asset).suffix in WEIGHED
    }
    kinds = {PurePosixPath(asset).suffix for asset in sizes}
    assert kinds >= {".html", ".css", ".js"}
    assert kinds & {".woff", ".woff2"}
    assert sizes.pop(SEARCHED, 0) <= LARGEST_SEARCHED
    assert sum(sizes.values()) <= LARGEST_PAGE, sizes


def test_the_site_is_light():
    # Aside from the archive: the notebooks hold each figure twice, as PNG.
    files = [path for path in SITE.rglob("*.*") if path.suffix != ".zip"]
    assert sum(path.stat().st_size for path in files) < 25_000_000


@pytest.mark.parametrize("name", [f"{page}.html" for page in contents()])
def test_pages_work_from_the_disk(visit, name):
    page = visit((SITE / name).as_uri())
    assert page.evaluate(LOAD) == []
    assert page.locator(".theme-switch-button").count() >= 1
