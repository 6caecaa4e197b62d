"""Every data set by name, from folders that these tests write."""

import numpy as np
import pytest
import torch
from layouts import flat, listing, refused, save, save_sbd
from scipy.io import savemat
from torch.utils.data import DataLoader

from atrous.datasets.augment import Augmentation, Augmented
from atrous.datasets.catalogue import DATASETS, open_split
from atrous.datasets.pairs import IGNORE

CLASSES = {"voc": 21, "voc_aug": 21, "sbd": 21, "cityscapes": 19}
CLASSES |= {"camvid": 11, "kitti": 11, "folder": 2}


def write_voc(root):
    for split in "train", "val":
        listing(root / "ImageSets" / "Segmentation" / f"{split}.txt", split)
        save(root / "JPEGImages" / f"{split}.jpg", flat(0, (1, 2)))
        save(root / "SegmentationClass" / f"{split}.png", [[0, 1]])


def write_sbd(root):
    for split in "train", "val":
        listing(root / f"{split}.txt", f"x{split}")
        save_sbd(root, f"x{split}", [[0, 1]])


def write_bsds(root):
    cells = np.empty((1, 1), object)
    cells[0, 0] = {"Boundaries": np.eye(8, dtype=np.uint8)}
    for split in "train", "val", "test":
        # In capitals, as some unpackers leave them.
        save(root / "images" / split / "1.JPG", flat(0, (8, 8)))
        (root / "groundTruth" / split).mkdir(parents=True)
        savemat(
            root / "groundTruth" / split / "1.MAT",
            {"groundTruth": cells},
            appendmat=False,
        )


def write(name, root):
    """The smallest folder of each layout that has a train."""
    if name in ("voc", "voc_aug"):
        write_voc(root / "VOCdevkit" / "VOC2012")
    if name in ("voc_aug", "sbd"):
        write_sbd(root / "benchmark_RELEASE" / "dataset")
    if name in ("bsds500", "bsds500_aug"):
        write_bsds(root / "BSR" / "BSDS500" / "data")
    for folder in {"camvid": ["train", "trainannot"]}.get(name, []):
        labels = [[0, 1]] if "annot" in folder else flat(0, (1, 2))
        save(root / folder / "a.PNG", labels)
    if name == "cityscapes":
        city = "train/ulm/u"
        file = root / "leftImg8bit" / f"{city}_leftImg8bit.png"
        save(file, flat(0, (1, 2)))
        save(root / "gtFine" / f"{city}_gtFine_labelIds.png", [[7, 8]])
    if name == "kitti":
        save(root / "Training_00" / "RGB" / "a.png", flat(0, (1, 2)))
        save(root / "Training_00" / "GT_ind" / "a.png", [[0, 1]])
    if name == "folder":
        save(root / "images" / "train" / "a.png", flat(0, (1, 2)))
        save(root / "masks" / "train" / "a.png", [[0, 1]])
    if name == "imagenet":
        save(root / "train" / "n1" / "a.JPEG", flat(0, (1, 2)))
    return root


@pytest.mark.parametrize("name", DATASETS)
def test_each_opens(name, tmp_path):
    data = open_split(name, write(name, tmp_path), "train")
    picture, labels = data[0]
    assert (picture.dtype, picture.shape[0]) == (torch.float32, 3)
    assert len(data.files) == len(data)
    task = DATASETS[name].task
    if task == "segmentation":
        assert (labels.dtype, labels.tolist()) == (torch.int64, [[0, 1]])
        assert data.colours.dtype == np.uint8
        assert data.colours.shape == (len(data.classes), 3)
        assert len(data.classes) == CLASSES[name]
    elif task == "edges":
        assert data.classes == ("edge",)
        assert labels.shape[-2:] == (8, 8)
    else:
        assert (task, labels.tolist()) == ("classification", 0)
    changed = open_split(
        name, tmp_path, "train", transform=lambda x, y: (x + 1, y)
    )
    assert torch.equal(changed[0][0], picture + 1)


def test_other_splits(tmp_path):
    write("voc_aug", tmp_path)
    for split in "train", "train_aug":
        stems = [f.stem for f in open_split("voc_aug", tmp_path, split).files]
        assert stems == ["train", "xtrain", "xval"]
    data = open_split("voc_aug", tmp_path, "val")
    assert [file.stem for file in data.files] == ["val"]
    write_bsds(tmp_path)
    assert len(open_split("bsds500_aug", tmp_path, "train")) == 2 * 96
    assert len(open_split("bsds500_aug", tmp_path, "test")) == 1
    inner = tmp_path / "VOCdevkit" / "VOC2012"
    listing(inner / "ImageSets" / "Segmentation" / "mine.txt", "val", "train")
    assert len(open_split("voc", inner, "mine")) == 2


def test_ready_maps_are_taken_first(tmp_path):
    write("voc_aug", tmp_path)
    voc = tmp_path / "VOCdevkit" / "VOC2012"
    save(voc / "SegmentationClassAug" / "train.png", [[5, 6]])
    data = open_split("voc_aug", tmp_path, "train")
    assert [labels.tolist() for _, labels in data] == [[[5, 6]]]


@pytest.mark.parametrize("name", DATASETS)
def test_what_is_missing_and_where_it_comes_from(name, tmp_path):
    """Nothing is downloaded: the error says all that a reader must do."""
    source, root = DATASETS[name], tmp_path / "data"
    parts = ["missing", root, "split='train'", source.title, source.origin]
    parts += [source.size, root, source.layout]
    with refused(FileNotFoundError, *parts):
        open_split(name, root, "train")
    root.mkdir()
    with refused(FileNotFoundError, *parts):
        open_split(name, root, "train")
    assert not [*root.iterdir()]


def test_unknown_names():
    with refused(ValueError, "name='coco'", "'voc'", "'imagenet'"):
        open_split("coco", "data", "train")


def test_published_counts_agree():
    splits = {name: source.splits for name, source in DATASETS.items()}
    assert splits["voc_aug"]["train"] == splits["voc"]["train"] + 9118
    assert sum(splits["sbd"].values()) == 11355
    edges = splits["bsds500"]
    fixed = 96 * (edges["train"] + edges["val"])
    assert splits["bsds500_aug"]["train"] == fixed


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_that_meets_a_broken_file_names_it(tmp_path, workers):
    for name in "abc":
        save(tmp_path / "train" / f"{name}.png", flat(0, (4, 4)))
        save(tmp_path / "trainannot" / f"{name}.png", np.ones((4, 4)))
    crop = Augmentation(crop=(6, 6), flip=0.5)
    data = Augmented(open_split("camvid", tmp_path, "train"), crop)
    loader = DataLoader(data, num_workers=workers)
    assert [int((y == IGNORE).sum()) for _, y in loader] == [20] * 3
    file = save(tmp_path / "trainannot" / "b.png", np.full((4, 4), 12))
    with refused(ValueError, file, "[12]", "< 11"):
        list(loader)
    file.write_bytes(file.read_bytes()[:40])
    with refused(ValueError, file, "not a whole picture"):
        list(loader)
    file.unlink()
    with refused(FileNotFoundError, "1 missing", file):
        list(loader)
