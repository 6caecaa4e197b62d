"""The API pages: every public name of the package, once, and linked to."""

import importlib
import inspect
import re

import pytest
from bs4 import BeautifulSoup

import docstrings
from built_site import ROOT, SITE

PACKAGE = ROOT / "code" / "atrous"
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.stem != "__init__"
)
PAGES = sorted((SITE / "book" / "api").glob("*.html"))
CHAPTERS = sorted((SITE / "chapters").glob("*.html"))
built = pytest.mark.usefixtures("site")


def soup(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def public(module):
    """Names that a module defines itself."""
    found = importlib.import_module(f"atrous.{module}")
    for name, value in vars(found).items():
        if (
            not name.startswith("_")
            and (inspect.isclass(value) or inspect.isfunction(value))
            and value.__module__ == found.__name__
        ):
            yield f"atrous.{module}.{name}"


def test_every_module_has_its_place_in_both_lists():
    table = (ROOT / "book" / "api.md").read_text()
    named = re.findall(r"^   atrous\.([\w.]+)$", table, re.M)
    shown = []
    for path in (ROOT / "book" / "api").glob("*.md"):
        found = re.findall(r"automodule:: atrous\.([\w.]+)", path.read_text())
        assert {name.partition(".")[0] for name in found} == {path.stem}
        shown += found
    assert sorted(named) == sorted(shown) == MODULES


@built
def test_every_public_name_is_described_once():
    ids = [
        tag["id"] for page in PAGES for tag in soup(page).select("dt.sig[id]")
    ]
    assert len(ids) == len(set(ids))
    missing = {n for module in MODULES for n in public(module)} - set(ids)
    assert not missing
    assert len(ids) > 250
    for page in PAGES:  # which is no description
        text = soup(page).get_text()
        assert "Alias for field" not in text
        # What Sphinx leaves of a signature that it cannot read.
        assert not re.search(r"<\w+ |~\w+\.", text)


@built
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_code_of_chapters_leads_to_the_api(path):
    targets = set()
    for link in soup(path).select("pre a.sphinx-codeautolink-a"):
        page, _, anchor = link["href"].partition("#")
        assert page.startswith("../book/api/"), link
        assert re.match(r"(module-)?atrous\.", anchor), link
        targets.add((page, anchor))
    for page in {page for page, _ in targets}:
        found = {tag["id"] for tag in soup(path.parent / page).select("[id]")}
        assert {a for p, a in targets if p == page} <= found
    assert len(targets) >= 10


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("|a| * b", r"\|a\| \* b"),
        ("`|a| * b_`", "`|a| * b_`"),
        ("fill_ and a_b", r"fill\_ and a_b"),
        ("of `Window`s", r"of `Window`\ s"),
    ],
)
def test_signs_of_docstrings_are_no_markup(text, shown):
    assert docstrings.escaped(text) == shown


def test_an_indented_formula_stands_as_it_is():
    lines = ["Is", "", "    |a|", "      * b", "", "with |b|."]
    assert docstrings.plain(lines) == [
        "Is",
        "",
        "::",
        "",
        "    |a|",
        "      * b",
        "",
        r"with \|b\|.",
    ]


def test_sections_are_no_formulas():
    lines = ["Args:", "    a: One.", "", "    b: Two.", "", "Source:", "    x"]
    assert docstrings.plain(lines) == lines
