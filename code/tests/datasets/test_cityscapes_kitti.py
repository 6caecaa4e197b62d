"""Cityscapes and KITTI, from folders that these tests write."""

import numpy as np
import pytest
from layouts import flat, refused, save

from atrous.datasets.cityscapes import (
    CITYSCAPES_CLASSES,
    CITYSCAPES_COLOURS,
    Cityscapes,
)
from atrous.datasets.kitti import KITTI, KITTI_CLASSES
from atrous.datasets.pairs import IGNORE

# What cityscapesScripts makes of ids 0 to 33.
TRAIN_IDS = [IGNORE] * 34
for train_id, ids in enumerate(
    [7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33]
):
    TRAIN_IDS[ids] = train_id


def place(root, city, name, labels, kind="labelIds", split="train"):
    """A picture of a city, and one label map of a kind."""
    picture = root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png"
    save(picture, flat(102, np.shape(labels)))
    maps = root / "gtFine" / split / city
    return picture, save(maps / f"{name}_gtFine_{kind}.png", labels)


def test_label_ids(tmp_path):
    place(tmp_path, "ulm", "ulm_000001_000019", [range(34)])
    place(tmp_path, "aachen", "aachen_000003_000019", [[26, 0]])
    # Beside them lie other files, which are not label maps.
    maps = tmp_path / "gtFine" / "train" / "ulm"
    save(maps / "ulm_000001_000019_gtFine_color.png", flat(1))
    save(maps / "ulm_000001_000019_gtFine_instanceIds.png", flat(1))
    save(tmp_path / "leftImg8bit" / "train" / "ulm" / "notes.png", flat(1))
    (tmp_path / "leftImg8bit" / "train" / ".DS_Store").touch()
    (tmp_path / "leftImg8bit" / "train" / "license.txt").touch()
    data = Cityscapes(tmp_path)
    assert [file.parent.name for file in data.files] == ["aachen", "ulm"]
    picture, labels = data[1]
    assert picture.shape == (3, 1, 34)
    assert labels.tolist() == [TRAIN_IDS]
    assert data[0][1].tolist() == [[13, IGNORE]]
    assert data.classes[13] == "car"
    assert len(data.colours) == len(data.classes) == 19


@pytest.mark.parametrize("kind", ["labelTrainIds", "trainIds"])
def test_train_ids(tmp_path, kind):
    _, file = place(tmp_path, "ulm", "x", [[0, 18, 255]], kind)
    assert Cityscapes(tmp_path)[0][1].tolist() == [[0, 18, IGNORE]]
    save(file, [[0, 19, 255]])
    with refused(ValueError, file, "[19]", "< 19"):
        Cityscapes(tmp_path)[0]
    # Where both are there, those that were published.
    place(tmp_path, "ulm", "x", [[7, 33, 0]])
    assert Cityscapes(tmp_path)[0][1].tolist() == [[0, 18, IGNORE]]


def test_coarse_annotations(tmp_path):
    picture, _ = place(tmp_path, "ulm", "x", [[7, 0]], split="train_extra")
    maps = tmp_path / "gtCoarse" / "train_extra" / "ulm"
    save(maps / "x_gtCoarse_labelIds.png", [[8, 0]])
    data = Cityscapes(tmp_path, "train_extra", annotations="gtCoarse")
    assert data.files == [picture]
    assert data[0][1].tolist() == [[1, IGNORE]]


def test_wrong_cityscapes(tmp_path):
    with refused(FileNotFoundError, "2 missing", "leftImg8bit", "gtFine"):
        Cityscapes(tmp_path)
    picture, file = place(tmp_path, "ulm", "x", [[34, 26]])
    with refused(ValueError, file, "[34]", "< 34"):
        Cityscapes(tmp_path)[0]
    file.unlink()
    with refused(FileNotFoundError, "1 missing", file):
        Cityscapes(tmp_path)
    file.parent.rmdir()
    with refused(FileNotFoundError, "1 missing", file):
        Cityscapes(tmp_path)
    picture, file = place(tmp_path, "bonn", "y", [[26]])
    picture.unlink()
    picture.parent.rmdir()
    with refused(FileNotFoundError, "2 missing", picture):
        Cityscapes(tmp_path)


def test_every_colour_is_one_class():
    assert len(np.unique(CITYSCAPES_COLOURS, axis=0)) == 19
    assert len(set(CITYSCAPES_CLASSES)) == 19


def test_kitti(tmp_path):
    for folder, name in ("Training_00", "1"), ("Validation_07", "2"):
        save(tmp_path / folder / "RGB" / f"{name}.png", flat(0, (1, 12)))
        save(tmp_path / folder / "GT_ind" / f"{name}.PNG", [range(12)])
    for split, name in ("train", "1"), ("val", "2"):
        data = KITTI(tmp_path, split)
        assert [file.stem for file in data.files] == [name]
        assert data[0][1].tolist() == [[*range(11), IGNORE]]
    assert len(data.colours) == len(KITTI_CLASSES) == 11
    with refused(ValueError, "split='test'", "['train', 'val']"):
        KITTI(tmp_path, "test")
    save(tmp_path / "Training_00" / "RGB" / "3.png", flat(0))
    with refused(FileNotFoundError, "1 missing", "GT_ind/3.png"):
        KITTI(tmp_path)
