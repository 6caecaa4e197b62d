"""What a reader does with a page: copies, changes its colours."""

import jupytext
import pytest

from built_site import ROOT, SITE, contents

CHAPTERS = [page for page in contents() if page.startswith("chapters/")]
HIDDEN = {"remove-cell", "remove-input"}
CLIPBOARD = {"permissions": ["clipboard-read", "clipboard-write"]}

COPY_ALL = """async () => {
    const pairs = [];
    for (const button of document.querySelectorAll("button.copybtn")) {
        const pre = button.closest(".highlight").querySelector("pre");
        await navigator.clipboard.writeText("");
        button.click();
        const copied = await navigator.clipboard.readText();
        pairs.push([pre.textContent, copied,
                    !!button.closest(".cell_input")]);
    }
    return pairs;
}"""


def sources(name):
    """The code cells of a chapter that its page shows."""
    for cell in jupytext.read(ROOT / f"{name}.md").cells:
        tags = set(cell.metadata.get("tags", ()))
        if cell.cell_type == "code" and not tags & HIDDEN:
            yield cell.source.strip()


def copied(page):
    page.locator("button.copybtn").first.wait_for(state="attached")
    return page.evaluate(COPY_ALL)


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapters_code_is_copied_exactly(visit, name):
    found = copied(visit(f"{name}.html", **CLIPBOARD))
    assert [text.strip() for _, text, cell in found if cell] == list(
        sources(name)
    )
    for shown, text, _ in found:
        assert text.strip("\n") == shown.strip("\n") != ""


def test_snippets_are_copied_whole(visit):
    found = [
        text for _, text, _ in copied(visit("book/snippets.html", **CLIPBOARD))
    ]
    files = sorted((ROOT / "code" / "snippets").glob("*.py"))
    for file in files:
        assert file.read_text(encoding="utf-8").strip() in {
            text.strip() for text in found
        }
    assert len(files) > 5


def test_a_copy_button_is_pressed(visit):
    page = visit("chapters/operator.html", **CLIPBOARD)
    cell = page.locator(".cell_input:visible").first
    cell.hover()
    cell.locator("button.copybtn").click()
    text = page.evaluate("navigator.clipboard.readText()")
    assert text.strip() in [*sources("chapters/operator")]


@pytest.mark.parametrize("place", ["http", "file"])
def test_the_theme_is_switched_and_kept(visit, place):
    base = "" if place == "http" else f"{SITE.as_uri()}/"
    page = visit(f"{base}chapters/operator.html", color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    button = page.locator(".theme-switch-button:visible").first
    seen = {page.evaluate(ground)}
    for _ in range(3):
        button.click()
        seen.add(page.evaluate(ground))
        if page.locator("html").get_attribute("data-theme") == "dark":
            break
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert len(seen) == 2
    page.locator(".prev-next-area a.right-next").click()
    page.wait_for_url("**/yu2016.html")
    assert page.locator("html").get_attribute("data-theme") == "dark"


SEEN = """e => {
    const {top, bottom} = e.getBoundingClientRect();
    return top >= 0 && bottom <= innerHeight;
}"""


def test_the_list_of_pages_shows_where_one_is(visit):
    page = visit("chapters/operator.html")
    root = page.url.removesuffix("chapters/operator.html")
    here = page.locator(".bd-sidebar-primary nav .current > a").last
    assert here.evaluate(SEEN)
    assert page.locator(".search-button-field").evaluate(SEEN)
    # The theme keeps the place from page to page, and hides these.
    for name in ("book/bibliography", "book/index", "book/api/zoo"):
        page.goto(f"{root}{name}.html")
        assert here.evaluate(SEEN), name


def test_a_wide_tables_caption_is_seen_whole_on_a_phone(visit):
    page = visit("book/results.html", width=360)
    texts = page.locator("caption .caption-text")
    right = "e => e.getBoundingClientRect().right"
    assert texts.count() > 50
    for text in texts.all():
        assert text.evaluate(right) <= 360
