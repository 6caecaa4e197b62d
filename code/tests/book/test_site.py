"""The site's build steps, and what they leave of the built pages."""

import functools
import io
import re
from pathlib import Path

import matplotlib
import pytest
from bs4 import BeautifulSoup
from fontTools.ttLib import TTFont
from PIL import Image

import assets
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
    finishing.order_head(soup, "let y = 2;", searches=False)
    assert list(scripts(soup).items()) == [
        ("one.js", True),
        ("two.js", True),
        ("three.js", True),
    ]
    inline = [tag.string for tag in soup.select("script:not([src])")]
    assert inline == ["let x = 1;", "let y = 2;"]
    assert [tag["content"] for tag in soup.find_all("meta")] == ["a"]
    assert not soup.find("link")


def test_the_search_page_keeps_its_index():
    soup = soup_of(f"{HEAD}<body>")
    finishing.order_head(soup, "", searches=True)
    assert scripts(soup)["searchindex.js"]


def test_tags_are_mended():
    soup = soup_of(
        '<div id="pst-primary-sidebar"></div>'
        "<li><a>One <b>two</b></a><details><summary>"
        '<span class="toctree-toggle"></span></summary></details></li>'
        '<div class="citation-list" role="list"><div role="doc-biblioentry">'
        '</div></div><button class="search-button-field" aria-label="S">'
        '</button><div class="tag_hide-cell"><details><summary>'
        "<p>Show code cell content</p></summary></details></div>"
        '<th class="head"><p></p></th><th class="head">a</th>'
    )
    finishing.mend(soup)
    assert soup.find(id="pst-primary-sidebar")["aria-label"] == "Book"
    assert soup.summary["aria-label"] == "Pages of One two"
    assert len(soup.select("[role]")) == 1
    assert not soup.button.has_attr("aria-label")
    prompt = soup.select_one(".tag_hide-cell summary")
    assert prompt.get_text() == "Show the solution"
    assert str(soup).endswith('<td><p></p></td><th class="head">a</th>')


def test_pictures_say_their_size(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    soup = soup_of('<img src="a.png"/><img src="b.svg"/><img width="1"/>')
    finishing.measure(soup, tmp_path)
    first, *others = soup.find_all("img")
    assert (first["width"], first["height"]) == ("30", "20")
    assert first["loading"] == "lazy"
    assert [len(image.attrs) for image in others] == [1, 1]


def test_sheets_become_one(tmp_path):
    files = {
        "styles/theme.css": '@import "../basic.css";\na{b:c}',
        "basic.css": "body{background:url(file.png)}",
        "katex/k.css": "@font-face{src:url('fonts/k.woff2')}",
        "one.css": "i{background:url(data:image/png;base64,AA)}",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    link = '<link rel="stylesheet" href="{}_static/{}?v=1" />'
    shared = ("styles/theme.css", "katex/k.css")
    page = "".join(link.format("../", name) for name in shared)
    other = page + link.format("../", "one.css")
    pages = assets.bundle(tmp_path, [page, other])
    style = (tmp_path / assets.BUNDLE).read_text()
    rules = (
        "body{background:url(file.png)}",
        "a{b:c}",
        "@font-face{src:url(katex/fonts/k.woff2)}",
    )
    places = [style.index(rule) for rule in rules]
    assert places == sorted(places)
    assert "one.css" not in pages[0]
    assert pages[0].count("stylesheet") == 1
    assert pages[1] == pages[0] + link.format("../", "one.css")
    assert re.search(r'href="\.\./_static/bundle\.css\?v=\w{8}"', pages[0])
    assert (tmp_path / "one.css").exists()
    assert not (tmp_path / "katex/k.css").exists()
    assert not (tmp_path / "basic.css").exists()  # which came along


def test_tokens_of_the_colour_of_code_need_no_tags():
    style = "".join(
        f'html[data-theme="{theme}"] .highlight {{ background: #f; color: '
        f'#{code} }}\nhtml[data-theme="{theme}"] .highlight .n {{ color: '
        f'#{code} }} /* Name */\nhtml[data-theme="{theme}"] .highlight .o '
        f'{{ color: #{operator} }}\nhtml[data-theme="{theme}"] .highlight '
        f".nd {{ color: #{code}; font-weight: bold }}\n"
        for theme, code, operator in (("light", 1, 1), ("dark", 2, 3))
    )
    kinds = finishing.plain(style)
    assert kinds == {"n"}
    soup = soup_of(
        '<div class="highlight"><pre><span></span><span class="n">a</span>'
        '<span id="line"></span>'
        '<span class="o">=</span><a><span class="n">b</span></a></pre></div>'
        '<pre><span class="n">c</span></pre>'
    )
    finishing.lighten(soup, kinds)
    assert str(soup) == (
        '<div class="highlight"><pre>a<span id="line"></span>'
        '<span class="o">=</span><a><span class="n">b</span></a></pre></div>'
        '<pre><span class="n">c</span></pre>'
    )


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ("p {a: b}", True),
        (".one {a: b}", True),
        ("/* c */", False),
        ("/*! a license */", True),
        (".other {a: b}", False),
        (".one .other {a: b}", False),
        (".other .one {a: b}", False),
        (".other, .one .other, .x {a: b}", False),
        (".other, .x, .one {a: b}", True),
        (".one.other:hover {a: b}", False),
        (".other, p > .one {a: b}", True),
        (".one:not(.other) {a: b}", True),
        ('[href=".other"] {a: url(x.other)}', True),
        (".made {a: b}", True),
        (".side-left {a: b}", True),
        (".sided {a: b}", False),
        (".-x {a: b}", False),
        ("@media print {.one {a: b}}", True),
        ("@font-face {src: url(a.woff)}", True),
    ],
)
def test_rules_that_match_nothing_are_dropped(rule, kept):
    page = '<p class="one two">other'
    script = 'add("made"); toggle(`side-${where}`, a - b)'
    names = assets.names([page], [script])
    assert assets.pruned(rule, names) == (rule if kept else "")


