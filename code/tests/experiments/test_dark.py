import matplotlib as mpl
import numpy as np
import pytest

mpl.use("agg")
import matplotlib.pyplot as plt
from matplotlib.colors import ListedColormap, to_hex

from atrous.experiments import colours, dark, figures
from atrous.experiments.colours import DARK


@pytest.fixture
def style():
    with plt.rc_context():
        figures.use_style()
        yield
        plt.close("all")


@pytest.mark.usefixtures("style")
class TestDarkened:
    def test_every_kind_of_artist_gets_its_tone(self):
        fig, ax = plt.subplots()
        (line,) = ax.plot([1, 2], "o-", color=figures.INK)
        dots = ax.scatter([1, 2], [1, 2], c=[figures.BLUE, "lime"], alpha=0.5)
        (bar,) = ax.bar(1, 1, color=figures.RED, alpha=0.4)
        words = ax.set_title("title")
        white = ax.text(1, 1, "on a bar", color="white")
        with dark.darkened(fig):
            assert line.get_color() == line.get_markerfacecolor()
            assert to_hex(line.get_color()) == DARK[figures.INK].lower()
            blue, lime = map(to_hex, dots.get_facecolor())
            assert (blue, lime) == (DARK[figures.BLUE].lower(), "#00ff00")
            assert dots.get_facecolor()[:, 3].tolist() == [0.5, 0.5]
            assert to_hex(bar.get_facecolor()) == DARK[figures.RED].lower()
            assert bar.get_facecolor()[3] == 0.4
            for artist in (words, *ax.get_xticklabels(), ax.xaxis.label):
                assert to_hex(artist.get_color()) == DARK[figures.INK].lower()
            assert to_hex(white.get_color()) == "#ffffff"
            for patch in (fig.patch, ax.patch):
                paper = to_hex(patch.get_facecolor())
                assert paper == DARK[figures.PAPER].lower()

    def test_afterwards_it_is_as_before(self):
        fig, axes = figures.panels(2)
        axes[0].plot([1, 2], "o", color=figures.INK, label="a")
        axes[0].bar(1, 1, color=figures.BLUE, alpha=0.5)
        axes[0].legend()
        axes[1].imshow(np.eye(4), cmap=colours.COUNTS)
        fig.draw_without_rendering()
        fig.set_layout_engine("none")
        before = dark.pixels(fig)
        with dark.darkened(fig):
            assert (dark.pixels(fig) != before).mean() > 0.9
        assert (dark.pixels(fig) == before).all()

    def test_what_lies_on_a_photograph_stays(self):
        fig, (plain, photo) = figures.panels(2)
        photo.imshow(np.ones((4, 4, 3)))
        for ax in (plain, photo):
            ax.plot([1, 2], color=figures.BLUE, label="a")
            ax.legend()
            ax.set_title("title")
        with dark.darkened(fig):
            for ax, stays in ((plain, False), (photo, True)):
                colour = figures.BLUE if stays else DARK[figures.BLUE]
                shown = [*ax.lines, *ax.get_legend().legend_handles]
                assert {to_hex(a.get_color()) for a in shown} == {
                    colour.lower()
                }
                (text,) = ax.get_legend().get_texts()
                for words in (text, ax.title):
                    assert to_hex(words.get_color()) == "#e8eaec"


def test_scales_have_a_dark_form():
    labels = dark.scale(colours.LABELS)
    assert [to_hex(c) for c in labels.colors][:2] == [
        DARK[colours.GROUND].lower(),
        DARK[colours.BLUE].lower(),
    ]
    holes = colours.COUNTS.with_extremes(bad=colours.HOLE)
    found = dark.scale(holes)
    assert to_hex(found.get_bad()) == DARK[colours.HOLE].lower()
    assert dark.scale(colours.COUNTS).get_bad()[3] == 0
    # More is stronger against either paper.
    inks = dark.scale(colours.INKS)
    for counts, rising in (
        (holes, False),
        (found, True),
        (colours.INKS, False),
        (inks, True),
    ):
        steps = np.diff(counts([0.0, 0.25, 0.5, 0.75, 1.0])[:, :3].sum(1))
        assert (steps > 0).all() if rising else (steps < 0).all()
    assert dark.scale(plt.get_cmap("gray")) is None
    assert dark.scale(ListedColormap(["lime"])) is None


@pytest.mark.usefixtures("style")
def test_the_overlay_is_clear_where_both_are_the_same():
    fig, (ax, grid) = figures.panels(2)
    ax.imshow(np.random.default_rng(0).random((8, 8, 3)))
    grid.imshow(np.eye(4), cmap=colours.COUNTS)
    for one in (ax, grid):
        one.set_axis_off()
    light, over = dark.pixels(fig), dark.overlay(fig)
    assert over.shape == (*light.shape[:2], 4)
    clear = over[..., 3] == 0
    assert set(np.unique(over[..., 3])) == {0, 255}
    width = clear.shape[1]
    assert clear[:, : width // 2].mean() > 0.7  # the photograph
    assert not clear[:, width // 2 :].any()
    assert not over[clear].any()
    shown = np.where(clear[..., None], light, over[..., :3])
    with dark.darkened(fig):
        assert (shown == dark.pixels(fig)).all()
    # Where the renderings meet they overlap, on the photograph.
    assert clear.sum() < (light == shown).all(-1).sum()


@pytest.mark.usefixtures("style")
def test_what_is_stored_lies_below_what_is_laid_over_it():
    """A layout with a colour bar is not the same when it is computed again."""
    fig, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 2.6))
    for ax in axes:
        shown = ax.imshow(np.eye(4), cmap="PuOr")
        ax.set(title="scores", xticks=[], yticks=[])
    fig.colorbar(shown, ax=axes, shrink=0.8, label="score")
    over = dark.overlay(fig)
    assert dark.pixels(fig).shape[:2] == over.shape[:2]
    again = dark.overlay(fig)
    assert (over == again).all()
