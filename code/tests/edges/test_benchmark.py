"""The edge benchmark: matching, counting, scores; and its peer."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from skimage.morphology import thin

from atrous.edges import benchmark
from atrous.edges.benchmark import Counts, count, evaluate, match, summarise

BSDS = (321, 481)
MAPS = hnp.arrays(bool, (6, 7))


# ---- matching


def dense(a, b, distance):
    """Pairs and their distances, of the whole table of distances."""
    table = cdist(a, b)
    far = table > distance
    rows, columns = linear_sum_assignment(np.where(far, 1e6, table))
    paired = ~far[rows, columns]
    return paired.sum(), table[rows, columns][paired].sum()


@given(MAPS, MAPS, st.sampled_from([0.5, 1.0, 1.5, 2.9, 4.0]))
def test_matching_is_the_best_of_the_whole_table(a, b, distance):
    places = np.argwhere(a), np.argwhere(b)
    expected = dense(*places, distance) if a.any() and b.any() else (0, 0)
    found = match(a, b, distance)
    for ours, edges in zip(found, (a, b), strict=True):
        assert not (ours & ~edges).any()
        assert ours.sum() == expected[0]
    if expected[0]:
        chosen = (np.argwhere(ours) for ours in found)
        assert dense(*chosen, distance) == pytest.approx(expected)
    turned = match(b, a, distance)
    assert [m.sum() for m in turned] == [expected[0]] * 2


def test_all_edges_first_then_short_steps():
    """In a row of two and two, greedy would take the pair at distance 0."""
    a, b = np.zeros((2, 1, 9), bool)
    a[0, [2, 4]] = b[0, [4, 6]] = True
    for distance, pairs in ((2, 2), (1.9, 1)):
        ours, theirs = match(a, b, distance)
        assert ours.sum() == theirs.sum() == pairs
    # One of three near one: the nearest is taken.
    a[0, [2, 4, 6]], b[:] = True, False
    b[0, 5] = a[0, 6] = True
    a[0, 6], a[0, 5] = False, True
    assert match(a, b, 4)[0].nonzero()[1].tolist() == [5]


# ---- whole pictures


def circle(size=BSDS, centre=(160, 240), radius=90):
    y, x = np.indices(size)
    inside = np.hypot(y - centre[0], x - centre[1]) < radius
    return thin(
        inside & ~np.roll(inside, 1, 0) | inside & ~np.roll(inside, 1, 1)
    )


def drawn(seed, number=3, size=(40, 56)):
    """A soft prediction and thin lines of several annotators."""
    g = np.random.default_rng(seed)
    lines = np.zeros((number, *size), bool)
    for edges in lines:
        for _ in range(3):
            (y, x), (v, u) = g.random((2, 2)) * size
            steps = np.linspace(0, 1, 99)
            rows = (y + steps * (v - y)).astype(int)
            edges[rows, (x + steps * (u - x)).astype(int)] = True
        edges[:] = thin(edges)
    soft = lines[0] * g.random(size) + 0.3 * g.random(size)
    return soft.clip(0, 1), lines


def test_a_perfect_prediction_scores_one():
    edges = circle()
    scores = evaluate([(edges, edges[None])], thresholds=5)
    assert (scores.ods, scores.ois) == (1, 1)
    assert scores.precision == scores.recall == (1,) * 5
    assert scores.average_precision == 0  # one point is no curve
    assert scores.thresholds == tuple(k / 6 for k in range(1, 6))


@given(st.integers(-6, 6), st.integers(-6, 6))
def test_shifts_within_the_tolerance_change_nothing(down, right):
    """0.0075 of the diagonal is 4.34 pixels: 4 pass, 6 do not."""
    edges = circle((81, 121), (40, 60), 22)
    shifted = np.roll(edges, (down, right), (0, 1))
    tolerance = 0.0075 * np.hypot(*BSDS) / np.hypot(81, 121)
    scores = evaluate(
        [(shifted, [edges])], thresholds=[0.5], tolerance=tolerance
    )
    assert (scores.ods == 1) == (np.hypot(down, right) < 4.34)


@pytest.mark.parametrize(("shift", "score"), [(4, 1), (5, 0), (6, 0)])
def test_tolerance_at_the_size_of_bsds(shift, score):
    line = np.zeros(BSDS, bool)
    line[40:200, 100] = True
    scores = evaluate([(np.roll(line, shift, 1), [line])], thresholds=[0.5])
    assert scores.ods == score


def test_thick_lines_are_thinned():
    line, thick = np.zeros((2, 60, 90), bool)
    line[10:50, 40], thick[10:50, 37:44] = True, True
    options = {"thresholds": [0.5], "tolerance": 0.05}
    assert evaluate([(thick, [line])], **options).precision[0] > 0.97
    raw = evaluate([(thick, [line])], thinned=False, **options)
    assert raw.precision == (1 / 7,)


@given(st.integers(0, 30))
def test_annotators_have_the_same_role(seed):
    prediction, lines = drawn(seed)
    options = {"thresholds": 4, "tolerance": 0.03}
    counts = count(prediction, lines, **options)
    turned = count(prediction, lines[::-1], **options)
    doubled = count(prediction, [*lines, *lines], **options)
    for name, factor in (("hits", 1), ("predicted", 1), ("found", 2)):
        whole = getattr(counts, name)
        assert np.array_equal(getattr(turned, name), whole)
        assert np.array_equal(getattr(doubled, name), factor * whole)
    assert counts.drawn.tolist() == [lines.sum()] * 4
    each = [count(prediction, [line], **options) for line in lines]
    assert np.array_equal(sum(c.found for c in each), counts.found)
    assert (counts.hits >= np.max([c.hits for c in each], 0)).all()
    assert (counts.hits <= counts.predicted).all()


def test_any_annotator_makes_a_hit_and_all_make_the_recall():
    a, b = np.zeros((2, 40, 60), bool)
    a[5:35, 10], b[5:25, 50] = True, True
    counts = count(a | b, [a, b], thresholds=[0.5])
    assert [int(v[0]) for v in counts] == [50, 50, 50, 50]
    counts = count(a, [a, b], thresholds=[0.5])
    assert [int(v[0]) for v in counts] == [30, 30, 30, 50]
    counts = count(a, torch.from_numpy(np.stack([b, b])), thresholds=[0.5])
    assert [int(v[0]) for v in counts] == [0, 30, 0, 40]


def test_thresholds_cut_from_below_and_tensors_are_taken():
    prediction = torch.zeros(20, 30, requires_grad=True)
    with torch.no_grad():
        prediction[5:15, 10], prediction[5:15, 20] = 0.5, 0.25
    line = (prediction > 0).detach()
    counts = count(prediction, [line], thresholds=[0.25, 0.5, 0.51])
    assert counts.predicted.tolist() == [20, 10, 0]
    assert counts.hits.tolist() == [20, 10, 0]


def test_empty_maps_count_as_the_benchmark_has_it():
    nothing, line = np.zeros((2, 20, 30), bool)
    line[5:15, 10] = True
    options = {"thresholds": 3}
    alone = count(line, [nothing], **options)
    assert [v.tolist() for v in alone] == [[0] * 3, [10] * 3, [0] * 3, [0] * 3]
    with_another = count(line, [nothing, line], **options)
    assert summarise([with_another], **options).ods == 1
    for prediction, truth in (
        (nothing, nothing),
        (nothing, line),
        (line, nothing),
    ):
        scores = evaluate([(prediction, [truth])], **options)
        assert (scores.ods, scores.ois, scores.average_precision) == (0, 0, 0)


# ---- scores


def by_hand(pictures, levels):
    """collect_eval_bdry.m, loop by loop."""

    def f(p, r):
        return 2 * p * r / (p + r) if p + r else 0.0

    def rates(hits, predicted, found, drawn):
        return hits / (predicted or 1), found / (drawn or 1)

    total, own = [[0] * 4 for _ in levels], [0] * 4
    for picture in pictures:
        rows = [*zip(*picture, strict=True)]
        best = max(rows, key=lambda row: f(*rates(*row)))  # the first of them
        own = [a + b for a, b in zip(own, best, strict=True)]
        for t, row in zip(total, rows, strict=True):
            t[:] = [a + b for a, b in zip(t, row, strict=True)]
    curve = [rates(*row) for row in total]
    ods = f(*curve[0])
    for i in range(1, len(levels)):
        for k in range(100):
            d = k / 99
            p, r = (
                d * b + (1 - d) * a
                for a, b in zip(curve[i - 1], curve[i], strict=True)
            )
            ods = max(ods, f(p, r))
    points = {}
    for p, r in curve:
        points.setdefault(r, p)
    reached, area = sorted(points), 0.0
    for k in range(101 if len(reached) > 1 else 0):
        for a, b in itertools.pairwise(reached):
            if a <= k / 100 <= b:
                d = (k / 100 - a) / (b - a)
                area += 0.01 * (d * points[b] + (1 - d) * points[a])
                break
    return ods, f(*rates(*own)), area


COUNTS = st.lists(
    st.tuples(*[st.integers(0, 20)] * 4).map(
        lambda c: (min(c[:2]), max(c[:2]), min(c[2:]), max(c[2:]))
    ),
    min_size=3,
    max_size=3,
).map(lambda rows: Counts(*np.array(rows).T))


@given(st.lists(COUNTS, min_size=1, max_size=4))
def test_scores_by_hand(counts):
    levels = [0.2, 0.5, 0.9]
    scores = summarise(counts, thresholds=levels)
    ods, ois, area = by_hand(counts, levels)
    assert scores.ods == pytest.approx(ods, abs=1e-12)
    assert scores.ois == pytest.approx(ois, abs=1e-12)
    assert scores.average_precision == pytest.approx(area, abs=1e-12)
    p, r = (
        np.interp(scores.threshold, levels, values)
        for values in (scores.precision, scores.recall)
    )
    assert (2 * p * r / (p + r) if p + r else 0) == pytest.approx(ods)


def test_each_picture_has_its_own_best_threshold():
    """Two pictures, each perfect at a threshold where the other is not."""
    early = Counts(*np.array([[9, 9, 9, 9], [0, 0, 0, 9]]).T)
    late = Counts(*np.array([[9, 99, 9, 9], [9, 9, 9, 9]]).T)
    scores = summarise([early, late], thresholds=[0.3, 0.6])
    assert scores.ois == 1
    assert scores.ods < 0.7
    assert scores.precision == (18 / 108, 1)
    assert scores.recall == (1, 0.5)
    one = summarise([early], thresholds=[0.3, 0.6])
    assert (one.ods, one.threshold) == (1, 0.3)


def test_progress_is_shown(monkeypatch):
    titles = []

    class Loud(benchmark.tqdm):
        def __init__(self, *args, **options):
            titles.append(options["desc"])
            super().__init__(*args, **options)

    monkeypatch.setattr(benchmark, "tqdm", Loud)
    edges = np.eye(9, dtype=bool)
    evaluate([(edges, [edges])] * 2, thresholds=1)
    assert titles == ["pictures", "thresholds", "thresholds"]


# ---- the peer


def peers():
    """pyEdgeEval imports an undeclared OpenCV and warns; it is optional."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("pyEdgeEval.common.binary_label")


