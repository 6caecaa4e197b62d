"""Contours of label maps, and non-maximum suppression."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.morphology import thin

from atrous.datasets.pairs import IGNORE
from atrous.edges.thinning import contours, suppress


def blobs(seed, classes=4, size=24):
    """Labels of Voronoi regions, (2, size, size)."""
    g = torch.Generator().manual_seed(seed)
    y, x = torch.rand(2, 7, 2, 1, 1, generator=g) * size
    line = torch.arange(size)
    near = ((line[:, None] - y) ** 2 + (line - x) ** 2).argmin(0)
    return near % classes


@given(st.integers(0, 50))
def test_contours_are_thin_and_lie_on_changes(seed):
    labels = blobs(seed)
    edges = contours(labels)
    assert edges.dtype == torch.bool
    for edge, label in zip(edges.numpy(), labels.numpy(), strict=True):
        assert np.array_equal(thin(edge), edge)
        right = np.pad(label[:, 1:] != label[:, :-1], ((0, 0), (0, 1)))
        below = np.pad(label[1:] != label[:-1], ((0, 1), (0, 0)))
        assert not (edge & ~(right | below)).any()
        # No change is further away: thinning shortens ends by two at most.
        grown = np.pad(edge, 2)
        grown = np.lib.stride_tricks.sliding_window_view(grown, (5, 5))
        assert grown.any((2, 3))[right | below].all()


def test_contours_by_hand():
    labels = torch.zeros(1, 5, 6, dtype=torch.long)
    labels[0, :, 3:] = 1
    assert contours(labels)[0].nonzero()[:, 1].tolist() == [2] * 5
    assert torch.equal(contours(labels.mT)[0], contours(labels)[0].T)
    staircase = torch.ones(6, 6).triu()[None]
    assert contours(staircase).sum() == 6  # of 10 before thinning
    labels[0, :, 2] = IGNORE
    assert not contours(labels).any()


def ridge(angle, size=49, width=2.0):
    """A blurred line through the middle, and the distance to its crest."""
    line = torch.arange(size).double() - size // 2
    distance = line[:, None] * math.cos(angle) - line * math.sin(angle)
    return torch.exp(-((distance / width) ** 2) / 2).numpy(), distance.numpy()


@pytest.mark.parametrize("degrees", [0, 30, 45, 70, 90, 120, 135])
def test_only_crests_stay(degrees):
    edges, distance = ridge(math.radians(degrees))
    kept = suppress(edges, margin=0)
    inner = np.s_[8:-8, 8:-8]
    crest = np.abs(distance) < 0.5
    assert not kept[inner][np.abs(distance)[inner] > 1.5].any()
    assert (kept[inner][crest[inner]] > 0.8).all()
    assert kept.max() <= edges.max()


def test_a_lone_pixel_keeps_what_the_smoothing_leaves_of_it():
    edges = np.zeros((21, 25))
    edges[10, 12] = 1
    kept = suppress(edges)
    assert kept.argmax() == 10 * 25 + 12
    assert kept.max() == 1 / 4  # half along each axis


@given(st.integers(0, 20), st.integers(0, 7))
def test_margins_fade(seed, margin):
    g = np.random.default_rng(seed)
    edges = g.random((15, 19))
    plain, faded = suppress(edges, margin=0), suppress(edges, margin=margin)
    inner = np.s_[margin : 15 - margin, margin : 19 - margin]
    assert np.array_equal(plain[inner], faded[inner])
    line = np.arange(19)
    ramp = np.minimum(line, line[::-1]) / max(margin, 1)
    expected = plain[7] * ramp.clip(max=1) if margin else plain[7]
    assert faded[7] == pytest.approx(expected)
    assert not margin or not faded[[0, -1]].any()


def test_suppression_is_the_peers():
    """All but pixels whose neighbour is stronger by 1 % to seven digits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = pytest.importorskip("pyEdgeEval.preprocess")
    g = np.random.default_rng(0)
    for size in ((40, 61), (9, 7)):
        edges = g.random(size)
        expected = peer.fast_nms(edges)
        found = suppress(edges)
        assert 0 < (found > 0).mean() < 0.7
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: suppress(np.zeros((1, 3, 3))), r"\(1, 3, 3\)"),
        (lambda: suppress(np.zeros((3, 3)), margin=-1), "margin=-1"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
