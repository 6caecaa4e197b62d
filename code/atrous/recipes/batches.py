"""Which pictures make which batch, and how they come to the network.

The seed and the number of a pass decide its order. Batch k of a run is the
same set of pictures, seen in the same way, on any number of processes, with
any accumulation, and after any interruption: nothing depends on what was
drawn before.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from atrous.datasets import geometry
from atrous.datasets.pairs import IGNORE
from atrous.recipes.processes import Process
from atrous.recipes.recipe import Data, Recipe
from atrous.recipes.stopping import leave_to_parent

Key = tuple[int, int]  # a pass over the data, and an item
NOTHING = 64, 64  # height and width of a picture in an empty batch


@dataclass(frozen=True)
class Order:
    """Which items make which batch.

    An epoch is as many passes over the data as there are augmentations; each
    pass has an order of its own. Batches go on over the end of a pass, or, if
    `last` is "keep", end with it, the last one smaller.

    Attributes:
        items: Items in the data set.
        batch: Items in a batch.
        passes: Passes in an epoch.
        last: "wrap" or "keep".
        seed: 0 or more.

    Raises:
        ValueError: If there is no item, or batches of views of different
            kinds would be mixed.
    """

    items: int
    batch: int
    passes: int = 1
    last: str = "wrap"
    seed: int = 0

    def __post_init__(self):
        if self.items < 1:
            raise ValueError(f"items={self.items}: must be at least 1")
        if self.passes > 1 and self.last == "wrap":
            raise ValueError(
                "last_batch='wrap': would mix the views of two passes in a "
                "batch; must be 'keep' with several augmentations"
            )

    def per_epoch(self) -> int:
        """Batches in an epoch, the last one begun counted."""
        return self.passes * math.ceil(self.items / self.batch)

    def size(self, number: int) -> int:
        """Elements of a batch, from 0."""
        if self.last == "wrap":
            return self.batch
        place = number % math.ceil(self.items / self.batch)
        return min(self.batch, self.items - place * self.batch)

    def keys(self, number: int) -> list[Key]:
        """Pass and item of each element of a batch, from 0."""
        if self.last == "keep":
            turn, place = divmod(number, math.ceil(self.items / self.batch))
            return self._slice(turn, place * self.batch, self.batch)
        first, keys = number * self.batch, []
        while len(keys) < self.batch:
            turn, place = divmod(first + len(keys), self.items)
            keys += self._slice(turn, place, self.batch - len(keys))
        return keys

    def _slice(self, turn: int, first: int, count: int) -> list[Key]:
        """Elements of a pass, as many as it has left."""
        order = _permutation(self.seed, turn, self.items)
        return [(turn, int(item)) for item in order[first : first + count]]


@functools.lru_cache(maxsize=2)
def _permutation(seed: int, turn: int, items: int) -> np.ndarray:
    return np.random.default_rng((seed, turn)).permutation(items)


def part_count(size: int, processes: int, most: int) -> int:
    """Parts that each process takes one after another."""
    return math.ceil(size / (processes * most))


def dealt(
    keys: Sequence[Key], *, rank: int, processes: int, most: int
) -> list[list[Key]]:
    """Parts of a batch that fall to one process, in their order.

    All processes get the same number of parts, and all together are the
    batch. Some are smaller than others, and some may be empty.

    Args:
        keys: Elements of the batch.
        rank: Which process.
        processes: How many share it.
        most: Elements that a process takes at once.
    """
    count = part_count(len(keys), processes, most)
    return [keys[i::count][rank::processes] for i in range(count)]


class Deal(Sampler[list[Key]]):
    """The parts of one process, batch after batch, for a `DataLoader`.

    Args:
        order: Which items make which batch.
        numbers: Of the batches.
        share: What else `dealt` takes.
    """

    def __init__(self, order: Order, numbers: range, **share):
        self.order, self.numbers, self.share = order, numbers, share

    def __iter__(self) -> Iterator[list[Key]]:
        for number in self.numbers:
            yield from dealt(self.order.keys(number), **self.share)


class Views(Dataset):
    """Items of a data set as a recipe shows them, by pass and item.

    An item is what the network is given, float32 (3, H, W), and its labels.
    It draws from a generator that seed, pass and item decide.

    Args:
        dataset: Of pairs (picture, labels).
        recipe: What is done with them.
        seed: 0 or more.

    Raises:
        ValueError: From an item: if a label is no class of the network.
    """

    def __init__(self, dataset: Dataset, recipe: Recipe, seed: int):
        self.dataset, self.recipe, self.seed = dataset, recipe, seed

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        turn, index = key
        recipe, views = self.recipe, self.recipe.augmentations
        picture, labels = with_void(*self.dataset[index], recipe.data)
        if views:
            state = np.random.SeedSequence((self.seed, turn, index))
            seed = int(state.generate_state(1, np.uint64)[0] >> 1)
            picture, labels = views[turn % len(views)](
                *with_margin(picture, labels, recipe.data),
                Generator().manual_seed(seed),
            )
        check_labels(labels, recipe, self.dataset, index)
        return recipe.pixels(picture), labels


def check_labels(
    labels: Tensor, recipe: Recipe, dataset: Dataset, index: int
) -> None:
    """Refuse labels that are no class, before a GPU meets them.

    There they would end the process, without a word of which picture.

    Raises:
        ValueError: If there is one; names the picture.
    """
    classes = recipe.network.options.get("num_classes")
    if classes is None or labels.is_floating_point():
        return
    wrong = labels[(labels != IGNORE) & (labels >= classes)]
    if wrong.numel():
        files = getattr(dataset, "files", None)
        place = files[index] if files else f"item {index}"
        raise ValueError(
            f"{place}: label {wrong.max()}, but the network has {classes} "
            "classes; set network.options.num_classes"
        )


def with_void(
    picture: Tensor, labels: Tensor, data: Data
) -> tuple[Tensor, Tensor]:
    """The item; where void is a class of its own, labelled as that."""
    if data.void is not None:
        labels = labels.where(labels != IGNORE, data.void)
    return picture, labels


def with_margin(
    picture: Tensor, labels: Tensor, data: Data
) -> tuple[Tensor, Tensor]:
    """The item, mirrored past its borders, where nothing is labelled."""
    if not data.margin:
        return picture, labels
    size = tuple(side + 2 * data.margin for side in picture.shape[-2:])
    return (
        geometry.pad_to(picture, size, "reflect", around=True),
        geometry.pad_to(labels, size, IGNORE, around=True),
    )


def collate(
    items: Sequence[tuple[Tensor, Tensor]], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, H, W) and labels; of no item (0, 3, *size).

    A process without a picture takes its part in the sums all the same.

    Raises:
        ValueError: If sizes differ.
    """
    if not items:
        labels = torch.zeros(0, *size, dtype=torch.int64)
        return torch.zeros(0, 3, *size), labels
    sizes = {tuple(picture.shape[-2:]) for picture, _ in items}
    if len(sizes) > 1:
        raise ValueError(
            f"pictures of sizes {sorted(sizes)[:2]} in one batch: take one "
            "at a time (--per-device 1) or crop them to one size"
        )
    pictures, labels = zip(*items, strict=True)
    return torch.stack(pictures), torch.stack(labels)


