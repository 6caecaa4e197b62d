"""The 96 fixed views of BSDS500, from folders that these tests write."""

import itertools
import shutil

import numpy as np
import pytest
import torch
from layouts import refused, save
from scipy import ndimage
from scipy.io import savemat

from atrous.datasets.bsds500 import BSDS500
from atrous.datasets.fixed_views import (
    ANGLES,
    SCALES,
    AugmentedBSDS500,
    view,
)

SIZE = (48, 32)


def write(root, split, name, *columns):
    """A picture that is white where the first annotator drew a column."""
    drawn = np.zeros((len(columns), *SIZE), np.uint8)
    for each, column in zip(drawn, columns, strict=True):
        each[:, column] = 1
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[:, columns[0] - 1 : columns[0] + 2] = 255
    save(root / "images" / split / f"{name}.jpg", pixels, quality=100)
    file = root / "groundTruth" / split / f"{name}.mat"
    file.parent.mkdir(parents=True, exist_ok=True)
    cells = np.empty((1, len(columns)), object)
    for i, edges in enumerate(drawn):
        cells[0, i] = {"Boundaries": edges}
    savemat(file, {"groundTruth": cells})
    return file


@pytest.fixture
def root(tmp_path):
    write(tmp_path, "train", "b", 10, 10, 20)
    write(tmp_path, "train", "a", 12, 12)
    write(tmp_path, "val", "c", 15)
    write(tmp_path, "val", "d", 16)
    return tmp_path


def test_every_picture_in_every_view(root):
    data = AugmentedBSDS500(root)
    assert len(data) == 4 * 96 == len(data.files)
    names = [file.stem for file in data.files]
    assert names == ["a"] * 96 + ["b"] * 96 + ["c"] * 96 + ["d"] * 96
    # 300 published pictures make the 28,800 of HED.
    assert 300 * len(ANGLES) * len(SCALES) * 2 == 28_800


def test_the_order_of_the_views(root):
    data, plain = AugmentedBSDS500(root), BSDS500(root)
    for place, keys in (
        (0, (0.0, False, 1.0)),
        (1, (0.0, True, 1.0)),
        (2, (22.5, False, 1.0)),
        (32, (0.0, False, 0.5)),
        (95, (337.5, True, 1.5)),
    ):
        names = "degrees", "flip", "scale"
        expected = view(*plain[1], **dict(zip(names, keys, strict=True)))
        for found, wanted in zip(data[96 + place], expected, strict=True):
            assert torch.equal(found, wanted)
    for place in range(2):
        _, mean = data[(2 + place) * 96]
        assert torch.equal(mean, BSDS500(root, "val")[place][1][0].float())
    assert torch.equal(data[-1][1], data[len(data) - 1][1])
    with pytest.raises(IndexError):
        data[len(data)]


def test_views_without_a_loss(root):
    picture, drawn = BSDS500(root)[1]
    seen, mean = view(picture, drawn, degrees=0, flip=False, scale=1)
    torch.testing.assert_close(seen, picture)
    assert torch.equal(mean, drawn.float().mean(0))
    assert mean[0, [10, 20]].tolist() == pytest.approx([2 / 3, 1 / 3])
    seen, mean = view(picture, drawn, degrees=90, flip=True, scale=1)
    turned = torch.rot90(picture, 1, (1, 2)).flip(-1)
    torch.testing.assert_close(seen, turned)
    turned = torch.rot90(drawn.float().mean(0)).flip(-1)
    assert torch.equal(mean, turned)


def test_a_line_stays_a_line(root):
    """In one piece, as sure as before, and where the picture shows it."""
    everywhere, item = np.ones((3, 3)), BSDS500(root, "val")[0]
    for degrees, scale in itertools.product(ANGLES, SCALES):
        picture, mean = view(*item, degrees=degrees, flip=True, scale=scale)
        assert picture.shape[1:] == mean.shape
        assert set(mean.unique().tolist()) == {0, 1}
        _, pieces = ndimage.label(mean.numpy(), everywhere)
        assert pieces == 1
        assert picture[:, mean == 1].mean() > 2 * picture.mean()
        # At 1.5 a line is two pixels wide in places, and never three.
        assert mean.sum() <= 2 * max(mean.shape)


def test_sizes(root):
    data = AugmentedBSDS500(root)
    sizes = [tuple(data[i][1].shape) for i in range(96)]
    assert sizes[0] == SIZE
    assert sizes[32] == (24, 16)
    assert sizes[64] == (72, 48)
    assert sizes[8] == SIZE[::-1]
    assert len(set(sizes)) > 10


def test_transform_and_missing(root):
    data = AugmentedBSDS500(root, transform=lambda x, e: (x[:, :1], e[:1]))
    assert data[5][1].shape[0] == 1
    for folder in root.glob("*/val"):
        shutil.rmtree(folder)
    with refused(FileNotFoundError, "images/val", "groundTruth/val"):
        AugmentedBSDS500(root)
