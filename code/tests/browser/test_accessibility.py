"""Rules of axe-core, the keyboard, and readers who want no motion."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from built_site import contents, pages

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
# Which of what must be reached has the focus.
FOCUSED = """() => {
    const e = document.activeElement;
    return {
        tag: e.outerHTML.slice(0, 150),
        skip: e.matches('a[href="#main-content"]'),
        sidebar: e.matches(".bd-sidebar-primary nav a"),
        search: e.matches(".search-button__button, input[type=search]"),
        theme: e.matches(".theme-switch-button"),
        content: e.matches("article a[href]"),
    };
}"""
BRIGHTER, PIXELS = 40, 200  # a visible change: of a channel, and how many


def picture(page):
    shot = page.screenshot(animations="allow")
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), dtype=int)


def focus_changes(page):
    """How many pixels look different when the focus goes from its place.

    A style sheet's word is not taken for it: an outline can be declared and
    yet be covered. The next Tab goes on from the place that had the focus.
    """
    with_focus = picture(page)
    page.evaluate("document.activeElement.blur()")
    change = abs(picture(page) - with_focus).max(axis=2)
    return int((change > BRIGHTER).sum())


# Pages of the API are alike: one form for each, in turn, is enough.
FORMS = [
    (name, *form)
    for number, name in enumerate(PAGES)
    for turn, form in enumerate((("light", 1300), ("dark", 360)))
    if "book/api/" not in name or number % 2 == turn
]


@pytest.mark.parametrize(("name", "theme", "width"), FORMS)
def test_axe_finds_nothing(visit, faults, name, theme, width):
    page = visit(name, width=width, color_scheme=theme, mounted=True)
    assert page.locator("html").get_attribute("data-theme") == theme
    found = faults(page)
    assert not found, json.dumps(found, indent=1)


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
        reached.append({kind for kind in wanted if one[kind]})
        changed = focus_changes(page)
        if changed < PIXELS:
            unseen.append(f"{changed} pixels: {one['tag']}")
        if set().union(*reached) == wanted:
            break
    assert set().union(*reached) == wanted
    assert reached[0] == {"skip"}
    assert not unseen, "\n".join(unseen)


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
    assert page.evaluate(FOCUSED)["sidebar"]
    page.keyboard.press("Escape")
    link.wait_for(state="hidden")
