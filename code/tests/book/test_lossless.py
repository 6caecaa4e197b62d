"""Pages ask for figures that are smaller, and have every pixel."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import lossless
from built_site import SITE, pages

STRIPES = np.zeros((60, 80, 4), np.uint8)
STRIPES[::7, ..., 0] = 200  # colours below an alpha of 0, too
STRIPES[..., 40:, 3] = 255


@pytest.fixture
def folder(tmp_path):
    (tmp_path / lossless.FOLDER).mkdir()
    return tmp_path / lossless.FOLDER


def test_the_pixels_stay(folder):
    path = folder / "a.png"
    Image.fromarray(STRIPES).save(path)
    before = path.stat().st_size
    lossless.shrink(path)
    (made,) = folder.iterdir()
    assert made.suffix == ".webp"
    assert made.stat().st_size < before
    with Image.open(made) as picture:
        assert (np.asarray(picture) == STRIPES).all()


def test_pages_ask_for_what_is_there(folder):
    Image.fromarray(STRIPES).save(folder / "a-dark.png")
    (folder.parent / "book").mkdir()
    page = folder.parent / "book/page.html"
    page.write_text('<img src="../_images/a-dark.png"><p>images/b.png')
    app = SimpleNamespace(
        builder=SimpleNamespace(name="html"), outdir=folder.parent
    )
    lossless.lighten(app, None)
    assert page.read_text() == (
        '<img src="../_images/a-dark.webp"><p>images/b.png'
    )


def test_no_page_asks_for_what_is_missing(site):
    asked = re.compile(rf'{lossless.FOLDER}/[^"#?&]+')
    for page in pages():
        for name in asked.findall((site / page).read_text(encoding="utf-8")):
            assert (SITE / name).exists(), (page, name)
