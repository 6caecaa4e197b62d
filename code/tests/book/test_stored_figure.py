"""A chapter's figure on another page is the stored one, with its words."""

import base64
import io

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

import stored_figure
from built_site import ROOT, SITE

CHAPTER, NAME = "photograph", "fig-photograph-labels"


def notebook(pixels, name="fig-one"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    data = {"image/png": base64.b64encode(file.getvalue()).decode()}
    output = nbformat.v4.new_output("display_data", data=data)
    words = {
        "figure": {"caption": "What it\n  shows.", "name": name},
        "image": {"alt": "What is\n  seen."},
    }
    cells = [
        nbformat.v4.new_markdown_cell("words"),
        nbformat.v4.new_code_cell(
            outputs=[output], metadata={"mystnb": words}
        ),
    ]
    return nbformat.v4.new_notebook(cells=cells)


def opened(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_a_figure_is_found_by_its_name():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    stored = stored_figure.found(notebook(pixels), "fig-one")
    assert (opened(stored.light) == pixels).all()
    assert (stored.caption, stored.alt) == ("What it shows.", "What is seen.")
    assert stored.dark is None


def test_another_name_is_refused():
    made = notebook(np.zeros((2, 2, 3), np.uint8))
    made.cells[1].outputs = []  # named, and never run
    for name in ("fig-one", "fig-two"):
        with pytest.raises(ValueError, match=f"{name}: no cell"):
            stored_figure.found(made, name)


def test_the_index_shows_what_the_chapter_stores():
    soup = BeautifulSoup((SITE / "book/index.html").read_text(), "html.parser")
    (image,) = soup.select(f'img[src$="{NAME}.jpg"]')
    file = (SITE / "book" / image["src"]).resolve()
    shown = np.asarray(Image.open(file).convert("RGB"), float)
    stored = stored_figure.found(
        nbformat.read(ROOT / f"chapters/{CHAPTER}.ipynb", 4), NAME
    )
    assert np.abs(shown - opened(stored.light)).mean() < 4
    assert image["alt"] == stored.alt
    figure = image.find_parent("figure")
    assert stored.caption in " ".join(figure.get_text().split())
    assert figure.select(f'a[href$="{CHAPTER}.html"]')
    (dark,) = figure.select("img.for-dark")
    file = (SITE / "book" / dark["src"]).resolve()
    shown = np.asarray(Image.open(file).convert("RGBA"))
    kept = np.asarray(Image.open(io.BytesIO(stored.dark)).convert("RGBA"))
    assert (shown == kept).all()
