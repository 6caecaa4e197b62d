"""Painted label maps lie on their photographs, and every class is there."""

import pytest
import torch
from torch.nn.functional import max_pool2d

from atrous.datasets.pairs import IGNORE
from atrous.experiments import painted
from atrous.experiments.photographs import photograph


@pytest.mark.parametrize("name", painted.names())
def test_a_painting_is_as_large_as_its_photograph(name):
    labels = painted.labels(name)
    assert labels.dtype == torch.int64
    assert labels.shape[1:] == photograph(name).shape[2:]
    found = set(labels.unique().tolist()) - {IGNORE}
    assert found == set(range(len(painted.classes(name))))


@pytest.mark.parametrize(
    ("name", "place", "word"),
    [
        ("coffee", (270, 365), "spoon"),
        ("coffee", (160, 290), "coffee"),
        ("coffee", (380, 20), "table"),
        ("astronaut", (110, 225), "person"),
        ("astronaut", (120, 420), "shuttle"),
        ("astronaut", (20, 130), "behind"),
        ("stereo_motorcycle", (300, 600), "motorcycle"),
        ("stereo_motorcycle", (480, 60), "floor"),
    ],
)
def test_pixels_that_anyone_can_name(name, place, word):
    label = painted.labels(name)[0][place].item()
    assert painted.classes(name)[label] == word


@pytest.mark.parametrize("name", painted.names())
def test_the_photograph_changes_along_painted_edges(name):
    """More than along the same edges, were they 12 pixels to a side."""
    grey, labels = photograph(name).mean(1)[0], painted.labels(name)[0]
    edge = labels[:, 1:] != labels[:, :-1]
    slope = max_pool2d(grey.diff(dim=1).abs()[None], (1, 5), 1, (0, 2))[0]
    along = slope[edge].mean()
    for shift in (12, -12):
        assert along > 1.3 * slope[edge.roll(shift, 1)].mean()


SETS = [(n, i) for n in painted.names() for i in range(painted.stroke_sets(n))]


@pytest.mark.parametrize(("name", "number"), SETS)
def test_strokes_lie_on_what_they_name(name, number):
    """They cover little, all classes, and rarely cross a painted edge."""
    drawn, labels = painted.strokes(name, number), painted.labels(name)
    assert drawn.shape == labels.shape
    assert drawn.dtype == torch.int64
    on = (drawn != IGNORE) & (labels != IGNORE)
    assert set(drawn[on].tolist()) == set(range(len(painted.classes(name))))
    assert 0.04 < on.float().mean() < 0.12
    assert (drawn != labels)[on].float().mean() < 0.05


def test_a_wider_stroke_holds_the_narrow_one():
    thin, wide = (painted.strokes("coffee", 0, width=w) for w in (1, 11))
    kept = thin != IGNORE
    assert (wide[kept] == thin[kept]).float().mean() > 0.99
    # A diagonal has fewer pixels than it is long.
    assert 10 < (wide != IGNORE).sum() / kept.sum() < 11 * 2**0.5


@pytest.mark.parametrize(
    ("number", "width", "error"),
    [(3, 11, "number=3: coffee has the sets 0..2"), (0, 0, "width=0")],
)
def test_other_strokes_are_refused(number, width, error):
    with pytest.raises(ValueError, match=error):
        painted.strokes("coffee", number, width=width)


def test_another_photograph_is_refused():
    with pytest.raises(ValueError, match="name='cat': painted are coffee, "):
        painted.labels("cat")
