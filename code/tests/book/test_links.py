"""Every link and every picture of every page of the built site."""

import functools
import re
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

from built_site import SITE, contents, pages

PAGES = pages()
pytestmark = pytest.mark.usefixtures("site")
ADDRESSES = {"a": "href", "link": "href", "img": "src", "script": "src"}
ELSEWHERE = {"http", "https", "mailto"}
PATH = re.compile(r"\S*[/\\]\S*|\S+\.(png|svg|jpe?g|gif|webp)", re.IGNORECASE)


@functools.cache
def soup(name):
    text = (SITE / name).read_text(encoding="utf-8")
    return BeautifulSoup(text, "html.parser")


@functools.cache
def anchors(name):
    return {
        tag.get("id") or tag.get("name")
        for tag in soup(name).find_all(["a", True])
        if tag.get("id") or (tag.name == "a" and tag.get("name"))
    }


def target(page, url):
    """The file, from the site's folder, that an address leads to."""
    path = unquote(urlsplit(url).path)
    if not path:
        return page
    parts = []
    for part in (PurePosixPath(page).parent / path).parts:
        if part == "..":
            parts.pop()  # an IndexError leads out of the site
        else:
            parts.append(part)
    return "/".join(parts)


@pytest.mark.parametrize("page", PAGES)
def test_links_land(page):
    lost, followed = [], 0
    for tag in soup(page).find_all(list(ADDRESSES)):
        url = tag.get(ADDRESSES[tag.name])
        if url is None or url.startswith("data:"):
            continue
        split = urlsplit(url)
        if split.scheme or split.netloc:
            if tag.name != "a" or split.scheme not in ELSEWHERE:
                lost.append(url)
            continue
        followed += 1
        there = target(page, url)
        if not (SITE / there).is_file():
            lost.append(url)
        elif there.endswith(".html"):
            place = unquote(split.fragment)
            # What has a "=" is no place but a state of the explorer.
            if place and "=" not in place and place not in anchors(there):
                lost.append(url)
    assert not lost
    assert followed > 20


@pytest.mark.parametrize("page", PAGES)
def test_pictures_are_described(page):
    # The second rendering lies over the first, which says what is seen.
    for image in soup(page).select("img:not(.for-dark)"):
        words = image.get("alt") or ""
        assert len(words.split()) > 3, image
        assert not PATH.fullmatch(words), image


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_named(page):
    assert soup(page).html["lang"] == "en"
    assert soup(page).head.title.get_text(strip=True)
    # The theme writes another one for print.
    shown = soup(page).select("h1:not(#jb-print-docs-body h1)")
    assert len(shown) == 1


def test_the_first_page_leads_into_the_book():
    refresh = soup("index.html").find("meta", attrs={"http-equiv": "Refresh"})
    there = refresh["content"].partition("url=")[2]
    assert there == f"{contents()[0]}.html"
    assert (SITE / there).is_file()


@pytest.mark.parametrize("place", range(len(contents())))
def test_previous_and_next(place):
    before, page, after = [None, *contents(), None][place : place + 3]
    name = f"{page}.html"
    for kind, other in (("left-prev", before), ("right-next", after)):
        links = soup(name).select(f".prev-next-area a.{kind}")
        there = [target(name, link["href"]) for link in links]
        assert there == ([f"{other}.html"] if other else [])
