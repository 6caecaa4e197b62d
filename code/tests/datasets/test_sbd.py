"""SBD and the augmented VOC, from folders that these tests write."""

import numpy as np
import pytest
from layouts import flat, listing, refused, save, save_sbd
from scipy.io import savemat

from atrous.datasets.pairs import IGNORE, voc_colour_map
from atrous.datasets.sbd import SBD, AugmentedVOC
from atrous.datasets.voc import VOC_CLASSES


@pytest.fixture
def both(tmp_path):
    """VOC's train a, b and val c; SBD's train b, c, e and val a, d."""
    voc, sbd = tmp_path / "VOC2012", tmp_path / "dataset"
    lists = voc / "ImageSets" / "Segmentation"
    listing(lists / "train.txt", "b", "a")
    listing(lists / "val.txt", "c")
    listing(sbd / "train.txt", "e", "c", "b")
    listing(sbd / "val.txt", "a", "d", "")
    for name in "abc":
        save(voc / "JPEGImages" / f"{name}.jpg", flat(51, (2, 2)))
        labels = [[0, 20], [255, 7]]
        save(voc / "SegmentationClass" / f"{name}.png", labels)
    for name in "abcde":
        save_sbd(sbd, name, [[0, 5], [5, ord(name) - 97]])
    return voc, sbd


def test_sbd(both):
    data = SBD(both[1])
    assert [file.stem for file in data.files] == ["e", "c", "b"]
    picture, labels = data[0]
    assert picture.shape == (3, 2, 2)
    assert labels.tolist() == [[0, 5], [5, 4]]
    assert data.classes == VOC_CLASSES
    assert (data.colours == voc_colour_map(21)).all()


def test_augmented_voc_is_train_and_both_lists_without_val(both):
    data = AugmentedVOC(*both)
    assert [file.stem for file in data.files] == ["b", "a", "d", "e"]
    # VOC's own labels, with void borders, where there are any.
    assert data[1][1].tolist() == [[0, 20], [IGNORE, 7]]
    assert data[2][1].tolist() == [[0, 5], [5, 3]]
    assert data.pairs[2][0] == both[1] / "img" / "d.jpg"


@pytest.mark.parametrize("name", ["train_aug", "trainaug", None])
def test_augmented_voc_of_ready_maps(both, name):
    voc, _ = both
    for stem in "abcd":
        save(voc / "JPEGImages" / f"{stem}.jpg", flat(51, (1, 2)))
        save(voc / "SegmentationClassAug" / f"{stem}.png", [[3, 255]])
    save(voc / "SegmentationClassAug" / "._a.png", [[3]])
    if name:
        line = "/JPEGImages/d.jpg /SegmentationClassAug/d.png"
        listing(voc / "ImageSets" / "Segmentation" / f"{name}.txt", line, "a")
    data = AugmentedVOC(voc)
    expected = ["d", "a"] if name else ["a", "b", "d"]
    assert [file.stem for file in data.files] == expected
    assert data[0][1].tolist() == [[3, IGNORE]]


def test_missing_files(both):
    voc, sbd = both
    with refused(FileNotFoundError, "1 missing", "SegmentationClassAug"):
        AugmentedVOC(voc)
    (sbd / "img" / "d.jpg").unlink()
    with refused(FileNotFoundError, "1 missing", sbd / "img" / "d.jpg"):
        AugmentedVOC(voc, sbd)
    (sbd / "val.txt").unlink()
    with refused(FileNotFoundError, "1 missing", sbd / "val.txt"):
        AugmentedVOC(voc, sbd)
    with refused(FileNotFoundError, "3 missing", sbd / "nowhere"):
        AugmentedVOC(voc, sbd / "nowhere")
    with refused(FileNotFoundError, "1 missing", sbd / "x.txt"):
        SBD(sbd, "x")


def test_wrong_labels(both):
    voc, sbd = both
    file = save_sbd(sbd, "d", [[21, 0]])
    with refused(ValueError, file, "[21]", "< 21"):
        AugmentedVOC(voc, sbd)[2]
    file = save_sbd(sbd, "d", [[1, 0]], size=(2, 2))
    with refused(ValueError, "d.jpg", file, "((2, 2), (1, 2))"):
        AugmentedVOC(voc, sbd)[2]
    twice = np.zeros((1, 2), [("Segmentation", object)])
    for wrong in {"GTinst": 1}, {"GTcls": twice}:
        savemat(file, wrong)
        with refused(ValueError, file, "no GTcls, or several"):
            AugmentedVOC(voc, sbd)[2]
    savemat(file, {"GTcls": {"Boundaries": 1}})
    with refused(ValueError, file, "GTcls holds ['Boundaries']", "field"):
        AugmentedVOC(voc, sbd)[2]
    data = AugmentedVOC(voc, sbd)
    file.unlink()
    with refused(FileNotFoundError, "1 missing", file):
        data[2]
