"""Drawings of networks, made from what they call.

Stages follow each other from top to bottom, and networks stand side by side.
A box is a stage. Its width is the side of its map on a logarithmic scale, so
that a stride narrows it; its colour is its rate, which its number says, too.
"""

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon

from atrous.experiments.calls import Call, Stage
from atrous.experiments.figures import INK, PAPER, ink_on, rate_colour

Network = Mapping[str, Stage]  # its stages by their titles

# In inches. Letters of 10 points are still of 7 on a phone, where the figure
# is about 345 pixels wide.
WIDTH, NAMES, MARGIN = 4.8, 1.3, 0.15
BOX, LINE, GAP, CHEVRON = 0.3, 0.17, 0.07, 0.06
LETTERS, LETTER, DPI = 10, 0.0705, 160
OCTAVE = 0.12  # share of a lane that a box loses when its map's side halves
NBSP = "\N{NO-BREAK SPACE}"
EDGE = {"color": INK, "lw": 0.9}


@dataclass
class _Lane:
    """Where a network is drawn, and how far the drawing has come."""

    network: Network
    centre: float
    width: float
    stride: float = 1.0  # output stride so far
    shape: tuple[int, int] | None = None  # of the map last written down
    end: float = 0.0  # where what was drawn last ends

    @property
    def side(self) -> float:
        """Width of a box on the map so far."""
        return self.width * max(1 - OCTAVE * math.log2(self.stride), 0.2)

    def follow(self, stage: Stage) -> None:
        """Take the strides of a stage, and what its operations resize."""
        self.stride *= _stride(stage)
        for call in stage.path():
            if not call.window:
                self.stride *= call.reads[1] / call.makes[1]


def draw_networks(*panels: Mapping[str, Network]) -> Figure:
    """Draw networks side by side, and panels of them one below the other.

    What the networks of a row have in common stands once, on the left.

    Args:
        panels: Networks by what is written above them, each with its stages
            by title, from `atrous.experiments.calls.stages`.

    Raises:
        ValueError: If the longest network of a panel lacks a title of
            another: its titles are the rows, in their order.
    """
    # None from the start would be made the style's when it is saved.
    figure = plt.figure(dpi=DPI, layout="constrained")
    figure.set_layout_engine("none")
    ax = figure.add_axes((0, 0, 1, 1))
    y = 0.0
    for panel in panels:
        y = _draw_panel(ax, panel, y) + 2 * GAP
    y = _draw_legend(ax, panels, y)
    figure.set_size_inches(WIDTH, y)
    ax.set(xlim=(0, WIDTH), ylim=(y, 0))
    ax.set_axis_off()
    return figure


def _draw_panel(ax: Axes, panel: Mapping[str, Network], top: float) -> float:
    """Draw networks side by side; gives where they end."""
    titles = _titles(panel)
    width = (WIDTH - NAMES) / len(panel)
    lanes = [
        _Lane(network, NAMES + (i + 0.5) * width, width - 2 * MARGIN)
        for i, network in enumerate(panel.values())
    ]
    y = top + LINE * max(1 + name.count("\n") for name in panel)
    for lane, name in zip(lanes, panel, strict=True):
        _write(ax, lane.centre, (top + y) / 2, name, weight="bold")
    pictures = [next(iter(lane.network.values())).reads for lane in lanes]
    y = _write_maps(ax, lanes, pictures, y)
    for title in titles:
        stages = [lane.network.get(title) for lane in lanes]
        y = _draw_row(ax, lanes, title, stages, y)
    return y


def _titles(panel: Mapping[str, Network]) -> list[str]:
    longest = [*max(panel.values(), key=len)]
    for name, network in panel.items():
        if lacking := [title for title in network if title not in longest]:
            raise ValueError(
                f"panels: {name!r} has {lacking}, and the longest network "
                f"only {longest}: give the same row the same title"
            )
    return longest


