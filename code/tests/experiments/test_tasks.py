import math

import pytest
import torch

from atrous.experiments import photographs, tasks


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


TASKS = (tasks.mosaics, tasks.shapes, tasks.far_cue)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("split", photographs.SPLITS)
def test_shapes_types_and_seeds(task, split):
    first, again, other = (
        task(4, size=64, split=split, generator=generator(seed))
        for seed in (0, 0, 1)
    )
    pictures, labels = first[:2]
    assert pictures.shape == (4, 3, 64, 64)
    assert pictures.dtype == torch.float32
    assert labels.shape == (4, 64, 64)
    assert labels.dtype == torch.int64
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(pictures, other[0])
    assert torch.equal(pictures[:, 0], pictures[:, 2])


def test_the_global_random_numbers_are_left_alone():
    before = torch.get_rng_state()
    for task in TASKS:
        task(2, size=32, generator=generator())
    assert torch.equal(before, torch.get_rng_state())


def test_halves_are_disjoint_and_standardised():
    for name, train, test in zip(
        photographs.TEXTURES,
        *map(photographs.textures, photographs.SPLITS),
        strict=True,
    ):
        photo = photographs.photograph(name)[0].mean(0)
        assert train.shape[1] + test.shape[1] == photo.shape[1]
        for half, part in (
            (train, photo[:, : train.shape[1]]),
            (test, photo[:, train.shape[1] :]),
        ):
            assert half.mean().abs() < 1e-4
            assert half.std().item() == pytest.approx(1, abs=1e-4)
            standard = (part - part.mean()) / part.std()
            torch.testing.assert_close(half, standard)


def test_mosaics_hold_the_textures_they_are_labelled_with():
    pictures, labels = tasks.mosaics(3, size=96, generator=generator())
    halves = photographs.textures("train")
    for picture, label in zip(pictures, labels, strict=True):
        assert 1 < len(label.unique()) <= 8
        for index in label.unique():
            values = picture[0][label == index]
            assert torch.isin(values, halves[index]).all()
            others = torch.cat(
                [h.flatten() for i, h in enumerate(halves) if i != index]
            )
            assert torch.isin(values, others).float().mean() < 0.9


def test_mosaic_regions_are_voronoi_cells():
    """Each is convex: the middle of two of its pixels is its own."""
    _, labels = tasks.mosaics(
        6, size=64, generator=generator(), regions=(5, 5)
    )
    pairs = torch.randint(64, (2, 500, 2), generator=generator(1))
    pairs = pairs - (pairs[0] + pairs[1]) % 2 * torch.tensor([0, 1]).view(
        2, 1, 1
    )
    pairs = pairs.clamp(min=0)
    middles = (pairs[0] + pairs[1]) // 2
    exact = ((pairs[0] + pairs[1]) % 2 == 0).all(1)
    broken = 0
    for label in labels:
        a, b, m = (label[p[:, 0], p[:, 1]] for p in (*pairs, middles))
        same = exact & (a == b)
        broken += ((a != m) & same).sum().item() / same.sum().item()
    # Two cells may share a texture, so a few pairs span a third cell.
    assert broken / len(labels) < 0.1


@pytest.mark.parametrize(
    ("kind", "area"),
    [
        ("disk", math.pi),
        ("ring", math.pi * 0.75),
        ("square", 2.0),
        ("triangle", 3 * math.sqrt(3) / 4),
        ("star", 5 * 0.45 * math.sin(math.pi / 5)),
    ],
)
def test_areas_of_shapes(kind, area):
    """Against the areas of the figures of circumradius 1."""
    line = torch.linspace(-1.2, 1.2, 601)
    y, x = line[:, None], line[None, :]
    inside = tasks._inside(kind, torch.hypot(x, y), torch.atan2(y, x))
    found = inside.float().mean().item() * 2.4**2
    assert found == pytest.approx(area, rel=0.01)


def test_shapes_are_labelled_by_kind_and_brighter():
    kinds = ("ring", "disk")
    pictures, labels = tasks.shapes(
        8, generator=generator(), kinds=kinds, contrast=30.0
    )
    assert set(labels.unique().tolist()) == {0, 1, 2}
    assert ((pictures[:, 0] > 15) == (labels > 0)).all()
    _, small = tasks.shapes(
        8, generator=generator(), extent=(5, 9), objects=(1, 1)
    )
    for label in small:
        rows, columns = (label > 0).nonzero(as_tuple=True)
        for places in (rows, columns):
            if len(places):
                assert places.max() - places.min() < 9