@pytest.mark.parametrize("seed", range(4))
def test_counts_are_the_peers(seed):
    """But for pairs that it misses, drawing 6 partners for pixels alone.

    Of solutions at the same price either may pick another pixel as a hit.
    """
    peer = peers().evaluate_boundaries
    prediction, lines = drawn(seed, number=4, size=(120, 161))
    levels = np.array([0.1, 0.35, 0.6, 0.85])
    theirs = peer.evaluate_boundaries_threshold_multiple_gts(
        levels, prediction, [*lines], max_dist=0.02, apply_thinning=False
    )
    found, total, hits, predicted = theirs
    ours = count(
        prediction, lines, thresholds=levels, tolerance=0.02, thinned=False
    )
    assert ours.predicted.tolist() == predicted.tolist()
    assert ours.drawn.tolist() == total.tolist()
    assert (ours.found >= found).all()
    assert ours.found == pytest.approx(found, rel=0.002)
    assert ours.hits == pytest.approx(hits, rel=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_thinning_is_the_peers(seed):
    """But for its end: at the first half of a step that changes nothing."""
    peer = peers().evaluate_boundaries
    noise = np.random.default_rng(seed).random((120, 161))
    for level in (0.3, 0.5, 0.7):
        theirs = peer.binary_thin(noise >= level)
        assert not (thin(noise >= level) & ~theirs).any()
        assert np.array_equal(thin(noise >= level), thin(theirs))


def test_scores_are_the_peers():
    """But for ODS, 101 values between thresholds there, and the last recall.

    Its own AP is another measure, so that ours is compared with its AUC,
    which leaves out recall 1.
    """
    g = np.random.default_rng(1)
    levels = [k / 10 for k in range(1, 10)]
    counts = []
    for _ in range(3):
        drawn = g.integers(500, 900)
        found = np.sort(g.integers(0, 500, 9))[::-1]
        predicted = np.sort(g.integers(400, 2000, 9))[::-1]
        hits = (predicted * np.linspace(0.3, 0.9, 9)).astype(int)
        counts.append(Counts(hits, predicted, found, np.full(9, drawn)))
    samples = [
        {"name": "", "c": (c.found, c.drawn, c.hits, c.predicted)}
        for c in counts
    ]
    *_, theirs = peers().calculate_metrics(
        lambda sample: sample["c"], levels, samples, nproc=1
    )
    ours = summarise(counts, thresholds=levels)
    assert ours.ois == pytest.approx(theirs["OIS_f1"], rel=1e-12)
    assert ours.ods == pytest.approx(theirs["ODS_f1"], rel=1e-4)
    assert ours.average_precision == pytest.approx(theirs["AUC"], rel=1e-9)


EDGES = np.zeros((4, 5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: count(EDGES[None], [EDGES]), r"\(1, 4, 5\)"),
        (lambda: count(EDGES, []), "0 annotations"),
        (lambda: count(EDGES, [EDGES.T]), r"\(5, 4\).*\(4, 5\)"),
        (lambda: count(EDGES, EDGES), r"\(5,\).*\(4, 5\)"),
        (lambda: count(EDGES - 3, [EDGES]), r"-3.0.*0\.\.1"),
        (lambda: count(EDGES + 3, [EDGES]), r"3.0.*0\.\.1"),
        (lambda: count(EDGES * np.nan, [EDGES]), "nan"),
        (lambda: count(EDGES, [EDGES + 255]), "255.0.*0 or 1"),
        (lambda: count(EDGES, [EDGES], tolerance=0), "tolerance=0"),
        (lambda: count(EDGES, [EDGES], thresholds=0), "thresholds=0"),
        (lambda: count(EDGES, [EDGES], thresholds=[0.5, 0.5]), "rise"),
        (lambda: count(EDGES, [EDGES], thresholds=[0, 0.5]), "rise"),
        (lambda: count(EDGES, [EDGES], thresholds=[0.5, 1.1]), "rise"),
        (lambda: evaluate([]), "pairs"),
        (lambda: summarise([]), r"\(0,\)"),
        (
            lambda: summarise([Counts(*np.ones((4, 3)))], thresholds=2),
            r"\(1, 4, 3\).*2 thresholds",
        ),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
