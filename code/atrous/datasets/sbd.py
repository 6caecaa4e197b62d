"""The Semantic Boundaries Dataset, and PASCAL VOC 2012 augmented by it."""

from pathlib import Path

import numpy as np

from atrous.datasets.matlab import matrix_in, read_mat
from atrous.datasets.pairs import Pairs, need, voc_colour_map
from atrous.datasets.voc import VOC_CLASSES, PascalVOC, listed


class SBD(Pairs):
    """The Semantic Boundaries Dataset; raises as `Pairs` does.

    Reads SPLIT.txt, img/ID.jpg and cls/ID.mat in `root`, such as
    benchmark_RELEASE/dataset. SPLIT is train, 8,498 pictures, or val, 2,857;
    both overlap with VOC 2012's val. No pixel is void.

    Source:
        Hariharan et al., doi:10.1109/ICCV.2011.6126343.
    """

    classes, colours = VOC_CLASSES, voc_colour_map(21)

    def __init__(self, root, split="train", *, transform=None):
        source = Path(root, f"{split}.txt")
        need(Path(root), source)
        pairs = [sbd_pair(Path(root), i) for i in listed(source)]
        super().__init__(pairs, source, transform)

    def _read(self, file: Path) -> np.ndarray:
        return read_sbd(file)


class AugmentedVOC(PascalVOC):
    """VOC 2012's train and all of SBD but VOC's val: 10,582 pictures.

    The list is made of VOC's and SBD's own, in order: VOC's train, then the
    rest by name. A picture of VOC's keeps VOC's labels, with their void
    borders; the others have SBD's, without any. Raises as `Pairs` does.

    If the folder SegmentationClassAug of ready label maps is in `voc`, SBD is
    not needed. Then the list is ImageSets/Segmentation/train_aug.txt or
    trainaug.txt, or, if neither is there, all maps that VOC's val has not.

    Args:
        voc: Such as VOCdevkit/VOC2012.
        sbd: Such as benchmark_RELEASE/dataset; None for ready label maps.
        transform: As `Pairs` takes it.

    Source:
        Chen et al., arXiv:1606.00915, section 4.1, who count 10,582.
    """

    def __init__(self, voc, sbd=None, *, transform=None):
        voc = Path(voc)
        need(voc)
        lists = voc / "ImageSets" / "Segmentation"
        if sbd is None:
            pairs = _ready_pairs(voc, lists)
        else:
            pairs = _merged_pairs(voc, Path(sbd), lists)
        Pairs.__init__(self, pairs, lists, transform)

    def _read(self, file: Path) -> np.ndarray:
        return read_sbd(file) if file.suffix == ".mat" else super()._read(file)


def sbd_pair(root: Path, name: str) -> tuple[Path, Path]:
    """Picture and label file of an ID."""
    return root / "img" / f"{name}.jpg", root / "cls" / f"{name}.mat"


def read_sbd(file: Path) -> np.ndarray:
    """Labels of a file in cls/, int64 (H, W).

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it holds no such matrix.
    """
    structs = read_mat(file, "GTcls")
    if structs is None or structs.size != 1:
        raise ValueError(f"{file}: no GTcls, or several")
    labels = matrix_in(structs.flat[0], "Segmentation", "GTcls", file)
    return labels.astype(np.int64)


def _merged_pairs(voc: Path, sbd: Path, lists: Path) -> list:
    sources = lists / "train.txt", lists / "val.txt"
    more = sbd / "train.txt", sbd / "val.txt"
    need(*sources, sbd, *more)
    train, val = map(listed, sources)
    others = {name for source in more for name in listed(source)}
    pictures, maps = voc / "JPEGImages", voc / "SegmentationClass"
    pairs = [(pictures / f"{i}.jpg", maps / f"{i}.png") for i in train]
    return pairs + [sbd_pair(sbd, i) for i in sorted(others - {*train, *val})]


def _ready_pairs(voc: Path, lists: Path) -> list:
    pictures, maps = voc / "JPEGImages", voc / "SegmentationClassAug"
    need(maps)
    sources = lists / "train_aug.txt", lists / "trainaug.txt"
    found = [source for source in sources if source.exists()]
    if found:
        names = listed(found[0])
    else:
        need(lists / "val.txt")
        there = {file.stem for file in maps.glob("[!.]*.png")}
        names = sorted(there - set(listed(lists / "val.txt")))
    return [(pictures / f"{i}.jpg", maps / f"{i}.png") for i in names]
