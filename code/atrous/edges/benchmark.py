"""Score edge maps against several annotators: ODS, OIS, average precision.

What counts is how the Berkeley benchmark counts. A map of probabilities is
cut at many thresholds and thinned; the edge pixels that are left are matched
one to one with those of each annotator, none further away than a tolerance.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import KDTree
from skimage.morphology import thin
from torch import Tensor
from tqdm import tqdm

# Share of the picture's diagonal that a match may span: 4.34 pixels at
# 321x481. Source: boundaryBench.m of BSDS500.
TOLERANCE = 0.0075


class Counts(NamedTuple):
    """Edge pixels at each of T thresholds, int (T,) each.

    Attributes:
        hits: Predicted pixels that have a pair with any annotator.
        predicted: Predicted pixels.
        found: Pixels of annotators that have a pair, summed over annotators.
        drawn: Pixels of annotators, summed over annotators.
    """

    hits: np.ndarray
    predicted: np.ndarray
    found: np.ndarray
    drawn: np.ndarray


def count(
    prediction,
    annotations,
    *,
    thresholds: int | Sequence[float] = 99,
    tolerance: float = TOLERANCE,
    thinned: bool = True,
) -> Counts:
    """Count the edge pixels of one picture, threshold by threshold.

    An annotator who drew nothing adds nothing to `drawn`.

    Args:
        prediction: Probabilities (H, W) in 0..1, tensor or array.
        annotations: 0 or 1, (N, H, W) of N annotators; they are taken as
            they are, so they should be thin.
        thresholds: As in `evaluate`.
        tolerance: Share of the picture's diagonal that a match may span.
        thinned: Whether the prediction is thinned at every threshold.

    Raises:
        ValueError: If shapes do not fit, there is no annotator or a value
            is out of range.

    Source:
        evaluation_bdry_image.m of BSDS500.
    """
    levels = _levels(thresholds)
    prediction = _array(prediction)
    annotations = [_array(drawn) for drawn in annotations]
    if prediction.ndim != 2 or not annotations:
        raise ValueError(
            f"prediction of shape {prediction.shape} and {len(annotations)} "
            "annotations: must be (H, W) and at least one"
        )
    if not (prediction >= 0).all() or not (prediction <= 1).all():
        raise ValueError(
            f"prediction in {prediction.min()}..{prediction.max()}: must be "
            "probabilities, in 0..1"
        )
    for drawn in annotations:
        if drawn.shape != prediction.shape:
            raise ValueError(
                f"annotation of shape {drawn.shape}: the prediction has "
                f"{prediction.shape}"
            )
        if not np.isin(drawn, (0, 1)).all():
            raise ValueError(
                f"annotation in {drawn.min()}..{drawn.max()}: must be 0 or 1"
            )
    if not tolerance > 0:
        raise ValueError(f"tolerance={tolerance}: must be above 0")
    distance = tolerance * np.hypot(*prediction.shape)
    total = sum(drawn.sum(dtype=int) for drawn in annotations)
    rows = []
    for level in tqdm(levels, desc="thresholds", leave=False):
        edges = prediction >= level
        if thinned:
            edges = thin(edges)
        pairs = [match(edges, drawn > 0, distance) for drawn in annotations]
        hits = np.any([ours for ours, _ in pairs], 0)
        found = sum(theirs.sum() for _, theirs in pairs)
        rows.append((hits.sum(), edges.sum(), found, total))
    return Counts(*np.array(rows).T)


@dataclass(frozen=True)
class EdgeScores:
    """How well edges are found, over all pictures.

    Attributes:
        ods: Best F at one threshold for all pictures.
        ois: F of the counts that each picture has at its own best threshold.
        average_precision: Area under precision over recall.
        threshold: Where F is `ods`.
        thresholds: All T.
        precision: At each threshold.
        recall: At each threshold.
    """

    ods: float
    ois: float
    average_precision: float
    threshold: float
    thresholds: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]


def summarise(
    counts: Iterable[Counts], *, thresholds: int | Sequence[float] = 99
) -> EdgeScores:
    """Scores of the counts of several pictures.

    Where nothing was predicted or drawn, 0 / 0 is 0. Between thresholds
    precision and recall are interpolated, and F is the best of 100 values
    for each pair of neighbours. The area under the curve is a sum over the
    recalls 0, 0.01, ... 1, interpolated too, 0 where the curve does not
    reach and 0 if it is a single point, as that of a map of zeros and ones.

    Args:
        counts: One a picture.
        thresholds: Those of the counts, as in `evaluate`.

    Raises:
        ValueError: If there are no counts or not one for each threshold.

    Source:
        collect_eval_bdry.m of BSDS500.
    """
    levels, pictures = _levels(thresholds), np.array([*counts], float)
    if pictures.shape[1:] != (4, len(levels)):
        raise ValueError(
            f"counts of shape {pictures.shape}: must be one a picture, of 4 "
            f"times {len(levels)} thresholds"
        )
    best = _f(*_rates(*pictures.swapaxes(0, 1))).argmax(1)
    own = pictures[np.arange(len(best)), :, best].sum(0)
    precision, recall = _rates(*pictures.sum(0))
    steps = np.arange(len(levels))
    between = np.add.outer(steps[:-1], np.linspace(0, 1, 100)).ravel()
    between = [0, *between]
    f = _f(*(np.interp(between, steps, r) for r in (precision, recall)))
    reached, first = np.unique(recall, return_index=True)
    area = 0.0
    if len(reached) > 1:
        grid = np.linspace(0, 1, 101)
        curve = np.interp(grid, reached, precision[first], left=0, right=0)
        area = curve.sum() * 0.01
    return EdgeScores(
        float(f.max()),
        float(_f(*_rates(*own))),
        float(area),
        float(np.interp(between[f.argmax()], steps, levels)),
        tuple(levels.tolist()),
        tuple(precision.tolist()),
        tuple(recall.tolist()),
    )


def evaluate(
    pairs: Iterable[tuple],
    *,
    thresholds: int | Sequence[float] = 99,
    tolerance: float = TOLERANCE,
    thinned: bool = True,
) -> EdgeScores:
    """Score predictions; a progress bar runs meanwhile.

    Args:
        pairs: A prediction and its annotations for each picture, as `count`
            takes them.
        thresholds: Rising in (0, 1], or how many there are, evenly spread
            between 0 and 1.
        tolerance: As in `count`.
        thinned: As in `count`.

    Raises:
        ValueError: If there is no pair; as `count`.
    """
    options = {"tolerance": tolerance, "thinned": thinned}
    counts = [
        count(prediction, annotations, thresholds=thresholds, **options)
        for prediction, annotations in tqdm(
            pairs, desc="pictures", leave=False
        )
    ]
    if not counts:
        raise ValueError("pairs: there is none to evaluate")
    return summarise(counts, thresholds=thresholds)


def _levels(thresholds: int | Sequence[float]) -> np.ndarray:
    if isinstance(thresholds, int):
        levels = np.arange(1, thresholds + 1) / (thresholds + 1)
    else:
        levels = np.asarray(thresholds, float)
    rising = levels.size and (np.diff(levels, prepend=0) > 0).all()
    if not rising or levels[-1] > 1:
        raise ValueError(f"thresholds={thresholds}: must rise in (0, 1]")
    return levels


def _rates(hits, predicted, found, drawn):
    """Precision and recall."""
    return hits / np.maximum(predicted, 1), found / np.maximum(drawn, 1)


def _f(precision, recall):
    """Harmonic mean; 0 where both are 0."""
    total = precision + recall
    return 2 * precision * recall / np.where(total == 0, 1, total)


def _array(values) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
    return np.asarray(values)


def match(
    prediction: np.ndarray, truth: np.ndarray, distance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pair edge pixels of two maps, one to one: which of each have a pair.

    As many pairs as possible, and among these the ones of the smallest sum
    of distances. The graph of pixels near each other is sparse and its
    connected parts are whole contours, so it is solved by sparse assignment,
    in which every predicted pixel may also stay alone at a price above all
    distances together.

    Args:
        prediction: bool (H, W).
        truth: bool (H, W).
        distance: Largest distance of a pair, in pixels.

    Returns:
        Two maps, bool (H, W): the pixels of each that have a pair.

    Source:
        Martin, Fowlkes & Malik, doi:10.1109/TPAMI.2004.1273918, appendix.
        Departs: exact. The benchmark's price of staying alone is 100
        `distance`, drawn for 6 random partners only, and its distances are
        rounded to 1/100 pixel.
    """
    places = [np.argwhere(edges) for edges in (prediction, truth)]
    near = KDTree(places[0]).sparse_distance_matrix(
        KDTree(places[1]), distance, output_type="coo_matrix"
    )
    matched = [np.zeros(edges.shape, bool) for edges in (prediction, truth)]
    if not near.nnz:
        return tuple(matched)
    # Number the pixels that have a neighbour.
    (ours, rows), (theirs, columns) = (
        np.unique(ids, return_inverse=True) for ids in near.coords
    )
    alone = np.arange(len(ours))
    # A weight of 0 would be no edge, so that all are 1 more.
    price = np.full(len(ours), 2 + len(ours) * distance)
    graph = csr_array(
        (
            np.append(1 + near.data, price),
            (np.append(rows, alone), np.append(columns, len(theirs) + alone)),
        )
    )
    rows, columns = min_weight_full_bipartite_matching(graph)
    paired = columns < len(theirs)
    chosen = ours[rows[paired]], theirs[columns[paired]]
    for pixels, where, ids in zip(matched, places, chosen, strict=True):
        pixels[tuple(where[ids].T)] = True
    return tuple(matched)
