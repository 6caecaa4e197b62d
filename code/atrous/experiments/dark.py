"""Figures for dark pages: a second rendering, laid over the first.

It is the same figure with light ink on dark paper and with lighter tones of
the palette. What looks the same in both, such as a photograph, is left out
of it: there it is transparent.
"""

import contextlib
import io
from collections.abc import Iterator

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import Collection
from matplotlib.colors import (
    Colormap,
    ListedColormap,
    to_hex,
    to_rgba_array,
)
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from PIL import Image, ImageFilter

from atrous.experiments.colours import DARK, DARK_SCALES, PAPER

TONES = {light.lower(): dark for light, dark in DARK.items()}
PROPERTIES = {  # what has a colour, and which
    Line2D: ("color", "markerfacecolor", "markeredgecolor"),
    Text: ("color",),
    Patch: ("facecolor", "edgecolor"),
    Collection: ("facecolor", "edgecolor"),
}
SEAM = 5  # pixels across, where the renderings overlap: browsers scale them


def tones(colours) -> np.ndarray:
    """Colours for a dark page, (N, 4); those without a tone stay.

    Args:
        colours: One colour or several, in any form of matplotlib's.
    """
    made = to_rgba_array(colours).copy()
    for rgba in made:
        if tone := TONES.get(to_hex(rgba)):
            rgba[:3] = to_rgba_array(tone)[0, :3]
    return made


def scale(colours: Colormap) -> Colormap | None:
    """A colour scale for a dark page; None if it has no other there.

    Such are the greys of a photograph.
    """
    if isinstance(colours, ListedColormap):
        listed = to_rgba_array(colours.colors)
        known = all(to_hex(rgba) in TONES for rgba in listed)
        return ListedColormap(tones(listed)) if known else None
    made = DARK_SCALES.get(colours.name)
    return made and made.with_extremes(bad=tones([colours.get_bad()])[0])


def stays(image: AxesImage) -> bool:
    """Whether an image looks the same on a dark page."""
    return image.get_array().ndim == 3 or scale(image.cmap) is None


def staying(fig: Figure) -> set[Artist]:
    """What lies on a picture that stays, and what legends show of it."""
    found = set()
    for ax in fig.axes:
        if any(stays(image) for image in ax.images):
            found |= {*ax.lines, *ax.patches, *ax.collections, *ax.texts}
            if legend := ax.get_legend():
                found |= {*legend.legend_handles}
    return found


def changes(artist: Artist) -> Iterator[tuple]:
    """Yield how an artist's colours change: what sets each, before, after."""
    if isinstance(artist, AxesImage):
        if not stays(artist):
            yield artist.set_cmap, artist.cmap, scale(artist.cmap)
        return
    if isinstance(artist, Collection) and artist.get_array() is not None:
        return  # its colours come from numbers
    for kind, names in PROPERTIES.items():
        for name in names if isinstance(artist, kind) else ():
            before = getattr(artist, f"get_{name}")()
            after = tones(before)
            if not after[:, 3].any():
                continue  # setting it would give it the artist's opacity
            if kind is Text and to_hex(before) == to_hex(PAPER):
                continue  # words on a colour, not paper
            if kind is not Collection:
                after = tuple(after[0])
            yield getattr(artist, f"set_{name}"), before, after


@contextlib.contextmanager
def darkened(fig: Figure) -> Iterator[None]:
    """Give a figure the colours of a dark page while the context is open."""
    kept = staying(fig)
    made = [
        change
        for artist in fig.findobj(lambda artist: artist not in kept)
        for change in changes(artist)
    ]
    for put, _, after in made:
        put(after)
    try:
        yield
    finally:
        for put, before, _ in made:
            put(before)


def pixels(fig: Figure) -> np.ndarray:
    """A figure as notebooks show it, cropped to what is drawn: (H, W, 3)."""
    file = io.BytesIO()
    fig.savefig(
        file,
        format="png",
        dpi=fig.dpi,
        bbox_inches="tight",
        facecolor=fig.get_facecolor(),
    )
    return np.asarray(Image.open(file).convert("RGB"))


def overlay(fig: Figure) -> np.ndarray:
    """What a dark page lays over a figure: (H, W, 4), 0 to 255.

    Nothing in the figure moves afterwards, because a layout that is computed
    once more may be off by a pixel.
    """
    fig.draw_without_rendering()
    fig.set_layout_engine("none")
    light = pixels(fig)
    with darkened(fig):
        dark = pixels(fig)
    same = Image.fromarray((light == dark).all(-1)).convert("L")
    shown = np.asarray(same.filter(ImageFilter.MinFilter(SEAM))) == 0
    opaque = np.full_like(dark[..., 0], 255)
    return np.dstack([dark, opaque]) * shown[..., None]
