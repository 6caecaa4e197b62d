import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

import terms

ROOT = Path(__file__).parents[3]
EXTENSIONS = ROOT / "code" / "sphinxext"


GLOSSARY = """# Words

A tap, at a rate.

```{glossary}
dilated convolution
[空洞卷积]{.language-zh}
atrous convolution
    A convolution with a rate.

field of view
    What it sees.

HDC
    Mixed rates.

rate
    A step.

rate mixture
    Two steps.

r-grid
    Frequencies.

receptive field
    A window.

tap
    A place.
```
"""
PAGE = """# A rate in a title

{text}
"""
CONF = """
extensions = ["myst_parser", "terms"]
myst_enable_extensions = ["attrs_inline", "deflist", "dollarmath"]
html_theme = "basic"
html_math_renderer = "mathjax"
terms_other = ["learning rate"]
"""


def build(folder, **pages):
    """A folder with these pages and a glossary, built; their soups."""
    folder.joinpath("conf.py").write_text(CONF)
    pages = {"words": GLOSSARY, **pages}
    names = "\n".join(pages)
    pages["index"] = f"# Index\n\n```{{toctree}}\n{names}\n```\n"
    for name, text in pages.items():
        path = folder.joinpath(f"{name}.md")
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-qWn", ".", "out"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(EXTENSIONS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {
        name: BeautifulSoup(
            folder.joinpath(f"out/{name}.html").read_text(), "html.parser"
        )
        for name in pages
    }


def linked(soup):
    """The linked texts, spaces collapsed, in the order of the page."""
    return [" ".join(a.text.split()) for a in soup.select("a.term")]


CASES = {
    "first": ("A tap, a tap and a rate.", ["tap", "rate"]),
    "synonyms": ("A dilated convolution is an atrous convolution.", 1),
    "plurals": ("Rates of taps, fields of view.", 3),
    "spread": ("A receptive\nfield.", ["receptive field"]),
    "longest": ("A rate mixture.", ["rate mixture"]),
    "whole": ("Generate tape; rated, tap-water, 4-r-grid, _tap_s.", 0),
    "acronym": ("An hdc, Hdc, hDC.", 0),
    "acronym exact": ("An HDC.", ["HDC"]),
    "capital": ("Dilated convolution. R-grid.", 2),
    "shouted": ("DILATED convolution, TAP.", 0),
    "other": ("A learning rate, Learning rates.", 0),
    "after other": ("A learning rate, a rate.", ["rate"]),
    "code": ("A `tap` and\n\n```python\nrate = 1\n```", 0),
    "math": ("With $tap$ and\n\n$$rate$$", 0),
    "link": ("[a tap](words.md) and <https://a.example/tap>", 0),
    "raw link": ('<a href="#a">A tap</a> and a rate.', ["rate"]),
    "quote": ('> A tap.\n\nThey say "a rate" or “an\nr-grid”.', 0),
    "heading": ("## The tap\n\n### A rate", 0),
    "table": ("| tap |\n|---|\n| rate |", ["rate"]),
    "caption": ("```{figure} a.png\n:alt: b\n\nA tap.\n```", 0),
    "raw": ("```{note}\nA tap.\n```", 0),
    "inside": ("*A tap*, **one rate**\n\n- HDC\n\na word\n: r-grid", 4),
}


@pytest.fixture(scope="module")
def soups(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    # One pixel, for the figure.
    folder.joinpath("a.png").write_bytes(
        bytes.fromhex(
            "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
            "3a7e9b550000000a49444154789c63600000000200014873"
            "7a4b0000000049454e44ae426082"
        )
    )
    pages = {
        name.replace(" ", ""): PAGE.format(text=text)
        for name, (text, _) in CASES.items()
    }
    return build(folder, **pages)


@pytest.mark.parametrize("name", CASES)
def test_what_is_linked(soups, name):
    _, expected = CASES[name]
    found = linked(soups[name.replace(" ", "")])
    assert (len(found) if isinstance(expected, int) else found) == expected


def test_links_lead_to_the_words_own_anchor(soups):
    anchors = {t["id"]: t.contents[0] for t in soups["words"].select("dt")}
    assert linked(soups["words"]) == []
    found = soups["synonyms"].select_one("a.term")
    page, anchor = found["href"].split("#")
    assert page == "words.html"
    assert anchors[anchor] == found.text == "dilated convolution"
    assert soups["words"].select_one("dt [lang=zh]").text == "空洞卷积"


def test_nothing_else_changes(soups):
    text = soups["first"].select_one("p").text
    assert text == "A tap, a tap and a rate."


def test_without_a_glossary(tmp_path):
    text = "# Page\n\nA tap."
    assert linked(build(tmp_path, words=text)["words"]) == []


def test_changed_terms_rewrite_all_pages(tmp_path):
    page = "# Page\n\nA tap with a margin."
    assert linked(build(tmp_path, page=page)["page"]) == ["tap"]
    words = GLOSSARY.replace("rate\n    A step", "margin\n    A step")
    again = build(tmp_path, page=page, words=words)["page"]
    assert linked(again) == ["tap", "margin"]


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("field of view", "fields of view"),
        ("boundary", "boundaries"),
        ("ray", "rays"),
        ("box", "boxes"),
        ("branch", "branches"),
        ("tap", "taps"),
    ],
)
def test_plural(term, expected):
    assert terms.plural(term) == expected


@cache
def entries():
    """Of the book's glossary: names and definition of each entry."""
    text = (ROOT / "book" / "glossary.md").read_text()
    inside = re.search(r"`{4}\{glossary\}\n(.*?)`{4}", text, re.S)[1]
    blocks = re.split(r"\n(?=\S)", re.sub(r"\n(?=\S)", "\n\0", inside))
    found, names, body = [], [], []
    for line in "\n".join(blocks).replace("\0", "").splitlines():
        if line and not line.startswith(" "):
            if body:
                found.append((names, "\n".join(body)))
                names, body = [], []
            names.append(line)
        elif line.strip():
            body.append(line)
    return [*found, (names, "\n".join(body))]


def test_the_glossary_is_sorted_and_each_entry_has_its_section():
    first = [names[0].lower() for names, _ in entries()]
    assert len(first) > 50
    assert first == sorted(first)
    for names, body in entries():
        pattern = r"\[\]\(<\.\./chapters/\w+\.md#[\w-]+>\)"
        assert re.search(pattern, body), names
    every = [name.lower() for names, _ in entries() for name in names]
    assert len(set(every)) == len(every)


def test_every_entry_occurs_in_a_chapter():
    chapters = "\n".join(
        path.read_text().replace("*", "")
        for path in (ROOT / "chapters").glob("*.md")
    )
    for names, _ in entries():
        own = [name for name in names if not name.startswith("[")]
        pattern, forms = terms.finder(tuple(own), ("learning rate",))
        pattern = re.compile(pattern.pattern.replace(f"{terms.QUOTED}|", ""))
        uses = (m[0] for m in pattern.finditer(chapters))
        assert any(terms.term_of(use, forms) for use in uses), own


def test_chinese_terms_stand_together_in_the_index(site):
    page = (site / "genindex.html").read_text(encoding="utf-8")
    soup = BeautifulSoup(page, "html.parser")
    heads = [head.get_text() for head in soup.select("article h2")]
    assert [head for head in heads if not head.isascii()] == ["中文"]
    listed = soup.find("h2", id="中文").find_next("table").select("a")
    chinese = sum(
        name.startswith("[") for names, _ in entries() for name in names
    )
    assert len(listed) == chinese > 40
