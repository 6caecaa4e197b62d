"""KITTI pictures, labelled in 11 classes, from a folder."""

from pathlib import Path

import numpy as np

from atrous.datasets.pairs import Pairs, need, pairs_by_stem

# A class's place is its label; the colours are those of the same in CamVid.
# Source: kitti.py of dataset_loaders, at github.com/fvisin; the same colours
# in another order are in datasets/kitti.json of github.com/fyu/dilation.
_KITTI = """Sky 128 128 128, Building 128 0 0, Road 128 64 128,
Sidewalk 0 0 192, Fence 64 64 128, Vegetation 128 128 0, Pole 192 192 128,
Car 64 0 128, Sign 192 128 128, Pedestrian 64 64 0, Cyclist 0 128 192"""
_ROWS = [row.split() for row in _KITTI.split(",")]
KITTI_CLASSES = tuple(row[0] for row in _ROWS)
KITTI_COLOURS = np.array([row[1:] for row in _ROWS]).astype(np.uint8)
_FOLDERS = {"train": "Training_00", "val": "Validation_07"}


class KITTI(Pairs):
    """Ros et al.'s labels of 146 KITTI pictures; raises as `Pairs` does.

    Reads FOLDER/RGB/ID.png and FOLDER/GT_ind/ID.png, where 11 is void. FOLDER
    is Training_00 for the split train, 100 pictures, and Validation_07 for
    val, 46.

    Source:
        Ros et al., at adas.cvc.uab.es/s2uad. The layout and the order of the
        classes are those of another reader, not of these pages.

    Departs:
        Yu & Koltun's network orders the classes Building, Vegetation, Sky,
        Car, Sign, Road, Pedestrian, Fence, Pole, Sidewalk, Cyclist.
    """

    classes, colours, void = KITTI_CLASSES, KITTI_COLOURS, 11

    def __init__(self, root, split="train", *, transform=None):
        if split not in _FOLDERS:
            raise ValueError(f"split={split!r}: must be in {[*_FOLDERS]}")
        folder = Path(root, _FOLDERS[split])
        pictures, maps = folder / "RGB", folder / "GT_ind"
        need(Path(root), pictures, maps)
        pairs = pairs_by_stem(pictures, maps, (".png",), (".png",))
        super().__init__(pairs, pictures, transform)