def loader(
    views: Views, deal: Deal, *, workers: int, pinned: bool, ahead: int = 2
) -> DataLoader:
    """Parts as tensors, read by worker processes in the order of `deal`.

    Args:
        views: The items.
        deal: Which of them.
        workers: Processes that read; 0 for this one.
        pinned: Whether pages are locked, for copies to a GPU that do not
            wait.
        ahead: Parts that a worker reads ahead.
    """
    sizes = [a.crop for a in views.recipe.augmentations if a.crop]
    size = sizes[0] if sizes else NOTHING
    return DataLoader(
        views,
        batch_sampler=deal,
        collate_fn=functools.partial(collate, size=size),
        num_workers=workers,
        pin_memory=pinned,
        worker_init_fn=leave_to_parent,
        prefetch_factor=ahead if workers else None,
    )


class _Counts(Dataset):
    """Pixels of each class in each item, (C,)."""

    def __init__(self, dataset: Dataset, recipe: Recipe):
        self.dataset, self.recipe = dataset, recipe

    def __getitem__(self, index: int) -> Tensor:
        _, labels = with_void(*self.dataset[index], self.recipe.data)
        check_labels(labels, self.recipe, self.dataset, index)
        classes = self.recipe.network.options["num_classes"]
        return torch.bincount(labels[labels != IGNORE], minlength=classes)


def class_shares(
    dataset: Dataset, recipe: Recipe, process: Process, *, workers: int
) -> Tensor:
    """Share of all labelled pixels that each class has, float64 (C,).

    Each process counts in some of the pictures.
    """
    counts = torch.zeros(
        recipe.network.options["num_classes"],
        dtype=torch.float64,
        device=process.device,
    )
    own = range(process.rank, len(dataset), process.count)
    for found in DataLoader(
        _Counts(dataset, recipe),
        batch_size=None,
        sampler=own,
        num_workers=workers,
    ):
        counts += found.to(process.device)
    counts = process.sum(counts)
    return counts / counts.sum().clamp(min=1)
