"""Sizes, rotations and margins of pictures and labels."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atrous.datasets import geometry
from atrous.datasets.pairs import IGNORE

SIZES = st.tuples(st.integers(1, 23), st.integers(1, 23))


def places(size):
    """Row and column of each pixel, as a picture of two channels."""
    return torch.stack(torch.meshgrid(*map(torch.arange, size), indexing="ij"))


@given(SIZES, SIZES)
def test_labels_and_picture_are_resized_alike(old, new):
    """A picture of places says where an output pixel looks: labels do, too."""
    grid = places(old)
    picture = geometry.resize_picture(grid.double(), new, antialias=False)
    labels = geometry.resize_labels(grid, new)
    assert labels.dtype == torch.int64
    assert labels.shape == (2, *new)
    assert (picture - labels).abs().max() <= 0.5 + 1e-9


def test_halving_and_doubling():
    labels = torch.arange(8).view(2, 4)
    double = geometry.resize_labels(labels, (4, 8))
    again = labels.repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert torch.equal(double, again)
    assert torch.equal(geometry.resize_labels(double, (2, 4)), labels)


def test_a_picture_that_shrinks_is_smoothed_first():
    stripes = torch.zeros(1, 1, 64)
    stripes[..., ::4] = 1
    smooth = geometry.resize_picture(stripes, (1, 16))
    assert (smooth - 0.25).abs().max() < 0.1
    rough = geometry.resize_picture(stripes, (1, 16), antialias=False)
    assert (rough - 0.25).abs().min() > 0.2


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("size", [(5, 5), (4, 7), (1, 6)])
def test_quarter_turns(size, turns):
    picture = torch.rand(3, *size)
    expected = torch.rot90(picture, turns, (1, 2))
    seen = tuple(expected.shape[1:])
    grid = geometry.rotation_grid(size, 90 * turns, seen)
    for fill in (1.0, 0.0, 0.5), "reflect":
        found = geometry.sample_picture(picture, grid, fill)
        torch.testing.assert_close(found, expected)
    labels = torch.arange(size[0] * size[1]).view(size)
    expected = torch.rot90(labels, turns)
    assert torch.equal(geometry.sample_labels(labels, grid, 255), expected)


@given(SIZES, st.integers(0, 359), st.booleans())
def test_labels_and_picture_are_rotated_alike(size, degrees, reflect):
    grid = geometry.rotation_grid(size, degrees, size)
    labels = geometry.sample_labels(places(size), grid, -1)
    picture = places(size).double()
    fill = "reflect" if reflect else (-1.0, -1.0)
    picture = geometry.sample_picture(picture, grid, fill)
    inside = labels[0] >= 0
    if not reflect:  # between the last centre and one pixel on, it fades
        last = torch.tensor(size) - 1
        inside = ((grid >= 0) & (grid <= last)).all(-1)
        far = ((grid < -1) | (grid > last + 1)).any(-1)
        torch.testing.assert_close(
            picture[:, far], -torch.ones(2, far.sum()).double()
        )
        assert (labels[:, far] == -1).all()
    assert ((picture - labels)[:, inside].abs() <= 0.5 + 1e-4).all()


@given(SIZES, SIZES, st.booleans())
def test_reflection_goes_on(old, new, around):
    """As far as it must, and without the border pixel twice."""
    picture = torch.rand(2, *old)
    padded = geometry.pad_to(picture, new, "reflect", around=around)
    size = tuple(max(a, b) for a, b in zip(old, new, strict=True))
    start = [(n - m) // 2 * around for n, m in zip(size, old, strict=True)]
    waves = []
    for side, full, first in zip(old, size, start, strict=True):
        period = max(1, 2 * (side - 1))
        steps = (torch.arange(full) - first) % period
        waves.append(torch.minimum(steps, period - steps).clamp(max=side - 1))
    assert torch.equal(padded, picture[:, waves[0][:, None], waves[1]])


def test_padding_with_a_colour_and_with_a_label():
    picture, labels = torch.rand(3, 2, 3), torch.arange(6).view(2, 3)
    colour = torch.tensor([0.1, 0.2, 0.3])
    padded = geometry.pad_to(picture, (5, 3), (0.1, 0.2, 0.3))
    assert torch.equal(padded[:, :2], picture)
    assert torch.equal(padded[:, 2:], colour.view(3, 1, 1).expand(3, 3, 3))
    padded = geometry.pad_to(labels, (5, 4), IGNORE, around=True)
    assert padded.dtype == torch.int64
    assert torch.equal(padded[1:3, :3], labels)
    assert (padded == IGNORE).sum() == 14
    assert geometry.pad_to(labels, (2, 1), IGNORE) is labels


@given(SIZES, st.integers(0, 719))
def test_the_largest_rectangle(size, halves):
    """It lies inside, and of all that do none is larger."""
    height, width = (100 * n for n in size)
    h, w = geometry.largest_rectangle((height, width), halves / 2)
    angle = math.radians(halves / 2)
    sine, cosine = abs(math.sin(angle)), abs(math.cos(angle))
    # The rectangle, seen from the picture, is rotated and fits into it.
    assert w * cosine + h * sine <= width + 1e-3
    assert w * sine + h * cosine <= height + 1e-3
    others = np.linspace(0, min(height, width) / max(sine, cosine), 2001)
    with np.errstate(divide="ignore", invalid="ignore"):
        widest = np.fmin(
            (width - others * sine) / cosine, (height - others * cosine) / sine
        )
    largest = np.nanmax(np.where(np.isfinite(widest), others * widest, 0))
    assert (h + 1) * (w + 1) >= largest * (1 - 1e-6)


def test_a_view_of_the_largest_rectangle_has_no_margin():
    picture = torch.ones(3, 48, 32)
    for degrees in range(0, 360, 15):
        seen = geometry.largest_rectangle((48, 32), degrees)
        grid = geometry.rotation_grid((48, 32), degrees, seen)
        view = geometry.sample_picture(picture, grid, (0.0, 0.0, 0.0))
        assert view.min() > 1 - 1e-5
        labels = torch.ones(48, 32)
        assert geometry.sample_labels(labels, grid, 0).all()