def test_rules_inside_queries_are_dropped_alone():
    style = "@media print{{@media screen{{{}.d{{e:f}}}}}}"
    full, left = style.format(".a{b:c}"), style.format("")
    assert assets.pruned(full, {"d"}) == left


def test_a_broken_sheet_is_an_error():
    with pytest.raises(assets.ExtensionError, match=r"bundle\.css, line 2"):
        assets.pruned(".a{b:c}\n.d", {"a"})


def test_a_sheet_without_the_fonts_is_an_error(tmp_path):
    (tmp_path / assets.BUNDLE).write_text("a{}")
    fonts = tmp_path / "vendor/fontawesome/webfonts"
    fonts.mkdir(parents=True)
    builtin = Path(matplotlib.get_data_path())
    font = builtin / "fonts" / "ttf" / "DejaVuSans.ttf"
    (fonts / "fa-a.ttf").write_bytes(font.read_bytes())
    with pytest.raises(assets.ExtensionError, match=r"fa-a\.ttf"):
        assets.subset_icons(tmp_path)


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

    def test_code_has_no_tags_that_show_nothing(self, soup):
        for plain in ("n", "p", "w"):
            for token in soup.select(f".highlight pre span.{plain}"):
                assert token.find_parent("a"), token

    def test_equations_are_typeset(self, soup):
        for math in soup.select(".math"):
            assert math.select_one("math"), math
            assert not math.select(".katex-error"), math

    def test_pictures_have_a_size(self, soup):
        for image in soup.find_all("img"):
            assert image["src"].endswith(".svg") or image["width"]


def test_built_fonts_hold_the_icons_in_use(site):
    fonts = site / "_static/vendor/fontawesome/webfonts"
    held = set()
    for path in fonts.glob("*.woff"):
        held |= set(TTFont(io.BytesIO(path.read_bytes())).getBestCmap())
    style = (site / "_static" / assets.BUNDLE).read_text(encoding="utf-8")
    drawn = {ord(sign) for sign in style if "\ue000" <= sign <= "\uf8ff"}
    icons = {
        "fa-magnifying-glass": 0xF002,
        "fa-sun": 0xF185,
        "fa-bars": 0xF0C9,
    }
    for name, point in icons.items():
        assert any(name in page.read_text() for page in PAGES), name
        assert point in drawn
    assert drawn <= held
    assert sum(path.stat().st_size for path in fonts.iterdir()) < 12_000
