import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from atrous.experiments import colours
from atrous.experiments.colours import CURVES, DARK, INK, PALETTE, PAPER

CSS = Path(__file__).parents[3] / "book/_static/explorer/picture.css"
NAMES = {"--paper": PAPER, "--ink": INK, "--grid": colours.RULE}
NAMES |= {"--beyond": colours.GROUND, "--hole": colours.HOLE}
NAMES |= {f"--c{i}": colour for i, colour in enumerate(PALETTE)}
NAMES |= {"--c6": colours.BROWN, "--c7": colours.VIOLET}


def contrast(one, other):
    """WCAG 2.2's contrast ratio of two colours."""
    linear = [
        np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        for rgb in map(np.array, (to_rgb(one), to_rgb(other)))
    ]
    a, b = sorted(rgb @ (0.2126, 0.7152, 0.0722) for rgb in linear)
    return (b + 0.05) / (a + 0.05)


def test_palette_is_told_apart_by_the_colour_blind():
    """Simulated by Machado et al. 2009, severity 1; distance in linear RGB."""
    deuteranopia = np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    )
    protanopia = np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    )
    for palette in (PALETTE, [DARK[colour] for colour in PALETTE]):
        tones = np.array([to_rgb(c) for c in palette]) ** 2.2
        for matrix in (np.eye(3), deuteranopia, protanopia):
            seen = tones @ matrix.T
            apart = np.linalg.norm(seen[:, None] - seen, axis=-1)
            apart[np.eye(len(seen), dtype=bool)] = 9
            assert apart.min() > 0.1


def test_tones_are_the_explorers():
    sheet = CSS.read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"(--\w+): (#\w+);", sheet.partition(end)[0]))
        for end in ('html[data-theme="dark"]', "svg.picture path")
    )
    for name, colour in NAMES.items():
        # Three digits say each twice.
        assert to_rgb(light[name]) == to_rgb(colour), name
        if colour != colours.HOLE:
            assert to_rgb(dark[name]) == to_rgb(DARK[colour]), name


def test_dark_pages_can_be_read():
    assert contrast("white", "black") == pytest.approx(21)
    assert contrast(PAPER, INK) > 4.5
    assert contrast(DARK[PAPER], DARK[INK]) > 4.5
    for colour in {*PALETTE, *CURVES.values()}:
        assert contrast(DARK[colour], DARK[PAPER]) > 3, colour


def test_a_curve_has_its_colour_in_every_figure():
    found = colours.colours(("b", "rate 4", "c"))
    assert [*found] == ["b", "rate 4", "c"]
    assert found["rate 4"] == CURVES["rate 4"]
    assert len(set(found.values())) == 3
    assert colours.colours(("plain", "dilated")) == {
        name: CURVES[name] for name in ("plain", "dilated")
    }
    with pytest.raises(ValueError, match=r"5 colours are left for 6"):
        colours.colours(("rate 4", *"abcdef"))
