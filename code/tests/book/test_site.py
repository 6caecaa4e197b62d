"""The site's build steps, and what they leave of the built pages."""

import functools
import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from PIL import Image

import dark_figures
import equations
import finishing
from built_site import SITE, pages

PAGES = [SITE / name for name in pages()]
HEAD = """<head><meta name="viewport" content="a"/>
<script>let x = 1;</script>
<meta name="viewport" content="b"/>
<link rel="preload" as="script" href="b.js" />
<script src="_static/documentation_options.js?v=1"></script>
<script src="_static/one.js"></script>
<script data-a="b" src="_static/two.js?v=2"></script>
<script defer src="_static/three.js"></script>
<script defer src="_static/scripts/fontawesome.js?digest=1"></script>
<script defer src="_static/sphinx_highlight.js"></script>
<script src="searchindex.js"></script></head>"""


def scripts(soup):
    return {
        Path(tag["src"].partition("?")[0]).name: tag.has_attr("defer")
        for tag in soup.select("head script[src]")
    }


@functools.cache
def parsed(path):
    return soup_of(path.read_text(encoding="utf-8"))


def soup_of(page):
    return BeautifulSoup(page, "html.parser")


def test_scripts_wait_and_keep_their_order():
    soup = soup_of(f"{HEAD}<body>")
    finishing.order_head(soup, "let y = 2;")
    assert list(scripts(soup).items()) == [
        ("one.js", True),
        ("two.js", True),
        ("three.js", True),
    ]
    inline = [tag.string for tag in soup.select("script:not([src])")]
    assert inline == ["let x = 1;", "let y = 2;"]
    assert [tag["content"] for tag in soup.find_all("meta")] == ["a"]
    assert not soup.find("link")


def test_tags_are_mended():
    soup = soup_of(
        '<div id="pst-primary-sidebar"></div>'
        "<li><a>One <b>two</b></a><details><summary>"
        '<span class="toctree-toggle"></span></summary></details></li>'
        '<div class="citation-list" role="list"><div role="doc-biblioentry">'
        '</div></div><button class="search-button-field" aria-label="S">'
        '</button><div class="tag_hide-cell"><details><summary>'
        "<p>Show code cell content</p></summary></details></div>"
        '<footer class="bd-footer">\n</footer>'
        '<th class="head"><p></p></th><th class="head">a</th>'
    )
    finishing.mend(soup)
    assert soup.find(id="pst-primary-sidebar")["aria-label"] == "Book"
    assert soup.summary["aria-label"] == "Pages of One two"
    assert len(soup.select("[role]")) == 1
    assert not soup.button.has_attr("aria-label")
    prompt = soup.select_one(".tag_hide-cell summary")
    assert prompt.get_text() == "Show the solution"
    assert not soup.footer
    assert str(soup).endswith('<td><p></p></td><th class="head">a</th>')


def test_columns_of_numbers_are_set_flush_right():
    rows = [
        ("a", "0.5 ± 0.1 (n=3)", "+0.1", "-0.1 to 0.2", "1,000", "3x3", ""),
        ("1", "12.5", "", "+1 to +2", "7", "2", ""),
    ]
    cells = (
        "".join(f'<td class="text-left x">{text}</td>' for text in row)
        for row in rows
    )
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    head = '<th class="head text-left"></th>' * len(rows[0])
    soup = soup_of(f'<table class="table"><tr>{head}</tr>{body}</table>')
    finishing.align(soup)
    right = [
        ["text-right" in cell["class"] for cell in row.find_all(["th", "td"])]
        for row in soup.find_all("tr")
    ]
    assert right == [[False, *[True] * 4, False, False]] * 3
    assert soup.find_all("td")[1]["class"] == ["text-right", "x"]


def test_pictures_say_their_size(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    soup = soup_of('<img src="a.png"/><img src="b.svg"/><img width="1"/>')
    finishing.measure(soup, tmp_path)
    first, *others = soup.find_all("img")
    assert (first["width"], first["height"]) == ("30", "20")
    assert first["loading"] == "lazy"
    assert [len(image.attrs) for image in others] == [1, 1]


def test_drawings_get_the_tones_of_dark_pages():
    drawing = '<rect fill="#0072b2"/><path stroke="#9aa3ab" fill="#FFFFFF"/>'
    assert dark_figures.recolour(drawing) == (
        '<rect fill="#3D9BD6"/><path stroke="#9aa3ab" fill="#14181C"/>'
    )


def test_katex_is_of_one_version():
    found = equations.folder()
    fonts = {path.stem for path in (found / "fonts").glob("*.woff2")}
    named = re.findall(
        r"fonts/([\w-]+)\.woff2", (found / equations.STYLE).read_text()
    )
    assert fonts == set(named)


def test_equations_are_html_and_mathml():
    for display in (False, True):
        page = soup_of(equations.typeset("r^2", display=display))
        assert page.find("msup")
        assert bool(page.select(".katex-display")) is display
    with pytest.raises(equations.ExtensionError, match=r"\\frac\{1"):
        equations.typeset(r"\frac{1", display=False)
    # After an error the next one is answered as before.
    assert "katex" in equations.typeset("s", display=False)


@pytest.mark.usefixtures("site")
class TestBuilt:
    @pytest.fixture(params=PAGES, ids=lambda path: path.stem)
    def soup(self, request):
        return parsed(request.param)

    def test_is_described_and_names_no_other_site(self, soup):
        (tag,) = soup.find_all("meta", attrs={"name": "description"})
        assert 10 < len(tag["content"]) <= finishing.LONGEST_DESCRIPTION + 4
        assert len(soup.find_all("meta", attrs={"name": "viewport"})) == 1
        for tag, name in (
            ("script", "src"),
            ("link", "href"),
            ("img", "src"),
            ("iframe", "src"),
        ):
            for found in soup.find_all(tag, attrs={name: True}):
                assert not re.match(r"(https?:)?//", found[name])

    def test_no_script_holds_it_up(self, soup):
        waits = scripts(soup)
        assert "doctools.js" in waits
        assert all(waits.values())

    def test_equations_are_typeset(self, soup):
        for math in soup.select(".math"):
            assert math.select_one("math"), math
            assert not math.select(".katex-error"), math

    def test_figures_have_a_second_rendering(self, soup):
        for figure in soup.find_all("figure"):
            first, second = figure.find_all("img")
            assert "for-dark" in second["class"]
            assert not second["alt"]
            assert second.get("width") == first.get("width")
            assert second.get("height") == first.get("height")
            assert len(figure.find_all("figcaption")) == 1

    def test_pictures_have_a_size(self, soup):
        for image in soup.find_all("img"):
            assert image["src"].endswith(".svg") or image["width"]
