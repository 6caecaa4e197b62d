"""The search page: what it finds, in which order, and where that leads."""

import json
from urllib.parse import quote_plus, unquote

import pytest

from built_site import SITE

BASES = {"http": "", "file": f"{SITE.as_uri()}/"}
PLACES = pytest.mark.parametrize("place", BASES)
FORMS = pytest.mark.parametrize(
    ("theme", "width"), [("light", 1300), ("dark", 360)]
)
# Whether words of an article are in sight.
SEEN = """words => {
    const blank = text => text.replace(/\\s/g, " ");
    const walk = document.createTreeWalker(
        document.querySelector("article"), NodeFilter.SHOW_TEXT);
    const texts = [];
    while (walk.nextNode()) texts.push(walk.currentNode);
    const at = blank(texts.map(t => t.data).join("")).indexOf(words);
    let done = 0;
    for (const text of texts) {
        if (at < done + text.length) {
            const range = document.createRange();
            range.setStart(text, at - done);
            const {top} = range.getBoundingClientRect();
            return at >= 0 && top > 0 && top < innerHeight;
        }
        done += text.length;
    }
}"""


@pytest.fixture
def search(visit):
    """Opens the search page and waits for what it says."""

    def search(words, *, place="http", **options):
        query = f"search.html?q={quote_plus(words)}"
        page = visit(BASES[place] + query, **options)
        page.locator(".search-summary:not(:empty)").wait_for()
        return page

    return search


def results(page):
    """Names and addresses of what is found, in groups."""
    return {
        group.locator("h2").inner_text(): [
            (link.inner_text(), link.get_attribute("href"))
            for link in group.locator("li > a").all()
        ]
        for group in page.locator("#found section").all()
    }


@PLACES
@pytest.mark.parametrize(
    ("words", "name", "where"),
    [
        ("gridding", "Gridding in three numbers", "chapters/drn.html#g"),
        ("multi grid", "Multi-Grid", "chapters/deeplabv3.html#multi-grid"),
        ("mean field", "Mean field", "chapters/deeplabv2.html#mean-field"),
    ],
)
def test_a_section_is_found_and_its_line_is_reached(
    search, place, words, name, where
):
    page = search(words, place=place)
    item = page.locator(f"#found li:has(> a[href^='{where}'])").first
    link = item.locator("> a")
    assert link.inner_text().startswith(name)
    assert item.locator(".path").inner_text()
    line = item.locator(".line")
    assert words.split()[0] in line.locator("mark").first.inner_text().lower()
    address, _, words = link.get_attribute("href").partition(":~:text=")
    assert unquote(words).split()[0] in line.inner_text()
    link.click()
    page.wait_for_url(lambda url: address.partition("#")[0] in url)
    page.wait_for_function(SEEN, arg=unquote(words))


def test_terms_come_by_their_names(search):
    found = results(search("gridding"))
    assert [*found] == ["By name", "In the book", "API"]
    assert found["By name"][0] == (
        "gridding",
        "book/glossary.html#term-gridding",
    )
    names = [name for group in found.values() for name, _ in group]
    assert "Glossary" not in names


@pytest.mark.parametrize(
    ("words", "term"),
    [
        ("atrous convolution", "dilated convolution"),
        ("\u7f51\u683c\u6548\u5e94", "gridding"),
        ("\u6548\u5e94", "gridding"),
        ("receptive fields", "receptive field"),
    ],
)
def test_a_term_is_found_by_its_other_names(search, words, term):
    assert results(search(words))["By name"][0][0] == term


@pytest.mark.parametrize(
    "words", ["dilation", "receptive field", "aspp", "output stride", "crf"]
)
def test_the_book_comes_before_the_api(search, words):
    found = results(search(words))
    assert [*found][-2:] == ["In the book", "API"]
    assert all("book/api" not in to for _, to in found["In the book"])
    assert all("book/api/" in to for _, to in found["API"])
    assert any("chapters/" in to for _, to in found["In the book"])


