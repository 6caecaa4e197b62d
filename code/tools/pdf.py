"""The book as one PDF, printed by Chromium from the built pages.

`python code/tools/pdf.py` joins the pages of `make book` in reading order,
lets their links lead to each other inside the file, and prints the result to
_build/dilated-convolution.pdf. What a reader of paper could not open is open;
code that only draws figures is left out.
"""

import html
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pypdf
import yaml
from bs4 import BeautifulSoup, Tag
from playwright.sync_api import Browser, sync_playwright

from built_site import ROOT, SITE, chromium, contents, missing

TARGET = ROOT / "_build" / "dilated-convolution.pdf"
# Only a page in a browser can use these.
DROPPED = (
    "a.headerlink",
    "details.above-input",
    "div.explorer",
    "noscript > p",
    ".run-it",
)
STYLE = """
@page { size: A4; margin: 18mm 16mm 20mm; }
html { font-size: 13px; }
body { background: #fff; color: #000; }
article { padding: 0 !important; }
article { break-before: page; }
.cover h1 { font-size: 2.6rem; margin: 12vh 0 1rem; }
.cover ol { margin-top: 3rem; }
h1 { font-size: 2.2rem; }
h2 { font-size: 1.6rem; }
h3 { font-size: 1.25rem; }
h1, h2, h3, h4, thead { break-after: avoid; }
figure, tr, blockquote, pre, div.highlight, .cell_input {
  break-inside: avoid;
}
pre { white-space: pre-wrap !important; overflow-wrap: anywhere; }
table { font-size: 0.85rem; overflow-wrap: anywhere; }
.pst-scrollable-table-container, .cell_output pre, .katex-display {
  overflow: visible !important;
}
img { max-height: 235mm; }
a { text-decoration: none !important; border: 0 !important; }
"""
FOOTER = (
    '<div style="font: 8px sans-serif; width: 100%; text-align: center">'
    '<span class="pageNumber"></span></div>'
)


def text_of(tag: Tag) -> str:
    """Return the words of a tag, on one line."""
    return " ".join(tag.get_text().split())


def slug(page: str) -> str:
    """Name a page in an id: "book/api" is "book-api"."""
    return page.replace("/", "-")


def place(page: str, anchor: str) -> str:
    """Return the id in the book of an anchor of a page, or of the page."""
    return f"{slug(page)}--{anchor}" if anchor else slug(page)


def target(page: str, url: str, inside: set[str]) -> str | None:
    """Where a page's link leads in the book; None if out of the book.

    A state of the explorer leads to the explorer's page.
    """
    split = urlsplit(url)
    if split.scheme:
        return url
    folder = Path(page).parent
    there = page
    if split.path:
        path = (SITE / folder / unquote(split.path)).resolve()
        there = path.relative_to(SITE).as_posix().removesuffix(".html")
    if there not in inside:
        return None
    anchor = unquote(split.fragment)
    return "#" + place(there, "" if "=" in anchor else anchor)


def article(page: str, inside: set[str]) -> Tag:
    """Return a page's text as it stands in the book."""
    text = (SITE / f"{page}.html").read_text(encoding="utf-8")
    found = BeautifulSoup(text, "html.parser").select_one("article.bd-article")
    for selector in DROPPED:
        for tag in found.select(selector):
            tag.decompose()
    for tag in found.select("noscript"):
        tag.unwrap()
    for tag in found.select("details"):
        tag["open"] = ""
    for tag in found.select("[id]"):
        if not tag.find_parent("svg"):
            tag["id"] = place(page, tag["id"])
    for link in found.select("a[href]"):
        there = target(page, link["href"], inside)
        if there is None:
            link.unwrap()
        else:
            link["href"] = there
    for image in found.select("img"):
        if not urlsplit(image["src"]).scheme:
            path = (SITE / page).parent / unquote(image["src"])
            image["src"] = path.resolve().as_uri()
        image.attrs.pop("loading", None)
    found["id"] = slug(page)
    return found


def styles(pages: list[str]) -> list[str]:
    """Return the addresses of the pages' style sheets, in their order."""
    found = {}
    for page in pages:
        path = SITE / f"{page}.html"
        soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for link in soup.select('link[rel="stylesheet"]'):
            sheet = path.parent / urlsplit(link["href"]).path
            found[sheet.resolve().as_uri()] = None
    return [*found]


def joined() -> str:
    """Return the whole book as one page.

    Raises:
        ValueError: If two places have one id.
    """
    pages = contents()
    inside = set(pages)
    articles = {page: article(page, inside) for page in pages}
    seen = set()
    for found in articles.values():
        for tag in [found, *found.select("[id]")]:
            if tag["id"] in seen:
                raise ValueError(f"the id {tag['id']} is there twice")
            seen.add(tag["id"])
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    title = html.escape(config["title"])
    names = "".join(
        f'<li><a href="#{slug(page)}">'
        f"{html.escape(text_of(found.h1))}</a></li>"
        for page, found in articles.items()
    )
    sheets = "".join(
        f'<link rel="stylesheet" href="{sheet}">' for sheet in styles(pages)
    )
    return (
        '<!doctype html><html lang="en" data-theme="light"><head>'
        f'<meta charset="utf-8"><title>{title}</title>'
        f"{sheets}<style>{STYLE}</style></head><body>"
        f'<section class="cover"><h1>{title}</h1>'
        f"<p>{html.escape(config['author'])}</p><ol>{names}</ol></section>"
        + "".join(map(str, articles.values()))
        + "</body></html>"
    )


def titles(text: str) -> list[str]:
    """Return the headings of a page in their order."""
    found = BeautifulSoup(text, "html.parser").find_all(re.compile("^h[1-6]$"))
    return [text_of(tag) for tag in found]


def entries(outline: list) -> Iterator[pypdf.generic.Destination]:
    """Yield the entries of an outline in reading order."""
    for entry in outline:
        if isinstance(entry, list):
            yield from entries(entry)
        else:
            yield entry


def name_outline(path: Path, names: list[str]) -> None:
    """Give the outline's entries the names of their headings.

    Chromium takes them from what it has drawn: it repeats a heading that has
    moved to the next page, and loses the spaces where lines end.

    Raises:
        ValueError: If there are not as many entries as headings.
    """
    writer = pypdf.PdfWriter(path, incremental=True)
    found = list(entries(writer.outline))
    for entry, name in zip(found, names, strict=True):
        title = pypdf.generic.TextStringObject(name)
        entry.node[pypdf.generic.NameObject("/Title")] = title
    writer.write(path)


def write(path: Path, browser: Browser) -> None:
    """Join the pages, print them, and name the outline's entries."""
    text = joined()
    page_file = path.with_suffix(".html")
    page_file.write_text(text, encoding="utf-8")
    page = browser.new_page(java_script_enabled=False)
    page.set_default_timeout(0)
    page.goto(page_file.as_uri())
    page.pdf(
        path=path,
        prefer_css_page_size=True,
        print_background=True,
        display_header_footer=True,
        header_template="<span></span>",
        footer_template=FOOTER,
        outline=True,
        tagged=True,
    )
    page.close()
    page_file.unlink()
    name_outline(path, titles(text))


def main() -> int:
    """Make the PDF, or say what is missing."""
    if words := missing():
        print(f"{words}: NOT FOUND, THERE IS NO PDF", file=sys.stderr)
        return 1
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        write(TARGET, browser)
        browser.close()
    size = TARGET.stat().st_size / 2**20
    print(f"{TARGET.relative_to(ROOT)}: {size:.0f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
