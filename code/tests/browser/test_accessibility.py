"""Rules of axe-core, the keyboard, and readers who want no motion."""

import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from built import contents, pages

PAGES = pages()

MOVING = """() => {
    // A hundredth of a millisecond is how style sheets write "none".
    const most = 1e-5;
    const seconds = list => Math.max(...list.split(", ").map(t =>
        t.endsWith("ms") ? parseFloat(t) / 1000 : parseFloat(t)));
    const found = new Set();
    for (const element of document.querySelectorAll("*"))
        for (const part of [null, "::before", "::after"]) {
            const style = getComputedStyle(element, part);
            if (part && style.content === "none") continue;
            const moves = style.animationName !== "none"
                && seconds(style.animationDuration) > most;
            const turns = style.transitionProperty !== "none"
                && seconds(style.transitionDuration) > most;
            const glides = style.scrollBehavior === "smooth";
            if (moves || turns || glides)
                found.add(`${element.tagName}.${element.className}${part}`);
        }
    return [...found];
}"""
# The element that has the focus: what it is, and how that is seen.
FOCUSED = """() => {
    const e = document.activeElement;
    if (e === document.body) return null;
    const style = getComputedStyle(e);
    // The link of a card covers it, and the card shows the focus.
    const box = (e.closest(".sd-card") ?? e).getBoundingClientRect();
    const clear = /rgba\\(.*, 0\\)|transparent/;
    return {
        tag: e.outerHTML.slice(0, 150),
        seen: style.outlineStyle !== "none"
            && parseFloat(style.outlineWidth) >= 1
            && !clear.test(style.outlineColor)
            || style.boxShadow !== "none" && !clear.test(style.boxShadow),
        inside: box.width > 0 && box.height > 0 && box.bottom > 0
            && box.top < innerHeight && box.right > 0
            && box.left < innerWidth,
        skip: e.matches('#pst-skip-link a, a[href="#main-content"]'),
        sidebar: e.matches(".bd-sidebar-primary nav a"),
        search: e.matches(".search-button__button, input[type=search]"),
        theme: e.matches(".theme-switch-button"),
        content: e.matches("article a[href]"),
    };
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(visit, name, theme):
    page = visit(name, color_scheme=theme)
    assert page.locator("html").get_attribute("data-theme") == theme
    found = Axe().run(page).response
    assert len(found["passes"]) > 20
    faults = [
        {rule["id"]: [node["target"] for node in rule["nodes"]]}
        for rule in found["violations"]
    ]
    assert not faults, json.dumps(faults, indent=1)


@pytest.mark.parametrize("name", PAGES)
def test_nothing_moves_for_who_wants_no_motion(visit, name):
    page = visit(name, reduced_motion="reduce")
    assert page.evaluate(MOVING) == []


def test_something_would_move_otherwise(visit):
    """The check above sees what it looks for."""
    page = visit(f"{contents()[0]}.html", reduced_motion="no-preference")
    assert page.evaluate(MOVING)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 360])
@pytest.mark.parametrize("name", [contents()[0], contents()[1]])
def test_the_keyboard_reaches_everything(visit, name, width, theme):
    page = visit(
        f"{name}.html",
        width=width,
        color_scheme=theme,
        reduced_motion="reduce",
    )
    wanted = {"skip", "search", "theme", "content"}
    wanted |= {"sidebar"} if width > 1000 else set()  # else behind a button
    reached, unseen = [], []
    for _ in range(80):
        page.keyboard.press("Tab")
        one = page.evaluate(FOCUSED)
        assert one, f"the focus is nowhere after {len(reached)} steps"
        reached.append({kind for kind in wanted if one[kind]})
        if not (one["seen"] and one["inside"]):
            unseen.append({k: one[k] for k in ("tag", "seen", "inside")})
        if set().union(*reached) == wanted:
            break
    assert set().union(*reached) == wanted
    assert reached[0] == {"skip"}
    assert not unseen, json.dumps(unseen, indent=1)


def test_the_skip_link_skips(visit):
    page = visit(f"{contents()[1]}.html")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    inside = "!!document.activeElement.closest('#main-content')"
    assert page.evaluate(inside)


def test_the_book_is_reached_by_keys_on_a_phone(visit):
    page = visit(f"{contents()[1]}.html", width=360)
    link = page.locator(".bd-sidebar-primary nav a").nth(1)
    assert not link.is_visible()
    page.locator("button.primary-toggle").focus()
    page.keyboard.press("Enter")
    link.wait_for(state="visible")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate(FOCUSED)["sidebar"]:
            break
    assert page.evaluate(FOCUSED)["seen"]
    page.keyboard.press("Escape")
    link.wait_for(state="hidden")
