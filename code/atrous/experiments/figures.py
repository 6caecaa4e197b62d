"""What the chapters draw: arrays and windows, each on a given Axes.

Imported by chapters only. A figure is as wide as a phone's page would have
it: one plot, or panels two a row, with text that can be read there.
"""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

from atrous.arithmetic import Field, Window, check_positive, usage
from atrous.experiments import renderings
from atrous.experiments.colours import (
    COUNTS,
    HOLE,
    INK,
    INKS,
    LABELS,
    PALETTE,
    PAPER,
    RULE,
    colours,
)

BLUE, ORANGE, GREEN, PINK, SKY, RED = PALETTE
WIDTH = 5.5  # inches; on a phone its text is as large as that of the page
HEIGHT = 3.4  # of a plot
TITLE = 0.3  # of a panel's title
DENSE = "#CFE3F1"  # a rate of 1
RATES = LinearSegmentedColormap.from_list(
    "rates", ["#FBE6BE", ORANGE, RED, "#7A2B00"]
)
LARGEST_RATE = 64


def use_style() -> None:
    """Set matplotlib's defaults for a chapter: size, fonts, one palette.

    Notebooks store every figure for light and for dark pages from then on.
    """
    plt.rcParams.update(
        {
            "axes.edgecolor": INK,
            "axes.grid": False,
            "axes.labelcolor": INK,
            "axes.prop_cycle": plt.cycler(color=PALETTE),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": 11,
            "figure.constrained_layout.use": True,
            "figure.dpi": 144,
            "figure.facecolor": PAPER,
            "figure.figsize": (WIDTH, HEIGHT),
            "font.size": 10.5,
            "image.interpolation": "nearest",
            "legend.frameon": False,
            "savefig.facecolor": PAPER,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
        }
    )
    renderings.register()


