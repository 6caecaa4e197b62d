"""Which picture is in which batch, whoever asks."""

import os
import re
import signal
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset

from atrous.datasets.augment import Augmentation
from atrous.datasets.pairs import IGNORE
from atrous.recipes.batches import (
    Deal,
    Order,
    Views,
    class_shares,
    collate,
    dealt,
    loader,
    part_count,
)
from atrous.recipes.plain_data import override
from atrous.recipes.processes import Process
from atrous.recipes.published import RECIPES

SMALL = st.integers(1, 9)
ALONE = Process(0, 1, torch.device("cpu"))


class Numbered(Dataset):
    """Pictures of 8 x 8 pixels whose first value is their number."""

    files = tuple(f"picture{i}.png" for i in range(5))

    def __len__(self):
        return 5

    def __getitem__(self, index):
        picture = torch.full((3, 8, 8), index / 10)
        labels = torch.full((8, 8), index)
        labels[0] = IGNORE
        return picture, labels


def small_recipe(*settings):
    found = RECIPES["espnet_camvid"]
    for setting in (
        "augmentations.0.size=null",
        "augmentations.0.crop=[6, 6]",
        "augmentations.0.flip_vertical=0",
        "batch=2",
        *settings,
    ):
        found = override(found, setting)
    return found


# ---- order


@given(SMALL, SMALL, st.booleans(), st.integers(0, 3))
def test_every_pass_shows_every_item_once(items, batch, wrap, seed):
    last = "wrap" if wrap else "keep"
    order = Order(items, batch, last=last, seed=seed)
    enough = 3 * (items * batch) // min(items, batch)
    keys = [key for n in range(enough) for key in order.keys(n)]
    for turn in range(2):
        seen = [item for found, item in keys if found == turn]
        assert sorted(seen) == list(range(items))
    turns = [turn for turn, _ in keys]
    assert turns == sorted(turns)
    sizes = [len(order.keys(n)) for n in range(enough)]
    assert sizes == [order.size(n) for n in range(enough)]
    if wrap:
        assert set(sizes) == {batch}
    else:  # the last batch of a pass is what is left
        assert sum(sizes[: order.per_epoch()]) == items


def test_the_seed_and_the_pass_decide_the_order():
    first, second, other = (
        [i for n in range(6) for _, i in Order(12, 2, seed=seed).keys(n + at)]
        for seed, at in ((0, 0), (0, 6), (1, 0))
    )
    assert len({tuple(o) for o in (first, second, other)}) == 3
    again = [i for n in range(6) for _, i in Order(12, 2).keys(n)]
    assert again == first


def test_an_epoch_is_all_its_passes():
    order = Order(5, 2, passes=3, last="keep")
    assert order.per_epoch() == 9
    assert [key[0] for n in range(9) for key in order.keys(n)] == (
        [0] * 5 + [1] * 5 + [2] * 5
    )
    with pytest.raises(ValueError, match="last_batch='wrap'"):
        Order(5, 2, passes=3)
    with pytest.raises(ValueError, match="items=0"):
        Order(0, 2)


@given(st.integers(1, 20), SMALL, SMALL)
def test_a_batch_is_dealt_out_whole(size, processes, most):
    keys = [(0, i) for i in range(size)]
    parts = [
        dealt(keys, rank=rank, processes=processes, most=most)
        for rank in range(processes)
    ]
    count = part_count(size, processes, most)
    assert {len(own) for own in parts} == {count}
    assert all(len(part) <= most for own in parts for part in own)
    together = [key for own in parts for part in own for key in part]
    assert sorted(together) == keys
    # What is taken at the same time is spread evenly.
    for number in range(count):
        sizes = [len(own[number]) for own in parts]
        assert max(sizes) - min(sizes) <= 1


# ---- views


def test_what_is_read_does_not_depend_on_workers_or_on_the_past():
    recipe = small_recipe()
    views = Views(Numbered(), recipe, seed=4)
    order = Order(5, 2, last="keep", seed=4)

    def read(numbers, workers=0, most=2):
        deal = Deal(order, numbers, rank=0, processes=1, most=most)
        return [*loader(views, deal, workers=workers, pinned=False)]

    whole = read(range(6))
    for other in (
        read(range(6), workers=2),
        read(range(3)) + read(range(3, 6)),
    ):
        for pair, expected in zip(other, whole, strict=True):
            assert all(map(torch.equal, pair, expected))
    single = read(range(6), most=1)
    assert len(single) == 10
    singles = torch.cat([labels for _, labels in single])
    assert sorted(singles[:, 1, 0].tolist()) == sorted(
        torch.cat([labels for _, labels in whole])[:, 1, 0].tolist()
    )


