"""Random views: right on labels, and the same however they are drawn."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from layouts import refused
from torch.utils.data import DataLoader, Dataset, Subset

from atrous.datasets import geometry
from atrous.datasets.augment import Augmentation, Augmented, Uniform, steps
from atrous.datasets.pairs import IGNORE

GEOMETRY = {
    "deeplab": {
        "scales": steps(0.5, 1.5, 0.25),
        "crop": (40, 40),
        "flip": 0.5,
    },
    "drn": {
        "rotation": 10,
        "scales": Uniform(0.5, 2),
        "crop": (40, 50),
        "around": True,
        "flip": 0.5,
    },
    "espnet": {"size": (40, 60), "trim": 8, "flip_vertical": 0.5},
    "liteseg": {
        "scales": Uniform(0.2, 0.8),
        "crop": (30, 40),
        "small": "stretch",
    },
    "torchvision": {
        "short_side": Uniform(20, 80),
        "crop": (48, 48),
        "order": ("resize", "flip", "rotate", "colour", "crop"),
        "flip": 0.5,
    },
    "classes": {"area": Uniform(0.08, 1), "crop": (32, 32), "flip": 0.5},
}


class Places(Dataset):
    """Pictures of their labels, of blocks as large as a filter and more."""

    classes = ("a", "b")

    def __init__(self, n=4, size=(96, 128), block=32):
        draw = torch.Generator().manual_seed(0)
        small = tuple(side // block for side in size)
        labels = torch.randint(0, 200, (n, *small), generator=draw)
        self.labels = labels.repeat_interleave(block, 1).repeat_interleave(
            block, 2
        )

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        labels = self.labels[index]
        return labels.expand(3, -1, -1).float() / 255, labels


def view(augmentation, seed=0, item=None):
    generator = torch.Generator().manual_seed(seed)
    return augmentation(*(item or Places()[0]), generator)


def coordinates(size):
    """Row, column and 0 of each pixel, in hundredths, and no labels."""
    grid = torch.meshgrid(*map(torch.arange, size), indexing="ij")
    picture = torch.stack([*grid, torch.zeros(size)]).float() / 100
    return picture, torch.zeros(size, dtype=torch.int64)


@pytest.mark.parametrize("recipe", GEOMETRY)
@pytest.mark.parametrize("antialias", [True, False])
def test_a_picture_of_its_labels_stays_one(recipe, antialias):
    """White stands for 255 outside; blocks agree but for their edges."""
    augmentation = Augmentation(
        **GEOMETRY[recipe], pad_picture=(1.0, 1.0, 1.0), antialias=antialias
    )
    compared = 0
    for seed in range(12):
        picture, labels = view(augmentation, seed)
        assert labels.dtype == torch.int64
        assert picture.shape == (3, *labels.shape)
        assert picture.is_contiguous()
        # Inside a block: the labels around, to what a filter sees, are one.
        around = labels[None].float()
        high, low = F.max_pool2d(torch.cat([around, -around]), 9, 1)
        inside = high == -low
        middle = slice(4, -4), slice(4, -4)
        found = (255 * picture)[:, *middle][:, inside]
        expected = labels[middle][inside]
        assert (found - expected).abs().max() < 0.01
        compared += int(inside.sum())
    assert compared > 1000


@pytest.mark.parametrize("seed", range(12))
def test_labels_are_at_the_nearest_place(seed):
    """To the pixel: of columns and rows a bilinear picture says the place."""
    size = (48, 64)
    for dim in 0, 1:
        picture, _ = coordinates(size)
        labels = (100 * picture[dim]).round().long()
        augmentation = Augmentation(
            rotation=10,
            scales=Uniform(0.5, 2),
            crop=(40, 40),
            flip=0.5,
            pad_picture="reflect",
            antialias=False,
        )
        seen, labels = view(augmentation, seed, (picture, labels))
        inside = labels != IGNORE
        difference = (100 * seen[dim] - labels)[inside].abs()
        # Each of two steps is off by half a pixel at most, the second along
        # lines that are rotated: (sin 10 + cos 10) / 2.
        assert difference.max() <= 0.5 + 0.58


def test_labels_are_ignored_wherever_the_picture_is_made_up():
    augmentation = Augmentation(scales=(0.5,), crop=(96, 128), around=True)
    picture, labels = view(augmentation)
    assert (labels[24:72, 32:96] != IGNORE).all()
    assert (labels == IGNORE).sum() == 96 * 128 * 3 / 4
    assert (picture[:, labels == IGNORE] == 0).all()
    augmentation = Augmentation(rotation=45, pad_picture=(0.2, 0.4, 0.6))
    picture, labels = view(augmentation, 1)
    assert labels[0, 0] == IGNORE
    assert picture[:, 0, 0].tolist() == pytest.approx([0.2, 0.4, 0.6])
    augmentation = Augmentation(rotation=45, pad_picture="reflect")
    picture, labels = view(
        augmentation,
        item=(torch.ones(3, 9, 9), torch.zeros(9, 9, dtype=torch.int64)),
    )
    torch.testing.assert_close(picture, torch.ones(3, 9, 9))
    assert 0 < (labels == IGNORE).sum() < 40


@pytest.mark.parametrize("seed", range(12))
def test_scales(seed):
    _, labels = view(Augmentation(scales=Uniform(0.5, 2)), seed)
    assert 48 <= labels.shape[0] <= 192
    assert abs(labels.shape[1] - labels.shape[0] * 4 / 3) < 4 / 3
    _, labels = view(Augmentation(scales=steps(0.5, 1.5, 0.25)), seed)
    assert labels.shape in [(24 * n, 32 * n) for n in range(2, 7)]
    sides = Augmentation(short_side=Uniform(20, 30), scales=(2.0,))
    _, labels = view(sides, seed)
    assert labels.shape[0] in range(40, 61, 2)
    assert labels.shape[1] == 2 * (labels.shape[0] // 2 * 4 // 3)


def test_a_picture_never_vanishes_and_is_smoothed_if_asked():
    picture, labels = coordinates((2, 40))
    picture[:, :, ::4] = 1
    for smooth in True, False:
        tiny = Augmentation(scales=(0.25,), antialias=smooth)
        found, small = view(tiny, item=(picture, labels))
        assert small.shape == (1, 10)
        expected = geometry.resize_picture(picture, (1, 10), antialias=smooth)
        assert torch.equal(found, expected)


def test_every_scale_is_drawn():
    augmentation = Augmentation(scales=steps(0.5, 1.5, 0.25))
    sizes = {view(augmentation, seed)[1].shape[0] for seed in range(40)}
    assert sizes == {48, 72, 96, 120, 144}


def test_every_window_is_drawn():
    picture, labels = coordinates((5, 7))
    augmentation = Augmentation(crop=(3, 4))
    seen = set()
    for seed in range(200):
        found, _ = view(augmentation, seed, (picture, labels))
        top, left = (100 * found[:2, 0, 0]).round().int().tolist()
        part = picture[:, top : top + 3, left : left + 4]
        assert torch.equal(found, part)
        seen.add((top, left))
    assert len(seen) == 3 * 4
    centre = Augmentation(crop=(3, 4), centre=True)
    found, _ = view(centre, item=(picture, labels))
    assert torch.equal(found, picture[:, 1:4, 1:5])


@pytest.mark.parametrize("seed", range(12))
def test_a_part_of_the_area(seed):
    """The window is as large and as long as asked, and fits."""
    augmentation = Augmentation(
        area=Uniform(0.2, 0.5),
        aspect=Uniform(0.5, 2),
        crop=(50, 50),
        antialias=False,
    )
    found, _ = view(augmentation, seed, coordinates((100, 100)))
    first, last = 100 * found[:2, 1, 1], 100 * found[:2, -2, -2]
    height, width = ((last - first) * 50 / 47).tolist()
    assert 0.17 <= height * width / 100**2 <= 0.55
    assert 0.45 <= width / height <= 2.2
    assert 0 <= found.min() <= found.max() <= 0.99 + 1e-6


def test_a_part_of_a_very_long_picture():
    picture, labels = coordinates((10, 90))
    augmentation = Augmentation(
        area=Uniform(1, 1), aspect=Uniform(1, 1), crop=(10, 10)
    )
    found, _ = view(augmentation, item=(picture, labels))
    assert torch.equal(found, picture[:, :, 40:50])


def test_trimming_keeps_the_middle_and_the_size():
    item, widths = coordinates((40, 60)), set()
    for seed in range(30):
        found, labels = view(Augmentation(trim=3), seed, item)
        assert labels.shape == (40, 60)
        torch.testing.assert_close(
            found.mean((1, 2)), item[0].mean((1, 2)), atol=2e-3, rtol=0
        )
        widths.add(round(100 * float(found[1].max() - found[1].min())))
    assert widths == {53, 55, 57, 59}
    _, labels = view(Augmentation(trim=99), 3, coordinates((4, 5)))
    assert labels.shape == (4, 5)


def test_flips():
    picture, labels = Places()[1]
    item = picture, labels
    found = view(Augmentation(flip=1), item=item)
    assert torch.equal(found[0], picture.flip(2))
    assert torch.equal(found[1], labels.flip(1))
    found = view(Augmentation(flip_vertical=1), item=item)
    assert torch.equal(found[1], labels.flip(0))
    half = Augmentation(flip=0.5)
    found = [view(half, seed, item)[1] for seed in range(100)]
    flipped = sum(torch.equal(each, labels.flip(1)) for each in found)
    assert 30 < flipped < 70


def test_rotation_goes_either_way_and_no_further():
    item, slopes = coordinates((41, 41)), []
    for seed in range(40):
        found, _ = view(Augmentation(rotation=10), seed, item)
        slopes.append(float(100 * (found[0, 20, 25] - found[0, 20, 15]) / 10))
    limit = 0.1737  # the sine of 10 degrees
    assert -limit <= min(slopes) < -0.1 < 0.1 < max(slopes) <= limit


def test_colour():
    picture = torch.rand(3, 6, 5, generator=torch.Generator().manual_seed(1))
    item = picture / 2, torch.zeros(6, 5, dtype=torch.int64)
    found, labels = view(Augmentation(brightness=0.5), 3, item)
    factors = found / item[0]
    torch.testing.assert_close(factors, factors[:1, :1, :1].expand(3, 6, 5))
    assert 0.5 <= factors.mean() <= 1.5
    assert abs(factors.mean() - 1) > 0.01
    assert torch.equal(labels, item[1])
    grey = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)

    def luminance(x):
        return (grey * x).sum(0)

    found, _ = view(Augmentation(saturation=0.3), 3, item)
    torch.testing.assert_close(luminance(found), luminance(item[0]))
    assert not torch.allclose(found, item[0])
    found, _ = view(Augmentation(contrast=0.3), 3, item)
    torch.testing.assert_close(
        luminance(found).mean(), luminance(item[0]).mean()
    )
    spread = luminance(found).std() / luminance(item[0]).std()
    assert 0.7 <= spread <= 1.3
    assert abs(spread - 1) > 0.01
    strong = Augmentation(brightness=1, contrast=1, saturation=1)
    for seed in range(10):
        found, _ = view(strong, seed, (picture, item[1]))
        assert 0 <= found.min() <= found.max() <= 1


def test_the_order_of_steps():
    last = ("rotate", "crop", "resize", "flip", "colour")
    options = {"crop": (4, 4), "scales": (2.0,)}
    assert view(Augmentation(**options))[1].shape == (4, 4)
    assert view(Augmentation(**options, order=last))[1].shape == (8, 8)


def test_a_class_is_not_touched():
    picture, label = torch.rand(3, 40, 30), torch.tensor(7)
    augmentation = Augmentation(
        area=Uniform(0.08, 1), crop=(24, 24), flip=0.5, brightness=0.4
    )
    found, same = view(augmentation, item=(picture, label))
    assert found.shape == (3, 24, 24)
    assert torch.equal(same, label)
    test = Augmentation(short_side=28, crop=(24, 24), centre=True)
    assert view(test, item=(picture, label))[0].shape == (3, 24, 24)


def test_no_option_does_nothing():
    picture, labels = Places()[2]
    found = view(Augmentation(), item=(picture, labels))
    assert torch.equal(found[0], picture)
    assert torch.equal(found[1], labels)


def test_a_recipe_can_hold_and_print_one():
    augmentation = Augmentation(scales=Uniform(0.5, 2), crop=(513, 513))
    text = "Augmentation(scales=Uniform(low=0.5, high=2), crop=(513, 513))"
    assert repr(augmentation) == text
    assert eval(text) == augmentation
    assert hash(augmentation) == hash(eval(text))
    with pytest.raises(dataclasses.FrozenInstanceError):
        augmentation.flip = 1


def test_steps():
    assert steps(0.5, 1.5, 0.25) == (0.5, 0.75, 1.0, 1.25, 1.5)
    assert steps(0.7, 1.3, 0.1) == (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
    assert steps(1, 1, 1) == (1,)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"flip": 1.5}, ["flip=1.5", "0..1"]),
        ({"contrast": -0.1}, ["contrast=-0.1"]),
        ({"crop": (0, 3)}, ["crop=(0, 3)", "height"]),
        ({"size": (3,)}, ["size=(3,)"]),
        ({"rotation": -1}, ["rotation=-1"]),
        ({"scales": ()}, ["scales=()"]),
        ({"scales": (1.0, 0)}, ["scales=(1.0, 0)"]),
        ({"scales": Uniform(0, 1)}, ["scales=Uniform(low=0"]),
        ({"short_side": 0}, ["short_side=0"]),
        ({"trim": -1}, ["trim=-1"]),
        ({"area": Uniform(0.1, 2), "crop": (2, 2)}, ["area="]),
        ({"area": Uniform(0.1, 1)}, ["crop=None", "area"]),
        ({"centre": True}, ["crop=None", "centre"]),
        ({"aspect": Uniform(0, 1)}, ["aspect="]),
        ({"small": "shrink"}, ["small='shrink'", "stretch"]),
        ({"pad_picture": "mean"}, ["pad_picture='mean'", "reflect"]),
        ({"pad_picture": (104, 117, 123)}, ["pad_picture=(104", "0..1"]),
        ({"order": ("crop", "flip")}, ["order=('crop', 'flip')"]),
    ],
)
def test_wrong_options(options, parts):
    with refused(ValueError, *parts):
        Augmentation(**options)


def test_wrong_calls():
    picture, labels = Places()[0]
    with refused(ValueError, "(96, 127)", "(3, 96, 128)"):
        view(Augmentation(), item=(picture, labels[:, 1:]))
    with refused(ValueError, "float32"):
        view(Augmentation(), item=(picture, labels.float()))
    with refused(ValueError, "low=2", "0..high"):
        Uniform(2, 1)
    with refused(ValueError, "by=0"):
        steps(0, 1, 0)
    with refused(ValueError, "seed=-1"):
        Augmented(Places(), Augmentation(), seed=-1)
    with refused(ValueError, "epoch=-1"):
        Augmented(Places(), Augmentation()).set_epoch(-1)


EVERYTHING = Augmentation(
    **GEOMETRY["drn"], brightness=0.5, contrast=0.5, saturation=0.5
)


def same(some, others):
    return all(
        torch.equal(a, b)
        for pair in zip(some, others, strict=True)
        for a, b in zip(*pair, strict=True)
    )


def test_an_item_of_an_epoch_is_what_it_is():
    """Whatever was drawn before, by whomever, and in which process."""
    data = Augmented(Places(), EVERYTHING, seed=5)
    data.set_epoch(2)
    once = [data[i] for i in range(4)]
    assert not torch.equal(once[0][0], once[1][0])
    again = Augmented(Places(), EVERYTHING, seed=5)
    again.set_epoch(2)
    assert same([again[i] for i in (3, 1)], [once[3], once[1]])
    assert same([again[-1]], [once[3]])
    halves = [Subset(again, [0, 2]), Subset(again, [1, 3])]
    shared = [halves[i % 2][i // 2] for i in range(4)]
    assert same(shared, once)
    for other in (6, 2), (5, 1), (2, 5):
        data = Augmented(Places(), EVERYTHING, seed=other[0])
        data.set_epoch(other[1])
        assert not any(same([data[i]], [once[i]]) for i in range(4))


def test_a_worker_that_outlives_an_epoch_sees_the_next():
    data = Augmented(Places(), EVERYTHING, seed=5)
    loader = DataLoader(
        data, batch_size=None, num_workers=1, persistent_workers=True
    )
    for epoch in range(2):
        data.set_epoch(epoch)
        found = list(loader)
        assert same(found, [data[i] for i in range(4)])
        assert data.epoch == epoch


def test_nobody_elses_numbers_are_moved():
    before = torch.get_rng_state()
    Augmented(Places(), EVERYTHING)[0]
    assert torch.equal(torch.get_rng_state(), before)


def test_what_it_wraps_shows():
    data = Augmented(Places(), EVERYTHING)
    assert data.classes == ("a", "b")
    with pytest.raises(AttributeError):
        _ = data.colours