def panels(
    count: int, *, shape: float = 1.0, columns: int = 2
) -> tuple[Figure, list[Axes]]:
    """Lay panels out at the page's width; an incomplete last row is centred.

    Args:
        count: How many.
        shape: Height of what a panel shows, as a share of its width.
        columns: How many a row. More than two are small on a phone.

    Returns:
        The figure, and an Axes for each panel, row by row.
    """
    rows = -(-count // columns)
    height = rows * (WIDTH / columns * shape + TITLE)
    fig = plt.figure(figsize=(WIDTH, height))
    grid = fig.add_gridspec(rows, 2 * columns)
    axes = []
    for number in range(count):
        row, place = divmod(number, columns)
        empty = max(0, columns * (row + 1) - count)
        first = 2 * place + empty
        axes.append(fig.add_subplot(grid[row, first : first + 2]))
    return fig, axes


def rate_colour(rate: int) -> str:
    """The colour that a rate has in all drawings: warm, darker as it grows.

    On a logarithmic scale from 2 to 64; 1, which leaves no holes, is blue.

    Raises:
        ValueError: If `rate` is below 1.
    """
    check_positive(rate=rate)
    if rate == 1:
        return DENSE
    return to_hex(RATES(math.log(rate / 2) / math.log(LARGEST_RATE / 2)))


def ink_on(colour: str) -> str:
    """Black or white, whichever has the higher contrast on a colour."""
    linear = [value**2.2 for value in to_rgb(colour)]
    luminance = np.dot((0.2126, 0.7152, 0.0722), linear)
    return "black" if luminance > 0.18 else "white"


def sampling_grid(ax: Axes, window: Window, side: int) -> None:
    """Draw which inputs one output in the middle reads.

    Args:
        ax: Where to draw.
        window: The layer; its padding and stride do not matter here.
        side: Pixels of the input drawn, along each axis.

    Raises:
        ValueError: If the window does not fit.
    """
    if side < window.span:
        raise ValueError(f"side={side}: the window spans {window.span}")
    first = (side - window.span) // 2
    taps = {first + i * window.dilation for i in range(window.kernel)}
    for y in range(side):
        for x in range(side):
            read = y in taps and x in taps
            colour = BLUE if read else PAPER
            ax.add_patch(
                Rectangle((x, y), 1, 1, facecolor=colour, edgecolor=RULE)
            )
    ax.add_patch(
        Rectangle(
            (first, first),
            window.span,
            window.span,
            fill=False,
            edgecolor=RED,
            linewidth=2,
        )
    )
    ax.set(xlim=(0, side), ylim=(side, 0), aspect="equal")
    ax.set_axis_off()


def usage_map(ax: Axes, stack: Window | Sequence[Window], side: int) -> None:
    """Draw how often one output of a stack uses each pixel of its field.

    Darker is more often; holes inside the field are marked in a colour of
    their own. The field stands in the middle of `side` x `side` pixels.

    Raises:
        ValueError: If the field is larger than `side`.
    """
    line = np.array(usage(stack))
    if side < len(line):
        raise ValueError(f"side={side}: the field is {len(line)}")
    counts = np.outer(line, line).astype(float)
    first = (side - len(line)) // 2
    extent = (first, first + len(line), first + len(line), first)
    used = np.ma.masked_equal(counts, 0)
    colours = COUNTS.with_extremes(bad=HOLE)
    ax.imshow(used, cmap=colours, extent=extent, vmin=0)
    fine = side <= 40  # of more lines nothing but ink would be seen
    for edge in range(0, side + 1, 1 if fine else side):
        ax.axhline(edge, color=RULE, linewidth=0.4)
        ax.axvline(edge, color=RULE, linewidth=0.4)
    ax.set(xlim=(0, side), ylim=(side, 0), aspect="equal")
    ax.set_axis_off()


def picture(ax: Axes, pixels: Tensor, title: str = "") -> None:
    """Show a picture, (3, H, W) in 0..1."""
    ax.imshow(pixels.permute(1, 2, 0).clamp(0, 1).cpu().numpy())
    ax.set_title(title)
    ax.set_axis_off()


def scores_over(
    ax: Axes,
    pixels: Tensor,
    scores: Tensor,
    field: Field,
    title: str = "",
    *,
    top: float | None = None,
    opacity: float = 0.75,
) -> None:
    """Lay a map over its picture, each score where its field is centred.

    Args:
        ax: Where to draw.
        pixels: The picture, (3, H, W) in 0..1.
        scores: The map, (h, w), not negative.
        field: The receptive field of the scores, for its jump and start.
        title: Above the picture.
        top: The score shown brightest; the largest if None.
        opacity: Of the map, 0 to 1.
    """
    picture(ax, pixels, title)
    first = field.start - field.jump / 2
    bottom, right = (first + side * field.jump for side in scores.shape)
    ax.imshow(
        scores.detach().cpu().numpy(),
        cmap="cividis",
        vmin=0,
        vmax=top,
        alpha=opacity,
        extent=(first, right, bottom, first),
    )
    ax.set(
        xlim=(-0.5, pixels.shape[2] - 0.5), ylim=(pixels.shape[1] - 0.5, -0.5)
    )


def edge_map(ax: Axes, strength: Tensor, title: str = "") -> None:
    """Show how strong edges are, (H, W) in 0..1, as ink on paper."""
    ax.imshow(strength.cpu().numpy(), cmap=INKS, vmin=0, vmax=1)
    ax.set_title(title)
    ax.set_axis_off()


def label_map(
    ax: Axes, labels: Tensor, title: str = "", names: Sequence[str] = ()
) -> None:
    """Show a label map, (H, W), of up to nine classes, with a legend."""
    ax.imshow(
        labels.cpu().numpy(),
        cmap=LABELS,
        vmin=0,
        vmax=LABELS.N - 1,
        interpolation="none",
    )
    ax.set_title(title)
    ax.set_axis_off()
    if names:
        handles = [
            Patch(color=LABELS(i), label=name) for i, name in enumerate(names)
        ]
        ax.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            ncols=len(names),
            fontsize="small",
        )


def seed_curves(
    ax: Axes,
    x: Sequence[float],
    curves: Mapping[str, Sequence[Sequence[float]]],
) -> None:
    """Draw a thick mean and a thin line a seed, for each name."""
    for name, colour in colours(curves).items():
        runs = np.asarray(curves[name])
        ax.plot(x, runs.T, color=colour, linewidth=0.8, alpha=0.6)
        ax.plot(x, runs.mean(0), color=colour, linewidth=2.4, label=name)
    ax.legend()
