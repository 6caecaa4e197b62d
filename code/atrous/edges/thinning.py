"""Thin edges: the contours of label maps, and the ridges of predictions."""

import numpy as np
import torch
from scipy import ndimage
from skimage.morphology import thin
from torch import Tensor

from atrous.datasets.pairs import IGNORE


def contours(labels: Tensor) -> Tensor:
    """The edges of label maps, thinned, bool (B, H, W) of (B, H, W).

    Drawn in the pixels whose neighbour to the right or below has another
    label. Edges towards 255 do not count.
    """
    maps = labels.cpu().numpy()
    edges = np.zeros(maps.shape, bool)
    for axis in (1, 2):
        first, second = (np.delete(maps, side, axis=axis) for side in (-1, 0))
        differ = (first != second) & (first != IGNORE) & (second != IGNORE)
        height, width = differ.shape[1:]
        edges[:, :height, :width] |= differ
    thinned = np.stack([thin(edge) for edge in edges])
    return torch.from_numpy(thinned).to(labels.device)


def suppress(prediction: np.ndarray, *, margin: int = 5) -> np.ndarray:
    """Keep what is strongest across an edge: non-maximum suppression.

    The map is smoothed a little. A pixel becomes 0 if one of the two points
    a pixel away from it, across the edge, is stronger by 1 % or more. The
    direction across comes from second derivatives of a map smoothed more.

    Args:
        prediction: Probabilities (H, W).
        margin: Pixels over which the map fades to 0 at the picture's border.

    Returns:
        (H, W), float64.

    Raises:
        ValueError: If `prediction` is not (H, W) or `margin` is negative.

    Source:
        edgesNms of Dollar & Zitnick's toolbox, arXiv:1406.5549, with which
        HED and BDCN are scored. The angle that it takes is exact along both
        axes and both diagonals only.
        Departs: the toolbox takes 0 wherever the mixed derivative is exactly
        0, which leaves level lines thick.
    """
    edges = np.asarray(prediction, float)
    if edges.ndim != 2 or margin < 0:
        raise ValueError(
            f"prediction of shape {edges.shape}, margin={margin}: must be "
            "(H, W) and at least 0"
        )
    edges = _smooth(edges, 1)
    dy, dx = np.gradient(_smooth(edges, 4))
    dxy, dxx = np.gradient(dx)
    dyy = np.gradient(dy, axis=0)
    angle = np.arctan2(np.where(dxy > 0, -dyy, dyy), dxx)
    step = np.stack([np.sin(angle), np.cos(angle)])
    places = np.indices(edges.shape)
    around = [
        ndimage.map_coordinates(edges, side, order=1, mode="nearest")
        for side in (places - step, places + step)
    ]
    kept = np.where(1.01 * edges < np.maximum(*around), 0, edges)
    for axis, size in enumerate(edges.shape):
        fade = min(margin, *(side // 2 for side in edges.shape))
        line = np.arange(size)
        ramp = np.minimum(line, line[::-1]).clip(max=fade) / max(fade, 1)
        kept *= np.expand_dims(ramp, 1 - axis) if fade else 1
    return kept


def _smooth(edges: np.ndarray, radius: int) -> np.ndarray:
    """By a triangle of 2 radius + 1 taps along each axis, mirrored."""
    taps = radius + 1.0 - np.abs(np.arange(-radius, radius + 1))
    for axis in (0, 1):
        edges = ndimage.correlate1d(edges, taps / taps.sum(), axis)
    return edges
