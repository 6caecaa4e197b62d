"""Every page in a browser, light and dark, wide and narrow."""

import functools
import gzip
import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import myst_nb
import nbformat
import pydata_sphinx_theme
import pytest
import sphinx_book_theme
import sphinx_copybutton
import sphinx_design
import sphinx_togglebutton

from built import ROOT, SITE, contents, pages

PAGES = pages()
MOST = 450_000  # bytes of a page, compressed, its figures aside
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
# Blocks of code whose own colour is not that of code.
FADED = """() => [...document.querySelectorAll(".highlight > pre")].filter(
    pre => getComputedStyle(pre).color
        !== getComputedStyle(pre.parentElement).color).length"""
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
# Of sheets that the site's was made of: rules that it lacks and that would
# style something on the page as it stands, in any state.
MISSED = r"""sheets => {
    const selectors = rules => [...rules].flatMap(
        rule => rule.selectorText ?? selectors(rule.cssRules ?? []));
    const kept = new Set(
        [...document.styleSheets].flatMap(one => selectors(one.cssRules)));
    const any = /::[\w-]+|:(hover|active|visited|target|focus[\w-]*)\b/g;
    return sheets.flatMap(text => {
        const sheet = new CSSStyleSheet();
        sheet.replaceSync(text);
        const left = selectors(sheet.cssRules).filter(s => !kept.has(s));
        if (kept.size === 0) throw "no rules";
        return left.filter(
            s => document.querySelector(s.replaceAll(any, ":is(*)")));
    });
}"""


@functools.cache
def sheets():
    """Style sheets of themes and extensions, as they come."""
    found = []
    for package, name in (
        (myst_nb, "mystnb.css"),
        (pydata_sphinx_theme, "pydata-sphinx-theme.css"),
        (sphinx_book_theme, "sphinx-book-theme.css"),
        (sphinx_copybutton, "copybutton.css"),
        (sphinx_design, "sphinx-design.min.css"),
        (sphinx_togglebutton, "togglebutton.css"),
    ):
        (path,) = Path(package.__file__).parent.rglob(name)
        text = path.read_text(encoding="utf-8")
        found.append(re.sub("@import [^;]+;", "", text))
    return found


def test_every_page_of_the_contents_was_built():
    assert {f"{page}.html" for page in contents()} <= set(PAGES)
    assert {"search.html", "genindex.html"} <= set(PAGES)


@pytest.mark.parametrize("width", [1300, 360])
@pytest.mark.parametrize("theme", ["light", "dark"])
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
    assert page.evaluate(MISSED, sheets()) == []
    assert page.evaluate(FADED) == 0


def test_what_opens_has_its_style(visit):
    page = visit("chapters/drn.html", width=800)
    page.locator(".primary-toggle:visible").click()
    page.locator("dialog#pst-primary-sidebar-modal[open]").wait_for()
    assert page.evaluate(MISSED, sheets()) == []
    page.keyboard.press("Escape")
    page.locator(".secondary-toggle:visible").click()
    page.locator("dialog#pst-secondary-sidebar-modal[open]").wait_for()
    assert page.evaluate(MISSED, sheets()) == []
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.locator("dialog#pst-search-dialog[open]").wait_for()
    assert page.evaluate(MISSED, sheets()) == []
    page.keyboard.press("Escape")
    page.locator(".theme-switch-button:visible").first.hover()
    page.locator(".tooltip.show").wait_for()
    assert page.evaluate(MISSED, sheets()) == []
    page.goto(page.url.split("chapters/")[0] + "search.html?q=gridding")
    page.locator("#search-results li a").first.wait_for()
    assert page.evaluate(MISSED, sheets()) == []
    page.locator("#search-results li a[href*='chapters/']").first.click()
    page.locator("span.highlighted").first.wait_for(state="attached")
    assert page.evaluate(MISSED, sheets()) == []


def formulas(name):
    """How many formulas the prose of a chapter holds, at least."""
    file = ROOT / f"{name}.ipynb"
    cells = nbformat.read(file, as_version=4).cells
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
    assert sum(sizes.values()) <= MOST, sizes


def test_the_site_is_light():
    files = [path for path in SITE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25_000_000


@pytest.mark.parametrize("name", [f"{page}.html" for page in contents()])
def test_pages_work_from_the_disk(visit, name):
    page = visit((SITE / name).as_uri())
    assert page.evaluate(LOAD) == []
    assert page.locator(".theme-switch-button").count() >= 1
