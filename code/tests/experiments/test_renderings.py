import base64
import io
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from IPython.core.pylabtools import print_figure
from PIL import Image

mpl.use("agg")
import matplotlib.pyplot as plt

from atrous.experiments import dark, figures, renderings


@pytest.fixture
def ax():
    with plt.rc_context():
        figures.use_style()
        fig, ax = plt.subplots()
        yield ax
        plt.close(fig)


def test_a_figure_says_which_name_has_which_colour(ax):
    ax.plot([1, 2], color=figures.BLUE, label="line")
    ax.bar(1, 2, color=figures.RED, label="bar")
    ax.scatter([1], [1], c=[figures.GREEN], label="dot")
    ax.plot([1, 2])
    colours = renderings.named_colours(ax.figure)
    assert colours == {"line": "#0072b2", "bar": "#d55e00", "dot": "#009e73"}


def test_axes_with_numbers_want_a_name(ax):
    assert [*renderings.unnamed_axes(ax)] == ["x", "y"]
    ax.set(xlabel="rate", yticks=[])
    assert not [*renderings.unnamed_axes(ax)]
    ax.set_yticks([0, 1], ["plain", "dilated"])
    assert not [*renderings.unnamed_axes(ax)]


def test_the_smallest_text_is_told(ax):
    inches = 5
    width = inches * ax.figure.dpi  # pixels

    def points():
        ax.figure.draw_without_rendering()
        share = renderings.facts(ax.figure, width)["text"]
        return share * inches * renderings.POINTS

    assert points() == pytest.approx(10.5, abs=0.05)
    ax.text(0.5, 0.5, "small", fontsize=6)
    ax.text(0.5, 0.5, "", fontsize=2)
    assert points() == pytest.approx(6, abs=0.05)


def test_axes_that_are_off_need_no_name(ax):
    assert renderings.facts(ax.figure, 800)["unnamed"] == ["x", "y"]
    ax.set_axis_off()
    assert renderings.facts(ax.figure, 800)["unnamed"] == []


def test_the_bundle_is_the_overlay(ax):
    ax.plot([1, 2])
    data, metadata = renderings.bundle(ax.figure)
    (png,) = data.values()
    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    assert (np.asarray(picture) == dark.overlay(ax.figure)).all()
    assert data.keys() == metadata.keys() == {renderings.MIME}


def test_both_renderings_are_of_one_size(ax):
    """IPython's is the first."""
    ax.figure.set_dpi(91)
    (png,) = renderings.bundle(ax.figure)[0].values()
    files = print_figure(ax.figure), base64.b64decode(png)
    first, second = (Image.open(io.BytesIO(file)).size for file in files)
    assert first == second


SHOWN = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
import matplotlib.pyplot as plt
from atrous.experiments import figures
figures.use_style()
fig, ax = plt.subplots()
data, metadata = shell.display_formatter.format(fig)
print([kind for kind in data if "dark" in kind], [*metadata])
"""


def test_ipython_shows_both():
    run = subprocess.run(
        [sys.executable, "-c", SHOWN],
        capture_output=True,
        text=True,
        env={"MPLBACKEND": "agg"},
    )
    shown = [renderings.MIME]
    assert run.stdout.strip() == f"{shown} {shown}", run.stderr