def _draw_row(
    ax: Axes,
    lanes: Sequence[_Lane],
    title: str,
    stages: Sequence[Stage | None],
    top: float,
) -> float:
    """Draw a stage of each network that has it; gives where the row ends."""
    pairs = [p for p in zip(lanes, stages, strict=True) if p[1]]
    facts = [_facts(stage) for _, stage in pairs]
    shared = facts[0] if len({*facts}) == 1 else ""
    lines = [title, *_wrap(shared, NAMES - 0.1)]
    half = len(lines) * LINE / 2
    fork = GAP * any(len(stage.branches) > 1 for _, stage in pairs)
    y = top + max(GAP + fork, half - BOX / 2)
    for i, line in enumerate(lines):
        place = y + BOX / 2 - half + (i + 0.5) * LINE
        weight = "normal" if i else "bold"
        _write(ax, 0, place, line, weight=weight, ha="left")
    for lane, stage in pairs:
        if len(stage.branches) > 1:
            _draw_branches(ax, lane, stage, y)
        else:
            _draw_stage(ax, lane, stage, y)
    bottom = y + BOX + fork
    under = 0
    for (lane, stage), fact in zip(pairs, facts, strict=True):
        words = (_beside_rates(stage), "" if shared else fact)
        lines = _wrap(", ".join(filter(None, words)), lane.width + 2 * MARGIN)
        under = max(under, len(lines))
        for i, line in enumerate(lines):
            _write(ax, lane.centre, bottom + (i + 0.6) * LINE, line)
            lane.end = bottom + (i + 1.1) * LINE
    made = [stage and stage.makes for stage in stages]
    end = _write_maps(ax, lanes, made, bottom + under * LINE)
    return max(end, y + BOX / 2 + half)


def _write_maps(
    ax: Axes,
    lanes: Sequence[_Lane],
    shapes: Sequence[tuple[int, int] | None],
    y: float,
) -> float:
    """Write down maps that have another shape than those before them."""
    pairs = zip(lanes, shapes, strict=True)
    new = [(lane, s) for lane, s in pairs if s and s != lane.shape]
    for lane, shape in new:
        channels, side = lane.shape = shape
        words = f"{side} × {side} × {channels}"
        _write(ax, lane.centre, y + 0.6 * LINE, words)
        lane.end = y + 1.1 * LINE
    return y + 1.1 * LINE * bool(new)


def _draw_stage(ax: Axes, lane: _Lane, stage: Stage, y: float) -> None:
    """Draw a box that narrows by the stride, with a field for each rate."""
    ax.plot([lane.centre] * 2, (lane.end, y), **EDGE)
    before, lane.end = lane.side, y + BOX
    lane.follow(stage)
    after, x, bottom = lane.side, lane.centre, y + BOX
    outline = Polygon(
        [
            (x - before / 2, y),
            (x + before / 2, y),
            (x + after / 2, bottom),
            (x - after / 2, bottom),
        ],
        fill=False,
        zorder=3,
        **EDGE,
    )
    ax.add_patch(outline)
    rates, wide = _rates(stage.path()), max(before, after)
    step = wide / len(rates)
    for i, rate in enumerate(rates):
        left, notch = x - wide / 2 + i * step, CHEVRON * (i > 0)
        right, tip = left + step, left + step + CHEVRON
        sides = [(left, bottom), (left + notch, y + BOX / 2), (left, y)]
        sides += [(right, y), (tip, y + BOX / 2), (right, bottom)]
        field = Polygon(sides, fc=_colour(rate), ec=PAPER, zorder=2 - i / 99)
        ax.add_patch(field).set_clip_path(outline)
        words = str(rate) if len(rates) > 1 else _words(stage)
        place = (left + right + notch) / 2, y + BOX / 2
        _write(ax, *place, words, on=_colour(rate))
    if stage.units:
        ends = (x + before / 2, y + 0.03), (x + after / 2, bottom - 0.03)
        style = {"arrowstyle": "-|>", "mutation_scale": 6, **EDGE}
        bend = "arc3,rad=-0.8"
        ax.add_patch(FancyArrowPatch(*ends, connectionstyle=bend, **style))


def _draw_branches(ax: Axes, lane: _Lane, stage: Stage, y: float) -> None:
    """Draw a box for each branch, and lines that fork and join."""
    rates = [_rates(stage.path(i)) for i in range(len(stage.branches))]
    words = [", ".join(str(rate or "1×1") for rate in row) for row in rates]
    for i, branch in enumerate(stage.branches):
        if branch[0].reads[1] == 1 < stage.reads[1]:
            words[i] = "global"
    wide, middles = lane.width + 1.4 * MARGIN, []
    scale = wide / sum(len(word) + 1.5 for word in words)
    left, bottom = lane.centre - wide / 2, y + BOX
    for word, row in zip(words, rates, strict=True):
        right = left + scale * (len(word) + 1.5)
        x0, x1, colour = left + 0.01, right - 0.02, _colour(row[0])
        corners = [(x0, y), (x1, y), (x1, bottom), (x0, bottom)]
        ax.add_patch(Polygon(corners, fc=colour, ec=INK, lw=EDGE["lw"]))
        middles.append((x0 + x1) / 2)
        _write(ax, middles[-1], y + BOX / 2, word, on=colour)
        left = right
    ax.plot([lane.centre] * 2, (lane.end, y - GAP), **EDGE)
    lane.end = bottom + GAP
    lane.follow(stage)
    for edge, bar in ((y, y - GAP), (bottom, lane.end)):
        ax.plot((middles[0], middles[-1]), (bar, bar), **EDGE)
        ax.vlines(middles, *sorted((edge, bar)), **EDGE)


