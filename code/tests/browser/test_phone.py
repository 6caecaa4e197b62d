"""What a reader sees on a phone and in the dark, measured in pixels."""

import io
import re

import nbformat
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from PIL import Image

from atrous.experiments.colours import DARK, INK, PAPER
from atrous.experiments.renderings import MIME
from built_site import ROOT, contents

CHAPTERS = [page for page in contents() if page.startswith("chapters/")]
NUMBERED = re.compile(r"^\$\$ \(", re.MULTILINE)
PHONE = {
    "width": 390,
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
NEAR = 0.02  # of colours, 0 to 1
LEAST_TEXT = 9.3  # pixels: 7 points of print
LEAST_TARGET = 24  # pixels, WCAG 2.2, 2.5.8

# Each figure by its name: the boxes of its renderings, and how wide the first
# is in its box, which it may not fill.
FIGURES = """() => {
    const found = {};
    for (const figure of document.querySelectorAll("figure:has(.for-dark)")) {
        const images = [...figure.querySelectorAll("img")];
        const boxes = images.map(image => {
            const {x, y, width, height} = image.getBoundingClientRect();
            return [x, y, width, height];
        });
        const [width, height] = boxes[0].slice(2);
        const shape = images[0].getAttribute("width")
            / images[0].getAttribute("height");
        found[figure.id] = [boxes, Math.min(width, height * shape)];
    }
    return found;
}"""
LOADED = """() => Promise.all([...document.images].map(image => {
    image.loading = "eager";
    return image.decode();
}))"""


def figures(name):
    """What each figure of a chapter says of itself, by its name."""
    notebook = nbformat.read(ROOT / f"{name}.ipynb", as_version=4)
    return {
        cell.metadata["mystnb"]["figure"]["name"]: output.metadata[MIME]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if MIME in output.get("data", ())
    }


def contrast(one, other):
    """WCAG's contrast ratio of two colours, (3,) from 0 to 1."""
    a, b = sorted(
        np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        @ (0.2126, 0.7152, 0.0722)
        for rgb in map(np.asarray, (one, other))
    )
    return (b + 0.05) / (a + 0.05)


def shot(locator):
    """Pixels of an element as it is shown, (H, W, 3) from 0 to 1."""
    file = io.BytesIO(locator.screenshot())
    return np.asarray(Image.open(file).convert("RGB")) / 255


def shows(pixels, colour):
    """Whether some pixels have a colour."""
    off = abs(pixels - np.array(to_rgb(colour))).max(-1)
    return (off < NEAR).sum() >= 4


@pytest.mark.parametrize("name", CHAPTERS)
def test_figures_are_dark_on_a_dark_page(visit, name):
    page = visit(f"{name}.html", color_scheme="dark", mounted=True, **PHONE)
    page.evaluate(LOADED)
    told = figures(name)
    assert told
    for figure, facts in told.items():
        pixels = shot(page.locator(f"#{figure} img.for-dark"))
        margin = pixels[3:6, 20:-20]  # the corners are round
        paper = margin[0, 0]
        assert abs(margin - to_rgb(DARK[PAPER])).max() < NEAR, figure
        assert shows(pixels, DARK[INK]), figure  # its text
        assert contrast(paper, to_rgb(DARK[INK])) >= 4.5
        tones = {light.lower(): dark for light, dark in DARK.items()}
        for curve, colour in facts["colours"].items():
            shown = tones[to_hex(colour)]
            # Dots on a photograph stay as they are.
            assert shows(pixels, shown) or shows(pixels, colour), curve
            assert contrast(paper, to_rgb(shown)) >= 3, curve


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_light_page_shows_the_first_rendering_alone(visit, name):
    page = visit(f"{name}.html", color_scheme="light")
    second = page.locator("img.for-dark")
    assert second.count() == len(figures(name))
    for figure in page.locator("figure").all():
        figure.scroll_into_view_if_needed()
    for image in second.all():
        assert not image.is_visible()
        assert not image.evaluate("image => image.complete"), "fetched"
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    for image in second.all():
        assert image.is_visible()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", CHAPTERS)
def test_text_in_figures_can_be_read(visit, name, width):
    page = visit(f"{name}.html", **PHONE | {"width": width})
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    shown, told = page.evaluate(FIGURES), figures(name)
    assert shown.keys() == told.keys()
    for figure, ((first, second), wide) in shown.items():
        # The second rendering lies on the first.
        assert first == pytest.approx(second, abs=0.5), figure
        assert told[figure]["text"] * wide >= LEAST_TEXT, figure
        assert 0 <= first[0] <= width - first[2], figure


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_finger_finds_the_copy_buttons(visit, name):
    for width in (390, 1000):  # a phone and a tablet
        page = visit(f"{name}.html", **PHONE | {"width": width})
        page.locator("button.copybtn").first.wait_for(state="attached")
        buttons = page.locator("button.copybtn:visible").all()
        assert len(buttons) > 5
        for button in buttons:
            box = button.bounding_box()
            assert min(box["width"], box["height"]) >= LEAST_TARGET
            assert box["x"] + box["width"] <= width
            opacity = "button => getComputedStyle(button).opacity"
            assert button.evaluate(opacity) == "1"


@pytest.mark.parametrize("name", CHAPTERS)
def test_equations_keep_their_number_in_sight(visit, name):
    page = visit(f"{name}.html", **PHONE)
    numbers = page.locator("div.math .eqno").all()
    text = (ROOT / f"{name}.md").read_text(encoding="utf-8")
    assert bool(numbers) == bool(NUMBERED.search(text))
    for number in numbers:
        box = number.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]


def shades(box):
    """How far the left and the right edge of a box are from its ground."""
    pixels = shot(box)
    row = np.median(pixels, axis=0).mean(-1)
    ground = np.median(row)
    return [abs(row[edge] - ground) > 0.1 for edge in (3, -4)]


# A block of code that the page is too narrow for, and a table.
WIDER = """selector => {
    const wide = e => e.scrollWidth > e.clientWidth + 60;
    const boxes = [...document.querySelectorAll(selector)];
    boxes.filter(e => e.checkVisibility()).find(wide).id = "wide";
    boxes.filter(e => e.checkVisibility()).find(e => !wide(e)).id = "narrow";
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("selector", "sticks"),
    [("div.highlight pre", False), (".pst-scrollable-table-container", True)],
)
def test_an_edge_is_shaded_that_more_lies_behind(
    visit, theme, selector, sticks
):
    page = visit("chapters/yu2016.html", color_scheme=theme, **PHONE)
    page.evaluate(WIDER, selector)
    wide = page.locator("#wide")
    assert shades(wide) == [False, True]
    wide.evaluate("box => box.scrollTo({left: 1e4, behavior: 'instant'})")
    # A table's first column stays in sight and covers the edge.
    assert shades(wide) == [not sticks, False]


@pytest.mark.parametrize("name", contents())
def test_no_cell_of_a_table_runs_into_the_next(visit, name):
    page = visit(f"{name}.html", **PHONE)
    wide = """cells => cells.filter(c => c.scrollWidth > c.clientWidth + 1)
        .map(c => c.innerText)"""
    assert page.locator("article td").evaluate_all(wide) == []
