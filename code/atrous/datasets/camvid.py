"""CamVid from a folder."""

from pathlib import Path

import numpy as np

from atrous.datasets.pairs import (
    Pairs,
    labels_from_colours,
    need,
    pairs_by_stem,
    read_rgb,
)

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
    colours = np.array(CAMVID_COLOURS, np.uint8)

    def __init__(
        self, root, split="train", *, ignore_unknown=False, transform=None
    ):
        pictures = Path(root, split)
        either = Path(root, f"{split}annot"), Path(root, f"{split}_labels")
        found = [folder for folder in either if folder.is_dir()]
        need(Path(root), pictures, *(found or either))
        maps, end = found[0], "" if found[0] == either[0] else "_L"
        pairs = pairs_by_stem(
            pictures, maps, (".png",), (".png",), map_tail=end
        )
        self.coloured, self.ignore_unknown = bool(end), ignore_unknown
        super().__init__(pairs, pictures, transform)

    def _read(self, file: Path) -> np.ndarray:
        if not self.coloured:
            return super()._read(file)
        pixels, colours = read_rgb(file), np.concatenate(_GROUPS)
        unknown = -1 if self.ignore_unknown else None  # the last row is void
        rows = labels_from_colours(pixels, colours, unknown=unknown, name=file)
        return np.repeat(np.arange(12), [len(g) for g in _GROUPS])[rows]
