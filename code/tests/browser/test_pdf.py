"""The book as a PDF: joined from all pages, and printed."""

import re
import unicodedata
from urllib.parse import unquote, urlsplit

import pypdf
import pytest
from bs4 import BeautifulSoup

import pdf
from built_site import SITE, contents


@pytest.fixture(scope="module")
def book(needed):
    return BeautifulSoup(pdf.joined(), "html.parser")


def plain(text):
    """Without spaces and ligatures, which a PDF has of its own."""
    return re.sub(r"\s", "", unicodedata.normalize("NFKC", text))


def test_every_link_and_picture_is_in_the_book(book):
    ids = [tag["id"] for tag in book.select("[id]")]
    assert len(set(ids)) == len(ids)
    links = [tag["href"] for tag in book.select("a[href]")]
    inside = [unquote(link[1:]) for link in links if link.startswith("#")]
    assert len(inside) > 1000
    assert set(inside) <= set(ids)
    for link in set(links):
        assert urlsplit(link).scheme in ("", "https", "http"), link
    pictures = book.select("img")
    assert len(pictures) > 40
    for picture in pictures:
        assert urlsplit(picture["src"]).scheme in ("file", "data")


def test_what_needs_a_browser_is_left_out(book):
    for selector in ("script", "noscript", "input", "button", ".headerlink"):
        assert not book.select(selector)
    assert len(book.select("figure, .cell_output")) > 100
    assert len(book.select("svg.picture")) > 5  # the explorers' stills
    assert all(tag.has_attr("open") for tag in book.select("details"))


def test_links_lead_where_they_led():
    inside = {"book/api", "chapters/drn", "book/explorer"}
    page = "chapters/drn"
    for url, there in (
        ("#limits", "#chapters-drn--limits"),
        ("../book/api.html", "#book-api"),
        ("../book/api.html#a.b", "#book-api--a.b"),
        ("../book/explorer.html#layers=k3&size=9", "#book-explorer"),
        ("../genindex.html", None),
        ("../_sources/chapters/drn.ipynb", None),
        ("https://example.org/a#b", "https://example.org/a#b"),
    ):
        assert pdf.target(page, url, inside) == there


def test_it_is_printed_whole(browser, tmp_path):
    path = tmp_path / "book.pdf"
    pdf.write(path, browser)
    read = pypdf.PdfReader(path)
    outline = list(pdf.entries(read.outline))
    names = [entry.title for entry in outline]
    places = [read.get_destination_page_number(entry) for entry in outline]
    assert places == sorted(places)
    wanted = []
    for page in contents():
        text = (SITE / f"{page}.html").read_text(encoding="utf-8")
        found = BeautifulSoup(text, "html.parser").article
        for anchor in found.select("a.headerlink"):
            anchor.decompose()
        wanted += [
            " ".join(tag.get_text().split())
            for tag in found.find_all(re.compile("^h[1-6]$"))
        ]
    assert names[1:] == wanted  # the first is the cover's
    # Each is on its page: headings are drawn where the outline leads.
    step = len(places) // 40
    for name, place in zip(names[::step], places[::step], strict=True):
        assert plain(name) in plain(read.pages[place].extract_text())
    links = sum(len(page.get("/Annots", ())) for page in read.pages)
    assert links > 1500
    assert list(tmp_path.iterdir()) == [path]