def _draw_legend(ax: Axes, panels: Sequence[Mapping], y: float) -> float:
    """Show the colours of all rates that occur; gives where it ends."""
    rates = {
        call.rate
        for panel in panels
        for network in panel.values()
        for stage in network.values()
        for branch in stage.branches
        for call in branch
        if call.rate
    }
    if not rates:
        return y
    _write(ax, 0, y + LINE / 2, "colour of a rate", ha="left")
    step = min((WIDTH - NAMES) / len(rates), 0.4)
    for i, rate in enumerate(sorted(rates)):
        left, colour = NAMES + i * step, rate_colour(rate)
        ax.fill_between((left, left + step), y, y + LINE, color=colour, lw=0)
        _write(ax, left + step / 2, y + LINE / 2, str(rate), on=colour)
    return y + LINE


def _facts(stage: Stage) -> str:
    """What a stage consists of, as far as its box does not say it."""
    words, forks = [], len(stage.branches)
    if forks > 1:
        kernels = [
            max(call.window.kernel for call in branch if call.window)
            for branch in stage.branches
        ]
        names = " or ".join(f"{k}×{k}" for k in dict.fromkeys(kernels))
        words.append(f"{forks} branches of {names}")
        alone = stage.join
    else:
        alone = [c for c in stage.path() if not c.name.startswith(stage.units)]
    for label, run in itertools.groupby(map(_label, alone)):
        count = len([*run])
        repeats = count > 1 and "×" in label
        words.append(f"{count} of {label}" if repeats else label)
    if units := len(stage.units):
        words.append(f"{units} residual unit{'s' * (units > 1)}")
    facts = ", ".join(words)
    return "" if forks == 1 and facts == _words(stage) else facts


def _label(call: Call) -> str:
    if call.window is None:
        return call.kind
    k = f"{call.window.kernel}×{call.window.kernel}"
    return k if call.kind == "convolution" else f"{call.kind} {k}"


def _words(stage: Stage) -> str:
    """What stands in a box of one rate, or of none."""
    path, stride = stage.path(), _stride(stage)
    rate = _rates(path)[0]
    if rate and rate > 1:
        return f"rate {rate}"
    if stride > 1:
        return f"stride {stride}"
    if rate:
        return "rate 1"
    layers = all(call.kind == "convolution" for call in path)
    return "1×1" if layers else path[-1].kind


def _beside_rates(stage: Stage) -> str:
    """The stride of a box in which rates stand."""
    stride, forks = _stride(stage), len(stage.branches) > 1
    rates = _rates(stage.path())
    hidden = stride > 1 and not forks and rates not in ([None], [1])
    return f"stride {stride}" if hidden else ""


def _rates(path: Sequence[Call]) -> list[int | None]:
    """Rates one after another, each once as long as it stays; or None."""
    rates = [call.rate for call in path if call.rate]
    return [rate for rate, _ in itertools.groupby(rates)] or [None]


def _stride(stage: Stage) -> int:
    return math.prod(c.window.stride for c in stage.path() if c.window)


def _colour(rate: int | None) -> str:
    return PAPER if rate is None else rate_colour(rate)


def _wrap(words: str, width: float) -> list[str]:
    """Lines of that many inches; a fact that fits into one stays whole."""
    letters, (*others, last) = int(width / LETTER), words.split(", ")
    facts = [*(f"{fact}," for fact in others), last]
    whole = [
        fact.replace(" ", NBSP) if len(fact) <= letters else fact
        for fact in facts
    ]
    return textwrap.wrap(" ".join(whole), letters)


def _write(
    ax: Axes, x: float, y: float, text: str, *, on: str | None = None, **style
) -> None:
    """Write a line, on paper or on a colour."""
    style = {"ha": "center", "va": "center", "fontsize": LETTERS} | style
    ink = INK if on is None else ink_on(on)
    ax.text(x, y, text, color=ink, zorder=4, **style)
