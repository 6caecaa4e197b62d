"""The built site as files, and the browser that it is looked at with."""

import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "html"


def listed(entries: list[dict]) -> Iterator[str]:
    """Yield the pages of a part of the contents, each before its own."""
    for entry in entries:
        yield entry["file"]
        yield from listed(entry.get("sections", []))


def contents() -> list[str]:
    """Return the book's pages in reading order, as in "book/index"."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    parts = (listed(part["chapters"]) for part in toc["parts"])
    return [toc["root"], *chain.from_iterable(parts)]


def pages() -> list[str]:
    """Return all pages that were built, as in "search.html"."""
    found = (path.relative_to(SITE) for path in SITE.rglob("*.html"))
    return sorted(
        path.as_posix()
        for path in found
        if path.parts[0] != "_static" and path.as_posix() != "index.html"
    )


def chromium() -> str | None:
    """Return where Chromium is on this machine, if it is."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    return None


def missing() -> str:
    """Name what looking at the site needs and is not there."""
    there = {"Chromium": chromium(), "The built site": SITE.exists()}
    return " and ".join(what for what, found in there.items() if not found)
