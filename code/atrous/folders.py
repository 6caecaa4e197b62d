"""Pictures and label maps from folders laid out as PASCAL VOC or CamVid.

For readers who have the data on disk; nothing is downloaded. An item is a
picture, float32 (3, H, W) in 0..1, and its labels, int64 (H, W), `IGNORE`
where there is none. VOC's pictures differ in size: batch them one by one, or
pass a `transform`, from (picture, labels) to the same, that crops them.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from atrous.scores import IGNORE

# A class's place is its label: background, then by alphabet. Source: VOC2012
# development kit, VOCinit.m.
_VOC = """background aeroplane bicycle bird boat bottle bus car cat chair cow
diningtable dog horse motorbike person pottedplant sheep sofa train tvmonitor
"""
VOC_CLASSES = tuple(_VOC.split())

# Name and colour of all that CamVid's own label maps tell apart in a class.
# Source: label_colors.txt of the database; order of the classes: issue 16 of
# github.com/alexgkendall/SegNet-Tutorial; their members: camvidPixelLabelIDs
# of MathWorks, "following the original SegNet training methodology".
_CAMVID = {
    "Sky": "Sky 128 128 128",
    "Building": "Building 128 0 0, Archway 192 0 128, Bridge 0 128 64, "
    "Tunnel 64 0 64, Wall 64 192 0",
    "Pole": "Column_Pole 192 192 128, TrafficCone 0 0 64",
    "Road": "Road 128 64 128, LaneMkgsDriv 128 0 192, "
    "LaneMkgsNonDriv 192 0 64",
    "Pavement": "Sidewalk 0 0 192, ParkingBlock 64 192 128, "
    "RoadShoulder 128 128 192",
    "Tree": "Tree 128 128 0, VegetationMisc 192 192 0",
    "SignSymbol": "SignSymbol 192 128 128, Misc_Text 128 128 64, "
    "TrafficLight 0 64 64",
    "Fence": "Fence 64 64 128",
    "Car": "Car 64 0 128, OtherMoving 128 64 64, SUVPickupTruck 64 128 192, "
    "Train 192 64 128, Truck_Bus 192 128 192",
    "Pedestrian": "Pedestrian 64 64 0, Animal 64 128 64, "
    "CartLuggagePram 64 0 192, Child 192 128 64",
    "Bicyclist": "Bicyclist 0 128 192, MotorcycleScooter 192 0 192",
    "Void": "Void 0 0 0",
}
CAMVID_CLASSES = tuple(_CAMVID)[:-1]
_GROUPS = [  # the colours of each class
    [tuple(map(int, member.split()[1:])) for member in members.split(", ")]
    for members in _CAMVID.values()
]
CAMVID_COLOURS = tuple(group[0] for group in _GROUPS[:-1])


def voc_colour_map(n: int = 256) -> np.ndarray:
    """Colours of the first n labels of PASCAL VOC, uint8 (n, 3).

    The bits of a label are dealt to red, green and blue in turn, lowest
    first, and fill each channel from its highest bit down.

    Raises:
        ValueError: If `n` is not in 1..256.

    Source:
        VOClabelcolormap.m of the VOC2012 development kit.
    """
    if not 1 <= n <= 256:
        raise ValueError(f"n={n}: must be in 1..256")
    labels, colours = np.arange(n), np.zeros((n, 3), np.int64)
    for bit in range(8):
        colours[:, bit % 3] |= (labels >> bit & 1) << (7 - bit // 3)
    return colours.astype(np.uint8)


def colourise(labels, colours) -> np.ndarray:
    """Paint labels (H, W), rows of `colours` (n, 3), as uint8 (H, W, 3).

    `IGNORE` has the cream of VOC's borders, unless `colours` has a row 255.

    Raises:
        ValueError: If a label is neither a row of `colours` nor `IGNORE`.
    """
    labels = _checked(np.asarray(labels), len(colours), IGNORE, "labels")
    table = voc_colour_map()
    table[: len(colours)] = colours
    return table[labels]


def labels_from_colours(
    picture, colours, *, unknown: int | None = None, name="picture"
) -> np.ndarray:
    """Row of `colours` that each pixel of a picture has, int64 (H, W).

    Args:
        picture: uint8 (H, W, 3).
        colours: (n, 3) in 0..255, all different.
        unknown: Label of any other colour; None refuses it.
        name: What the error calls the picture, such as its path.

    Raises:
        ValueError: If `unknown` is None and there is another colour.
    """
    picture = np.asarray(picture)
    place = np.array([1 << 16, 1 << 8, 1])  # makes one integer of a colour
    codes, labels = picture @ place, np.full(picture.shape[:2], -1)
    for label, code in enumerate(np.asarray(colours) @ place):
        labels[codes == code] = label
    others = labels == -1
    if unknown is not None:
        labels[others] = unknown
    elif others.any():
        rgb = np.unique(picture[others], axis=0).tolist()
        raise ValueError(f"{name}: {len(rgb)} unknown colours: {rgb[:3]}")
    return labels


class Pairs(Dataset):
    """Pairs of files, (picture, label map), of a split that `source` lists.

    Raises:
        FileNotFoundError: If any is missing: how many, the first three.
        ValueError: If there is no pair. From an item: if its sizes differ,
            or a label or colour has no class.
    """

    def __init__(self, pairs, source, transform=None):
        need(*(file for pair in pairs for file in pair))
        if not pairs:
            raise ValueError(f"{source}: the split is empty")
        self.pairs, self.transform = pairs, transform

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int):
        file, map_file = self.pairs[index]
        pixels, labels = _read_rgb(file), self._read(map_file)
        sizes = pixels.shape[:2], labels.shape[-2:]
        if sizes[0] != sizes[1]:
            raise ValueError(f"{file}, {map_file}: sizes (H, W) {sizes}")
        labels = self._check(labels, map_file)
        picture = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
        item = picture.float() / 255, torch.from_numpy(labels)
        return self.transform(*item) if self.transform else item

    def _read(self, file: Path) -> np.ndarray:
        with Image.open(file) as image:
            if image.mode not in ("L", "P"):
                raise ValueError(f"{file}: {image.mode} pixels, not indices")
            return np.array(image, np.int64)

    def _check(self, labels: np.ndarray, file: Path) -> np.ndarray:
        return _checked(labels, len(self.classes), self.void, file)


class PascalVOC(Pairs):
    """PASCAL VOC 2012 segmentation; raises as `Pairs` does.

    Reads ImageSets/Segmentation/SPLIT.txt, JPEGImages/ID.jpg, LABELS/ID.png
    in `root`, such as VOCdevkit/VOC2012. A line of the list is an ID, or two
    paths as in DeepLab's lists, the first of which holds it. LABELS is
    SegmentationClass unless `labels` says SegmentationClassAug. The palette
    of a label map is for the eye: its indices are the labels.

    Source:
        Everingham & Winn, VOC2012 development kit, sections 2.2 and 2.6.
    """

    classes, void = VOC_CLASSES, 255

    def __init__(self, root, split="train", *, labels=None, transform=None):
        maps = Path(root, labels or "SegmentationClass")
        pictures = Path(root, "JPEGImages")
        source = Path(root, "ImageSets", "Segmentation", f"{split}.txt")
        need(Path(root), source)
        lines = source.read_text(encoding="utf-8").splitlines()
        first = [Path(line.split()[0]).name for line in lines if line.strip()]
        ids = [name.removesuffix(".jpg") for name in first]
        pairs = [(pictures / f"{i}.jpg", maps / f"{i}.png") for i in ids]
        super().__init__(pairs, source, transform)


class CamVid(Pairs):
    """CamVid in 11 classes; raises as `Pairs` does.

    Reads SPLIT/ID.png, and either labels from SPLITannot/ID.png, where 11 is
    void, or the 32 colours from SPLIT_labels/ID_L.png. Any other colour, and
    the published Seq05VD_f02610_L.png has some, is an error, or `IGNORE` if
    `ignore_unknown`. SPLIT is train, val or test.

    Source:
        Brostow, Fauqueur & Cipolla, doi:10.1016/j.patrec.2008.04.005. The
        folders are those of SegNet-Tutorial (github.com/alexgkendall) and of
        Semantic-Segmentation-Suite (github.com/GeorgeSeif).

    Departs:
        Yu & Koltun's network orders the classes Building, Tree, Sky, Car,
        SignSymbol, Road, Pedestrian, Fence, Pole, Pavement, Bicyclist
        (datasets/camvid.json of github.com/fyu/dilation).
    """

    classes, void = CAMVID_CLASSES, 11

    def __init__(
        self, root, split="train", *, ignore_unknown=False, transform=None
    ):
        pictures = Path(root, split)
        either = Path(root, f"{split}annot"), Path(root, f"{split}_labels")
        found = [folder for folder in either if folder.is_dir()]
        need(Path(root), pictures, *(found or either))
        maps, end = found[0], "" if found[0] == either[0] else "_L"
        # A label map without its picture is missing a file, too.
        ids = {file.stem for file in pictures.glob("[!.]*.png")}
        ids |= {f.stem.removesuffix(end) for f in maps.glob("[!.]*.png")}
        ids = sorted(ids)
        pairs = [(pictures / f"{i}.png", maps / f"{i}{end}.png") for i in ids]
        self.coloured, self.ignore_unknown = bool(end), ignore_unknown
        super().__init__(pairs, pictures, transform)

    def _read(self, file: Path) -> np.ndarray:
        if not self.coloured:
            return super()._read(file)
        pixels, colours = _read_rgb(file), np.concatenate(_GROUPS)
        unknown = -1 if self.ignore_unknown else None  # the last row is void
        rows = labels_from_colours(pixels, colours, unknown=unknown, name=file)
        return np.repeat(np.arange(12), [len(g) for g in _GROUPS])[rows]


def need(*files: Path) -> None:
    """Raise FileNotFoundError if any is missing: how many, the first."""
    missing = [str(file) for file in files if not file.exists()]
    if missing:
        raise FileNotFoundError(f"{len(missing)} missing: {missing[:3]}")


def _read_rgb(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.array(image.convert("RGB"))


def _checked(labels, classes: int, void: int, name) -> np.ndarray:
    """Labels with `IGNORE` for void; ValueError if others have no class."""
    known = (labels >= 0) & (labels < classes) | (labels == void)
    if not known.all():
        strange = np.unique(labels[~known]).tolist()
        raise ValueError(f"{name}: {strange}, neither < {classes} nor {void}")
    return np.where(labels == void, IGNORE, labels)
