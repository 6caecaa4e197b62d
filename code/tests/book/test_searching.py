"""What the search page is given to search."""

import json
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from sphinx.errors import ExtensionError

import searching
from built_site import SITE, contents
from packaged import file_of

FORMULA = (
    '<span class="math"><span class="katex"><span class="katex-mathml">'
    "<math><semantics><mi>r</mi><annotation>{}</annotation></semantics>"
    '</math></span><span class="katex-html">shown</span></span></span>'
)
SIGN = searching.FORMULA


def read(page, text):
    soup = BeautifulSoup(f"<article>{text}</article>", "html.parser")
    return searching.Reader(page).read(soup.article)


def test_sections_are_told_apart():
    first, second, third = read(
        "chapters/a",
        '<section id="a"><h1>A<a class="headerlink">#</a></h1><p>One\n <b>two'
        '</b>.</p><section id="b"><h2>B <code>b</code></h2><p>Three.</p>'
        '<ul><li>Four</li></ul><section id="c"><h3>C</h3><p>Five.</p>'
        "</section></section><p>Six.</p></section>",
    )
    assert first.packed() == [
        "section",
        "chapters/a.html",
        "A",
        [],
        "One two.\nSix.",
        "",
    ]
    assert second.packed() == [
        "section",
        "chapters/a.html#b",
        "B b",
        ["A"],
        "Three.\nFour",
        "",
    ]
    assert (third.place, third.path) == ("chapters/a.html#c", ["A", "B b"])


def test_what_nobody_looks_for_is_left_out():
    (found,) = read(
        "book/a",
        '<section id="a"><h1>A</h1><!-- no --><p>Yes.<button>No</button></p>'
        '<div class="run-it"><p>No</p></div><script>no</script>'
        '<p class="admonition-title">No</p><details><summary>No</summary>'
        "<pre>def is_used(x): return Used</pre></details>"
        '<div class="cell_output">'
        "<pre>printed 1</pre><table><tr><td>a_row 0.5</td></tr></table></div>"
        '<section id="empty"><h2>Empty</h2></section></section>',
    )
    assert found.text == ["Yes."]
    assert [*found.code] == ["is_used", "Used", "a_row"]


def test_formulas_are_marked():
    plain, other = FORMULA.format("r^2"), FORMULA.format("\\frac{1}{r}")
    (found,) = read(
        "book/a",
        f'<section id="a"><h1>Rate {plain}</h1><p>At {plain} or {other}.</p>'
        "</section>",
    )
    assert found.name == "Rate r^2"
    assert found.text == [f"At {SIGN}r^2{SIGN} or {SIGN}shown{SIGN}."]


def test_terms_have_their_names():
    _, one, two = read(
        "book/glossary",
        '<section id="glossary"><h1>Glossary</h1><p>Words.</p>'
        '<section id="letter-t"><h2>T</h2><dl class="glossary">'
        '<dt id="t-1">tap</dt><dt id="t-2">点</dt>'
        '<dd><p>A place.</p></dd><dt id="t-3">rate</dt><dd><p>A step.</p></dd>'
        "</dl></section></section>",
    )
    assert one.packed() == [
        "term",
        "book/glossary.html#t-1",
        "tap · 点",
        ["Glossary"],
        "A place.",
        "",
    ]
    assert (two.name, two.text) == ("rate", ["A step."])


def test_objects_have_their_names():
    _, module, one, method = read(
        "book/api/ops",
        '<section id="operations"><h1>Operations</h1><p>All.</p>'
        '<section id="module-m.ops"><h2>ops</h2><p>Some.</p><dl class="py">'
        '<dt class="sig" id="m.ops.C"><span class="sig-prename">m.ops.</span>'
        'C(<em class="sig-param">unit_rates</em>)</dt><dd><p>What.</p>'
        '<dl class="field-list"><dt>Source</dt><dd>Paper</dd></dl>'
        '<dl class="py"><dt class="sig" id="m.ops.C.f">f()</dt><dd><p>How.</p>'
        "</dd></dl></dd></dl></section></section>",
    )
    assert (module.kind, module.path) == ("api", ["API", "Operations"])
    assert one.packed() == [
        "api",
        "book/api/ops.html#m.ops.C",
        "C",
        ["API", "Operations", "ops"],
        "What.\nSource\nPaper",
        "unit_rates",
    ]
    assert (method.name, method.path[-1]) == ("C.f", "C")
    assert method.text == ["How."]


def test_pages_that_repeat_others_are_cut():
    found = read(
        "book/results",
        '<section id="results"><h1>Results</h1><p>All.</p>'
        '<section id="the-ledger"><h2>The ledger</h2><p>Claims.</p></section>'
        '<section id="chapter"><h2>Chapter</h2><p>Tables.</p></section>'
        "</section>",
    )
    assert [record.name for record in found] == ["Results", "The ledger"]


def test_a_missing_library_is_named():
    found = file_of(searching.PACKAGE, searching.LIBRARY)
    assert found.read_text().count("Oliver Nightingale")
    with pytest.raises(ExtensionError, match="mkdocs has no x"):
        file_of(searching.PACKAGE, "x.js")
    with pytest.raises(ExtensionError, match="no-package is not"):
        file_of("no-package", searching.LIBRARY)


@pytest.mark.usefixtures("site")
class TestBuilt:
    @pytest.fixture
    def records(self):
        path = SITE / searching.FOLDER / searching.DATA
        text = path.read_text(encoding="utf-8")
        start, end = "const searchData = ", ";\n"
        return json.loads(text.removeprefix(start).removesuffix(end))

    def test_every_page_is_searched(self, records):
        there = {place.partition("#")[0] for _, place, *_ in records}
        assert there == {f"{page}.html" for page in contents()}

    def test_every_place_is_there(self, records):
        places = {}
        for _, place, *_ in records:
            page, _, anchor = place.partition("#")
            places.setdefault(page, []).append(anchor)
        for page, anchors in places.items():
            text = (SITE / page).read_text(encoding="utf-8")
            soup = BeautifulSoup(text, "html.parser")
            ids = {tag["id"] for tag in soup.find_all(id=True)} | {""}
            assert set(anchors) <= ids, page
            assert len(set(anchors)) == len(anchors), page

    def test_all_terms_and_objects_are_found(self, records):
        terms = {name for kind, _, name, *_ in records if kind == "term"}
        text = (SITE / "book/glossary.html").read_text(encoding="utf-8")
        entries = BeautifulSoup(text, "html.parser").select("dl.glossary > dd")
        assert len(terms) == len(entries) > 50
        anchors = {place.partition("#")[2] for _, place, *_ in records}
        for path in (SITE / "book/api").glob("*.html"):
            soup = BeautifulSoup(path.read_text("utf-8"), "html.parser")
            assert {tag["id"] for tag in soup.select("dt.sig")} <= anchors

    def test_only_the_search_page_loads_it(self):
        for path in SITE.rglob("*.html"):
            text = path.read_text(encoding="utf-8")
            names = (*searching.SCRIPTS, searching.STYLE)
            loads = [f"{searching.FOLDER}/{name}" in text for name in names]
            assert set(loads) == {path == SITE / "search.html"}
        gone = ("searchindex.js", "_static/searchtools.js")
        assert not any(Path(SITE, name).exists() for name in gone)
