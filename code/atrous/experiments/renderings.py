"""How a notebook stores a figure: both renderings, and facts about it.

Beside the PNG that every viewer shows lies what the site lays over it on
dark pages. Its metadata says what a test cannot see in pixels: how small
the smallest text is, which names have which colours, and whether the axes
say what they measure.
"""

import base64
import io
import sys
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import ScalarFormatter
from PIL import Image

from atrous.experiments import dark

MIME = "image/vnd.dark+png"
POINTS = 72  # to an inch


def named_colours(fig: Figure) -> dict[str, str]:
    """The colour of everything in a figure that has a name."""
    found = {}
    for ax in fig.axes:
        for artist, name in zip(*ax.get_legend_handles_labels(), strict=True):
            if isinstance(artist, BarContainer):
                artist = artist[0]
            if hasattr(artist, "get_color"):
                found[name] = to_hex(artist.get_color())
            else:
                found[name] = to_hex(artist.get_facecolor())
    return found


def unnamed_axes(ax: Axes) -> Iterator[str]:
    """Yield the axes with numbers that do not say what they measure."""
    for name, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
        numbers = isinstance(axis.get_major_formatter(), ScalarFormatter)
        shown = any(
            label.get_visible() and label.get_text()
            for label in axis.get_ticklabels()
        )
        if numbers and shown and not axis.get_label_text():
            yield name


def facts(fig: Figure, width: int) -> dict:
    """What a figure that is `width` pixels wide says of itself.

    Returns:
        "text": height of the smallest text, of which it is an em, as a share
        of the figure's width; "colours": by name, as "#rrggbb"; "unnamed":
        the axes with numbers but without a label.
    """
    sizes = [
        text.get_fontsize()
        for text in fig.findobj(Text)
        if text.get_visible() and text.get_text().strip()
    ]
    em = min(sizes, default=0) * fig.dpi / POINTS
    axes = [ax for ax in fig.axes if ax.axison]
    return {
        "text": round(em / width, 4),
        "colours": named_colours(fig),
        "unnamed": [name for ax in axes for name in unnamed_axes(ax)],
    }


def encode(pixels: np.ndarray) -> str:
    """A picture as a PNG in base64."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def bundle(fig: Figure) -> tuple[dict[str, str], dict[str, dict]]:
    """The dark rendering of a figure by its MIME type, and its metadata."""
    pixels = dark.overlay(fig)
    return {MIME: encode(pixels)}, {MIME: facts(fig, pixels.shape[1])}


def register() -> None:
    """Have a notebook store all this of every figure that it shows.

    Outside of IPython this does nothing.
    """
    ipython = sys.modules.get("IPython")
    if ipython and (shell := ipython.get_ipython()):
        shell.display_formatter.mimebundle_formatter.for_type(Figure, bundle)