def test_far_cue_pairs_differ_in_their_mark_only():
    pictures, labels, distances = tasks.far_cue(8, generator=generator())
    bright, dark = pictures[:4], pictures[4:]
    assert (labels[:4] == 1).all()
    assert (labels[4:] == 0).all()
    assert torch.equal(distances[:4], distances[4:])
    differ = (bright != dark).any(1)
    assert torch.equal(differ, distances[:4] == 0)
    assert differ.flatten(1).sum(1).tolist() == [1, 1, 1, 1]
    assert (bright[:, 0][differ] == tasks.MARK).all()
    assert (dark[:, 0][differ] == -tasks.MARK).all()
    others = pictures[:, 0][distances > 0]
    assert others.abs().max() < 0.6 * tasks.MARK
    for distance in distances:
        y, x = (distance == 0).nonzero()[0].tolist()
        assert distance[0, 0] == max(y, x)
        assert distance[95, 0] == max(95 - y, x)


def test_stream_never_ends_and_never_repeats():
    batches = tasks.stream(tasks.shapes, 2, size=32, generator=generator())
    first, second = next(batches), next(batches)
    assert len(first) == 2
    assert not torch.equal(first[0], second[0])


def test_photograph():
    cat = photographs.photograph("chelsea")
    assert cat.shape == (1, 3, 300, 451)
    assert cat.min() >= 0
    assert 0.9 < cat.max() <= 1
    assert photographs.photograph("brick").shape == (1, 3, 512, 512)
    assert set(photographs.photograph("horse").unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: photographs.photograph("dog"), "name='dog'"),
        (lambda g: photographs.textures("val"), "split='val'"),
        (lambda g: tasks.mosaics(0, generator=g), "count=0"),
        (lambda g: tasks.mosaics(1, size=192, generator=g), "from 1 to 191"),
        (lambda g: tasks.mosaics(1, split="x", generator=g), "split='x'"),
        (
            lambda g: tasks.mosaics(1, regions=(3, 2), generator=g),
            r"regions=\(3, 2\)",
        ),
        (lambda g: tasks.shapes(1, extent=(0, 5), generator=g), "extent"),
        (lambda g: tasks.shapes(1, objects=(5, 1), generator=g), "objects"),
        (
            lambda g: tasks.shapes(1, kinds=("cube",), generator=g),
            r"kinds=\('cube',\)",
        ),
        (lambda g: tasks.shapes(1, kinds=(), generator=g), r"kinds=\(\)"),
        (lambda g: tasks.far_cue(3, generator=g), "count=3"),
        (lambda g: tasks.far_cue(2, size=0, generator=g), "size=0"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(generator())


# ---- shapes of an exact size


@pytest.mark.parametrize("rate", [2, 3])
def test_a_larger_silhouette_is_the_smaller_one_seen_more_finely(rate):
    small, labels = tasks.silhouettes(
        30, diameter=12, generator=generator(), noise=0
    )
    large, again = tasks.silhouettes(
        30, diameter=12 * rate, generator=generator(), noise=0
    )
    assert small.shape == (30, 1, 24, 24)
    assert torch.equal(labels, again)
    assert torch.equal(large[..., ::rate, ::rate], small)
    assert set(labels.tolist()) == {0, 1, 2, 3}


def test_silhouettes_are_whole_and_of_their_size():
    kinds = ("disk", "ring")
    pictures, labels = tasks.silhouettes(
        40, diameter=20, generator=generator(), kinds=kinds, noise=0
    )
    assert set(pictures.unique().tolist()) == {0, 1}
    for picture, label in zip(pictures[:, 0], labels, strict=True):
        rows, columns = (picture.any(axis).nonzero() for axis in (1, 0))
        for line in (rows, columns):
            assert 19 <= line.max() - line.min() + 1 <= 21
            assert line.min() > 0
            assert line.max() < 39
        share = 1 if kinds[label] == "disk" else 0.75
        area = share * math.pi * 10**2
        assert picture.sum().item() == pytest.approx(area, rel=0.05)
    middles = torch.stack([p[0].nonzero().double().mean(0) for p in pictures])
    assert middles.std(0).min() > 1  # they are moved, by up to 5 pixels
    assert (middles - 20).abs().max() < 5.5


def test_noise_of_silhouettes():
    clean, noisy = (
        tasks.silhouettes(8, diameter=16, generator=generator(), noise=noise)
        for noise in (0, 0.3)
    )
    assert torch.equal(clean[1], noisy[1])
    difference = noisy[0] - clean[0]
    assert difference.std().item() == pytest.approx(0.3, rel=0.05)
    assert difference.mean().item() == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"diameter": 1}, "diameter=1"),
        ({"diameter": 9, "noise": -1}, "noise=-1"),
        ({"diameter": 9, "kinds": ("disc",)}, r"kinds=\('disc',\)"),
        ({"diameter": 9, "kinds": ()}, r"kinds=\(\)"),
    ],
)
def test_wrong_values_of_silhouettes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        tasks.silhouettes(2, generator=generator(), **options)
    with pytest.raises(ValueError, match="count=0"):
        tasks.silhouettes(0, diameter=9, generator=generator())
