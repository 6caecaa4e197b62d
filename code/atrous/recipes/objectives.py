"""Losses that come out the same however a batch is split.

The loss of a batch is a sum over its pixels divided by a number that all its
pixels decide, such as how many are labelled. A mean of the means of parts
would weigh parts with few labelled pixels too much. So each part computes its
sums, and divides them by the norms of the whole batch: the losses and the
gradients of all parts then add up to those of the batch.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atrous.datasets.geometry import resize_labels
from atrous.datasets.pairs import IGNORE
from atrous.edges.losses import deep_supervision
from atrous.recipes.normalisation import is_shared
from atrous.recipes.recipe import Loss
from atrous.segmentation.base import MultiScale
from atrous.segmentation.dilationnet import MARGIN, OUTPUT_STRIDE


class Supervised(nn.Module):
    """A network and its loss as one module, for a wrapper that has one call.

    Args:
        network: Of `atrous.zoo`.
        loss: What is minimised.
        weights: Weight of each class, (C,); None for no weights.

    Raises:
        ValueError: If the network lacks what `loss.places` asks for.
    """

    def __init__(
        self, network: nn.Module, loss: Loss, weights: Tensor | None = None
    ):
        super().__init__()
        scaled = isinstance(network, MultiScale)
        for places, wanted, fits in (
            ("scales", "several scales", scaled),
            ("logits", "logits(x)", hasattr(network, "logits")),
            (
                "window",
                "logits_of_padded(x)",
                hasattr(network, "logits_of_padded"),
            ),
        ):
            if loss.places == places and not fits:
                raise ValueError(
                    f"loss.places={places!r}: needs a network with {wanted}, "
                    f"not {type(network).__name__}"
                )
        self.network, self.loss = network, loss
        self.register_buffer("weights", weights, persistent=False)
        # A copy without numbers says how large the maps are, and costs
        # nothing; in a list it is no part of this module.
        self._shape = [copy.deepcopy(network).to("meta").eval()]
        self._sizes: dict[tuple, list] = {}

    def forward(
        self, pictures: Tensor, labels: Tensor, norms: Tensor
    ) -> Tensor:
        """This part's share of the loss of a batch, a number.

        Args:
            pictures: (B, 3, H, W); B may be 0.
            labels: (B, H, W); of whole pictures (B,).
            norms: Those of the whole batch, (K,).
        """
        if not len(pictures) and not is_shared(self.network):
            # Zeros for each gradient, for which others wait. The network
            # itself might fail: torch shuffles no pixels of no picture back.
            parameters = self.network.parameters()
            return sum((0 * p).sum() for p in parameters if p.requires_grad)
        maps = self.maps(self.network, pictures)
        return (self.sums(maps, labels) / norms).sum()

    def norms(self, labels: Tensor) -> Tensor:
        """What this part adds to each norm of the batch, float64 (K,)."""
        loss = self.loss
        if loss.kind == "edges" or not loss.mean:
            maps = len(self.sizes(labels.shape[1:]))
            return torch.full((maps,), len(labels), dtype=torch.float64)
        return torch.stack(
            [
                self._weight(target).sum(dtype=torch.float64)
                for target in self.targets(labels)
            ]
        )

    def sums(self, maps: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Loss of each map, summed over pixels and pictures, (K,)."""
        # Sums over many pixels need more digits than half precision has.
        maps = [y if y.dtype == torch.float64 else y.float() for y in maps]
        if not len(labels):
            return torch.stack([y.sum() for y in maps])
        if self.loss.kind == "edges":
            return self._edges(maps[0], labels)[None]
        return torch.stack(
            [
                F.cross_entropy(
                    logits,
                    target,
                    self._class_weights(logits),
                    ignore_index=IGNORE,
                    reduction="sum",
                )
                for logits, target in zip(
                    maps, self.targets(labels), strict=True
                )
            ]
        )

    def maps(self, network: nn.Module, pictures: Tensor) -> list[Tensor]:
        """The maps of a network that are supervised."""
        if self.loss.places == "scales":
            maps = network.scale_logits(pictures)
            return [*maps, network.fuse(maps)]
        if self.loss.places == "window":
            return [network.logits_of_padded(pictures)]
        if self.loss.places == "logits":
            return [network.logits(pictures)]
        return [network(pictures)]

    def targets(self, labels: Tensor) -> list[Tensor]:
        """Labels for each map."""
        if self.loss.places == "pixels":
            return [labels]
        if self.loss.places == "window":
            inner = (slice(MARGIN, n - MARGIN) for n in labels.shape[1:])
            rows, columns = inner
            inside = labels[:, rows, columns]
            return [inside[:, ::OUTPUT_STRIDE, ::OUTPUT_STRIDE]]
        return [
            resize_labels(labels, size)
            for size in self.sizes(labels.shape[1:])
        ]

    @torch.no_grad()
    def sizes(self, size: Sequence[int]) -> list[tuple[int, int]]:
        """Height and width of each map for pictures of a size."""
        size = tuple(size)
        if self.loss.places == "pixels":
            return [size]
        if size not in self._sizes:
            pictures = torch.empty(1, 3, *size, device="meta")
            dtype = next(self._shape[0].parameters()).dtype
            maps = self.maps(self._shape[0], pictures.to(dtype))
            self._sizes[size] = [tuple(y.shape[2:]) for y in maps]
        return self._sizes[size]

    def _weight(self, target: Tensor) -> Tensor:
        """What each pixel counts."""
        labelled = target != IGNORE
        if self.weights is None:
            return labelled
        return self.weights[target.where(labelled, 0)] * labelled

    def _class_weights(self, logits: Tensor) -> Tensor | None:
        return None if self.weights is None else self.weights.to(logits.dtype)

    def _edges(self, logits: Tensor, labels: Tensor) -> Tensor:
        loss = self.loss
        if not loss.doubtful:
            labels = (labels >= loss.eta).to(labels.dtype)
        mean = deep_supervision(
            logits,
            labels,
            side=loss.side,
            fusion=loss.fusion,
            eta=loss.eta,
            negative=loss.negative,
        )
        return mean * len(logits)


def class_weights(shares: Tensor, offset: float) -> Tensor:
    """Weights 1 / ln(offset + share) of classes by their shares, (C,).

    A class without a pixel has the largest weight, and nothing to weigh.

    Args:
        shares: Of all labelled pixels, (C,).
        offset: c, above 1.

    Raises:
        ValueError: If `offset` is not above 1.

    Source:
        ESPNet's and C3Net's code, with c = 1.1.
    """
    if offset <= 1:
        raise ValueError(f"offset={offset}: must be above 1")
    return 1 / (offset + shares).log()
