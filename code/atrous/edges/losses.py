"""The loss of edge detectors: few pixels are edges, and some are doubtful."""

import torch.nn.functional as F
from torch import Tensor


def balanced_cross_entropy(
    logits: Tensor, labels: Tensor, *, eta: float = 0.5, negative: float = 1.1
) -> Tensor:
    """Class-balanced cross-entropy of each output, (K,).

    Where a picture has P edge pixels and N others, edges weigh
    N / (P + N) and others `negative` P / (P + N): together each class counts
    the same, up to that factor. The loss is summed over the pixels of a
    picture and averaged over the pictures.

    Args:
        logits: (B, K, H, W).
        labels: (B, H, W) in 0..1, the share of annotators who drew an edge.
            Those of `eta` and more are edges, those of 0 are not; those
            between weigh nothing.
        eta: In (0, 1].
        negative: Weight of the pixels that are no edges.

    Raises:
        ValueError: If shapes do not fit or a value is out of range.

    Source:
        He et al., CVPR 2019, and the authors' train.py. With negative=1
        that of Xie & Tu, arXiv:1504.06375, section 2.2, who have no
        doubtful pixels.
    """
    if logits.ndim != 4 or logits[:, 0].shape != labels.shape:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} and labels of "
            f"{tuple(labels.shape)}: must be (B, K, H, W) and (B, H, W)"
        )
    if not 0 < eta <= 1:
        raise ValueError(f"eta={eta}: must be in (0, 1]")
    labels = labels[:, None].to(logits.dtype)
    low, high = labels.aminmax()
    if not (low >= 0 and high <= 1):
        raise ValueError(f"labels in {low}..{high}: must be in 0..1")
    edge = (labels >= eta).to(logits.dtype)
    other = (labels == 0).to(logits.dtype)
    positives, negatives = (
        mask.sum((1, 2, 3), keepdim=True) for mask in (edge, other)
    )
    weights = edge * negatives + negative * other * positives
    weights = weights / (positives + negatives).clamp(min=1)
    losses = F.binary_cross_entropy_with_logits(
        logits,
        edge.expand_as(logits),
        weights.expand_as(logits),
        reduction="none",
    )
    return losses.sum((2, 3)).mean(0)


def deep_supervision(
    logits: Tensor,
    labels: Tensor,
    *,
    side: float = 0.5,
    fusion: float = 1.1,
    eta: float = 0.5,
    negative: float = 1.1,
) -> Tensor:
    """The losses of all outputs in one, of BDCN by default.

    Args:
        logits: (B, K, H, W), the fusion last.
        labels: As in `balanced_cross_entropy`.
        side: Weight of each output but the last; HED's is 1.
        fusion: Weight of the last output; HED's is 1.
        eta: As in `balanced_cross_entropy`.
        negative: As in `balanced_cross_entropy`; HED's is 1.

    Raises:
        ValueError: As `balanced_cross_entropy`.

    Source:
        The authors' train.py of BDCN; for HED Xie & Tu, arXiv:1504.06375,
        section 2.2.
    """
    losses = balanced_cross_entropy(logits, labels, eta=eta, negative=negative)
    return side * losses[:-1].sum() + fusion * losses[-1]
