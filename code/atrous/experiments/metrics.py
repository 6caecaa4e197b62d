"""Score label maps: intersection over union, everywhere and near edges."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atrous.datasets.pairs import IGNORE


def confusion(prediction: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Pixels by true class (row) and predicted class (column), (C, C).

    Pixels labelled 255 are left out.

    Raises:
        ValueError: If shapes differ, a class is out of range, or what is
            given holds probabilities and no classes.
    """
    for name, values in (("prediction", prediction), ("labels", labels)):
        if values.is_floating_point():
            raise ValueError(
                f"{name} of {values.dtype}: must be integers, the classes; "
                "take logits.argmax(1), and z > 0 of one logit z a pixel"
            )
    if prediction.shape != labels.shape:
        raise ValueError(
            f"prediction of shape {tuple(prediction.shape)}: the labels have "
            f"{tuple(labels.shape)}"
        )
    kept = labels != IGNORE
    truth, guess = labels[kept].long(), prediction[kept].long()
    for name, values in (("labels", truth), ("prediction", guess)):
        outside = values[(values < 0) | (values >= classes)]
        if len(outside):
            raise ValueError(
                f"{name} hold class {outside[0].item()}: there are {classes}"
            )
    counts = torch.bincount(truth * classes + guess, minlength=classes**2)
    return counts.view(classes, classes)


def iou(counts: Tensor) -> Tensor:
    """Intersection over union of each class, (C,); nan where it is absent.

    A class is absent if it is neither in the labels nor in the prediction.
    """
    hits = counts.diag().double()
    return hits / (counts.sum(0) + counts.sum(1) - counts.diag())


def boundary_band(labels: Tensor, width: int) -> Tensor:
    """Pixels within `width` of a label edge, bool (B, H, W).

    A pixel lies on an edge if a pixel beside, above or below it has another
    label; the band holds all pixels at most `width` - 1 away from one, in
    rows and columns (a square neighbourhood). Edges towards 255 do not
    count.

    Raises:
        ValueError: If `width` is below 1.
    """
    if width < 1:
        raise ValueError(f"width={width}: must be at least 1")
    edge = torch.zeros_like(labels, dtype=torch.bool)
    for axis in (1, 2):
        size = labels.shape[axis] - 1
        first, second = (
            labels.narrow(axis, 0, size),
            labels.narrow(axis, 1, size),
        )
        differ = (first != second) & (first != IGNORE) & (second != IGNORE)
        edge.narrow(axis, 0, size).logical_or_(differ)
        edge.narrow(axis, 1, size).logical_or_(differ)
    grown = F.max_pool2d(
        edge[:, None].float(), 2 * width - 1, stride=1, padding=width - 1
    )
    return grown[:, 0].bool()


def at_labels(output: Tensor | Mapping[str, Tensor], labels: Tensor) -> Tensor:
    """Logits of a network, upsampled to labels (B, H, W).

    Args:
        output: Logits (B, C, H', W'), or a dictionary that has them in
            "out", as torchvision's networks give.
        labels: (B, H, W).

    Raises:
        ValueError: If there are no logits or labels have another shape.
    """
    logits = output.get("out") if isinstance(output, Mapping) else output
    if not isinstance(logits, Tensor) or logits.ndim != 4:
        kind = type(output).__name__
        keys = f" of {[*output]}" if isinstance(output, Mapping) else ""
        raise ValueError(
            f"model: gives a {kind}{keys}: must be logits (B, C, H, W), or a "
            'dictionary that has them in "out"'
        )
    if labels.ndim != 3 or len(labels) != len(logits):
        raise ValueError(
            f"labels of shape {tuple(labels.shape)}: must be "
            f"({len(logits)}, H, W)"
        )
    if logits.shape[2:] != labels.shape[1:]:
        logits = F.interpolate(logits, labels.shape[1:], mode="bilinear")
    return logits


@dataclass(frozen=True)
class Scores:
    """IoU of each class, and its means over all pixels and near edges."""

    iou: tuple[float, ...]
    mean_iou: float
    boundary_iou: float


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    classes: int,
    band: int = 3,
) -> Scores:
    """Score a network: IoU counted over all pictures together.

    Args:
        model: Put into evaluation mode. It gives logits (B, C, H', W') or,
            as torchvision's networks, a dictionary that has them in "out".
            For a binary mask, one logit z a pixel against a background of
            0 is `torch.cat([0 * z, z], 1)`.
        batches: Pairs of pictures (B, 3, H, W) and labels (B, H, W).
        classes: Classes C; labels of 255 are left out.
        band: Width of the band that `boundary_iou` counts, in pixels.

    Raises:
        ValueError: If there is no batch, labels have another shape, or the
            logits have fewer channels than there are classes.
    """
    model.eval()
    everywhere = near_edges = None
    for pictures, labels in batches:
        logits = at_labels(model(pictures), labels)
        if logits.shape[1] < max(classes, 2):
            raise ValueError(
                f"model: gives {logits.shape[1]} channels, classes={classes}; "
                "for one logit z a pixel let it give torch.cat([0 * z, z], 1)"
            )
        guess = logits.argmax(1)
        near = labels.where(boundary_band(labels, band), IGNORE)
        counts = confusion(guess, labels, classes)
        edge_counts = confusion(guess, near, classes)
        everywhere = counts if everywhere is None else everywhere + counts
        near_edges = (
            edge_counts if near_edges is None else (near_edges + edge_counts)
        )
    if everywhere is None:
        raise ValueError("batches: there is none to evaluate")
    per_class = iou(everywhere)
    return Scores(
        tuple(per_class.tolist()),
        per_class.nanmean().item(),
        iou(near_edges).nanmean().item(),
    )