@pytest.mark.parametrize(
    ("words", "anchor"),
    [
        ("load_checkpoint", "atrous.convert.checkpoints.load_checkpoint"),
        ("Comparison.cells", "atrous.experiments.statistics.Comparison.cells"),
        ("dilated_conv", "module-atrous.ops.dilated_conv"),
    ],
)
def test_an_object_is_found_by_its_name(search, words, anchor):
    found = results(search(words))["By name"]
    assert [to.partition("#")[2] for _, to in found] == [anchor]


def test_part_of_a_name_is_enough(search):
    api = results(search("checkpoint"))["API"]
    assert any(name == "load_checkpoint" for name, _ in api)


def test_letters_may_be_wrong(search):
    page = search("permutohedrl latice")
    assert "something close" in page.locator(".search-summary").inner_text()
    assert "permutohedral lattice" in [
        name for name, _ in results(page)["In the book"]
    ]


@pytest.mark.parametrize("words", ["qwxyzzy", "?!"])
def test_a_search_without_a_result_says_so(search, words):
    page = search(words)
    page.get_by_text(f"Nothing was found for “{words}”.").wait_for()
    assert results(page) == {}


def test_a_search_is_only_read_as_text(search):
    page = search("<b>gridding</b>")
    assert "“<b>gridding</b>”" in page.get_by_role("status").inner_text()
    assert page.locator("#found b").count() == 0


@PLACES
def test_what_is_typed_is_found_at_once(search, place):
    page = search("gridding", place=place)
    page.keyboard.press("Control+a")
    page.keyboard.type("bilateral")
    status = page.get_by_role("status")
    status.filter(has_text="“bilateral”").wait_for()
    assert page.url.endswith("search.html?q=bilateral")
    page.keyboard.press("Control+a")
    page.keyboard.type("crf")
    page.keyboard.press("Enter")
    assert "“crf”" in status.inner_text()
    # The first result is the next thing that the keyboard reaches.
    page.keyboard.press("Tab")
    assert page.evaluate("!!document.activeElement.closest('#found li')")


def test_the_rest_is_shown_on_demand(search):
    page = search("dilation")
    group = page.locator("#found section").filter(
        has=page.get_by_role("heading", name="In the book")
    )
    button = group.get_by_role("button")
    count = int(button.inner_text().removeprefix("Show all "))
    before = group.locator("li").count()
    button.focus()
    page.keyboard.press("Enter")
    assert group.locator("li").count() == count > before
    focused = group.locator("li").nth(before).locator("> a")
    assert focused.evaluate("e => e === document.activeElement")


def test_the_search_button_and_its_keys(visit):
    page = visit("chapters/drn.html")
    page.locator("button.search-button__button:visible").first.click()
    page.keyboard.type("bilateral")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=bilateral*")
    page.locator("#found li a").first.wait_for()
    page.goto(page.url.split("search.html")[0] + "chapters/drn.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("crf")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=crf*")
    page.locator("#found li a").first.wait_for()


@FORMS
@pytest.mark.parametrize("name", ["search.html", "chapters/drn.html"])
def test_the_magnifier_covers_nothing(visit, name, theme, width):
    page = visit(name, width=width, color_scheme=theme)
    if name != "search.html":
        page.keyboard.press("Control+k")
    form = page.locator("form.bd-search:visible")
    icon = form.locator(".fa-magnifying-glass").bounding_box()
    left = form.locator("input").evaluate(
        "e => e.getBoundingClientRect().left"
        " + parseFloat(getComputedStyle(e).paddingLeft)"
    )
    assert icon["x"] + icon["width"] <= left


@FORMS
def test_results_are_accessible_and_fit(search, faults, theme, width):
    page = search("receptive field", width=width, color_scheme=theme)
    assert page.locator("#found mark").count()
    found = faults(page)
    assert not found, json.dumps(found, indent=1)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