def test_who_reads_does_not_hear_who_asks_for_an_end():
    """Ctrl-C goes to all processes of a terminal, torchrun's to its own."""

    class Interrupted(Numbered):
        def __getitem__(self, index):
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), number)
            return super().__getitem__(index)

    views = Views(Interrupted(), small_recipe(), seed=0)
    deal = Deal(Order(5, 2), range(3), rank=0, processes=1, most=2)
    found = [*loader(views, deal, workers=1, pinned=False)]
    assert [len(labels) for _, labels in found] == [2, 2, 2]


def test_views_differ_from_pass_to_pass_and_with_the_seed():
    recipe = small_recipe("augmentations.0.crop=[2, 2]")

    class Ramp(Numbered):
        def __getitem__(self, index):
            ramp = torch.arange(64.0).view(8, 8) / 64
            return ramp.expand(3, 8, 8), torch.zeros(8, 8, dtype=torch.int64)

    def corner(key, seed):
        return Views(Ramp(), recipe, seed)[key][0][0, 0, 0].item()

    keys = [(turn, 0) for turn in range(8)]
    first = [corner(key, 0) for key in keys]
    assert len(set(first)) > 2
    assert first == [corner(key, 0) for key in keys]
    assert first != [corner(key, 1) for key in keys]


def test_passes_take_turns_with_their_augmentations():
    recipe = small_recipe()
    sizes = ((4, 4), (6, 6))
    views = tuple(Augmentation(crop=size) for size in sizes)
    found = Views(Numbered(), replace(recipe, augmentations=views), 0)
    for turn in range(4):
        assert found[turn, 1][1].shape == sizes[turn % 2]


def test_void_is_a_class_where_a_recipe_says_so_but_padding_is_not():
    views = Views(Numbered(), small_recipe("augmentations.0.crop=[8, 9]"), 0)
    _, labels = views[0, 2]
    assert (labels[0, :8] == 11).all()
    assert (labels[:, 8] == IGNORE).all()
    plain = small_recipe("data.void=null", "augmentations.0.crop=[8, 8]")
    assert (Views(Numbered(), plain, 0)[0, 2][1][0] == IGNORE).all()


def test_a_margin_is_mirrored_and_has_no_label():
    views = Views(
        Numbered(),
        small_recipe("data.margin=3", "augmentations.0.crop=[14, 14]"),
        0,
    )
    picture, labels = views[0, 3]
    assert picture.shape == (3, 14, 14)
    assert (labels[3:11, 3:11][1:] == 3).all()
    labels[3:11, 3:11] = IGNORE
    assert (labels == IGNORE).all()
    assert (picture == picture[:, :1, :1]).all()  # of one colour, mirrored


def test_a_label_that_the_network_does_not_have_is_named():
    recipe = small_recipe("network.options.num_classes=4", "data.void=null")
    views = Views(Numbered(), recipe, 0)
    assert views[0, 3]
    with pytest.raises(
        ValueError, match=re.escape("picture4.png: label 4, but the network")
    ):
        views[0, 4]


def test_empty_parts_and_sizes_that_differ():
    pictures, labels = collate([], (5, 7))
    assert pictures.shape == (0, 3, 5, 7)
    assert labels.shape == (0, 5, 7)
    items = [(torch.zeros(3, n, 4), torch.zeros(n, 4)) for n in (4, 5)]
    with pytest.raises(ValueError, match=r"\(4, 4\), \(5, 4\)\] in one batch"):
        collate(items, (5, 7))


def test_shares_of_the_classes_are_counted_over_all_pictures():
    recipe = small_recipe()
    found = class_shares(Numbered(), recipe, ALONE, workers=0)
    # 56 pixels of each of five classes, and 8 void ones of each picture.
    expected = [56 / 320] * 5 + [0] * 6 + [40 / 320]
    assert found.tolist() == pytest.approx(expected)
    parts = [
        class_shares(Numbered(), recipe, Half(rank), workers=0)
        for rank in range(2)
    ]
    assert ((parts[0] * 3 + parts[1] * 2) / 5).tolist() == pytest.approx(
        expected
    )


class Half:
    """One of two processes that do not speak."""

    count, device = 2, torch.device("cpu")

    def __init__(self, rank):
        self.rank = rank

    def sum(self, numbers):
        return numbers
