"""The built site as files, and the browser that it is looked at with."""

import shutil
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "html"


def contents() -> list[str]:
    """Return the book's pages in reading order, as in "book/index"."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    listed = [
        chapter["file"]
        for part in toc["parts"]
        for chapter in part["chapters"]
    ]
    return [toc["root"], *listed]


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
