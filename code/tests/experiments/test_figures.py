import matplotlib as mpl
import numpy as np
import pytest
import torch

mpl.use("agg")
import matplotlib.pyplot as plt

from atrous.arithmetic import Field, Window
from atrous.experiments import figures


@pytest.fixture
def ax():
    with plt.rc_context():
        figures.use_style()
        fig, ax = plt.subplots()
        yield ax
        plt.close(fig)


def test_sampling_grid_marks_the_taps_and_the_span(ax):
    figures.sampling_grid(ax, Window(3, dilation=2), 9)
    blue = mpl.colors.to_rgba(figures.BLUE)
    *pixels, frame = ax.patches
    taps = {p.get_xy() for p in pixels if p.get_facecolor() == blue}
    assert len(pixels) == 81
    assert taps == {(x, y) for x in (2, 4, 6) for y in (2, 4, 6)}
    assert frame.get_bbox().bounds == (2, 2, 5, 5)
    assert not frame.get_fill()
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 9), (9, 0))  # rows go down
    assert not ax.axison
    with pytest.raises(ValueError, match=r"side=4.*spans 5"):
        figures.sampling_grid(ax, Window(3, dilation=2), 4)


def test_usage_map_shows_paths_and_holes(ax):
    figures.usage_map(ax, (Window(3, dilation=2),) * 2, 11)
    image = ax.images[0]
    values = image.get_array()
    assert image.get_extent() == [1, 10, 10, 1]
    line = np.array([1, 0, 2, 0, 3, 0, 2, 0, 1])
    assert (values.filled(0) == np.outer(line, line)).all()
    assert (values.mask == (np.outer(line, line) == 0)).all()
    assert len(ax.lines) == 2 * 12  # the grid
    figures.usage_map(ax, (Window(3, dilation=2),) * 2, 41)
    assert len(ax.lines) == 2 * 12 + 4  # a frame
    with pytest.raises(ValueError, match="side=8: the field is 9"):
        figures.usage_map(ax, (Window(3, dilation=2),) * 2, 8)


def test_scores_lie_where_their_fields_are_centred(ax):
    pixels = torch.rand(3, 32, 48)
    figures.scores_over(ax, pixels, torch.rand(2, 3), Field(30, 16, 7.5))
    assert ax.images[1].get_extent() == [-0.5, 47.5, 31.5, -0.5]
    assert ax.get_xlim() == (-0.5, 47.5)
    assert ax.get_ylim() == (31.5, -0.5)


def test_edge_map_is_ink_on_paper(ax):
    figures.edge_map(ax, torch.eye(4) / 2, "t")
    image = ax.images[0]
    assert image.get_clim() == (0, 1)
    assert not ax.axison
    paper, ink = (mpl.colors.to_hex(image.cmap(end)) for end in (0.0, 1.0))
    assert (paper, ink) == (figures.PAPER.lower(), figures.INK.lower())


def test_label_map_names_its_classes(ax):
    figures.label_map(ax, torch.eye(4, dtype=int), "t", ("ground", "disk"))
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert labels == ["ground", "disk"]
    assert ax.images[0].get_clim() == (0, figures.LABELS.N - 1)


def test_seed_curves_draw_each_run_and_their_mean(ax):
    curves = {"a": [[0, 1], [2, 5]], "dilated": [[1, 1]]}
    figures.seed_curves(ax, (0, 1), curves)
    lines = [line.get_ydata().tolist() for line in ax.lines]
    assert lines == [[0, 1], [2, 5], [1, 3], [1, 1], [1, 1]]
    colours = [line.get_color() for line in ax.lines]
    assert colours == [figures.BLUE] * 3 + [figures.ORANGE] * 2


def places(count, **options):
    """Where panels begin, from left to right and from the top, in panels."""
    fig, axes = figures.panels(count, **options)
    boxes = [ax.get_subplotspec().get_position(fig) for ax in axes]
    widest = max(box.width for box in boxes)
    plt.close(fig)
    left = min(box.x0 for box in boxes)
    return [round((box.x0 - left) / widest, 1) for box in boxes], fig


@pytest.mark.usefixtures("ax")  # the book's style
def test_panels_stand_two_a_row():
    assert places(2)[0] == [0, 1.1]  # a gap stands between two
    lefts, fig = places(3)
    assert lefts[:2] == [0, 1.1]
    assert 0.4 < lefts[2] < 0.7  # in the middle
    height = 2 * (figures.WIDTH / 2 + figures.TITLE)
    assert fig.get_size_inches().tolist() == [figures.WIDTH, height]
    lefts, fig = places(5, columns=3, shape=0.5)
    assert lefts[:3] == pytest.approx([0, 1.1, 2.2], abs=0.2)
    height = 2 * (figures.WIDTH / 6 + figures.TITLE)
    assert fig.get_size_inches()[1] == pytest.approx(height)


def luminance(colour):
    """Relative luminance of WCAG 2."""
    rgb = np.array(mpl.colors.to_rgb(colour))
    linear = np.where(
        rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92
    )
    return linear @ (0.2126, 0.7152, 0.0722)


def test_rates_get_darker_and_can_be_written_on():
    colours = [figures.rate_colour(rate) for rate in range(1, 65)]
    assert len({*colours}) == 64
    light = [luminance(colour) for colour in colours]
    assert light[1:] == sorted(light[1:], reverse=True)
    for colour, here in zip(colours, light, strict=True):
        ink = luminance(figures.ink_on(colour))
        low, high = sorted((here, ink))
        assert (high + 0.05) / (low + 0.05) > 4.5, colour
    assert figures.rate_colour(1000) == colours[-1]
    with pytest.raises(ValueError, match="rate=0"):
        figures.rate_colour(0)
