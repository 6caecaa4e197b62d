"""Cityscapes from a folder."""

from pathlib import Path

import numpy as np

from atrous.datasets.pairs import IGNORE, Pairs, checked, need, pairs_by_stem

# Name and colour of each class, whose place is its trainId, and its id in the
# published label maps. Source: labels.py of cityscapesScripts, at
# github.com/mcordts.
_CITYSCAPES = """road 128 64 128 7
sidewalk 244 35 232 8
building 70 70 70 11
wall 102 102 156 12
fence 190 153 153 13
pole 153 153 153 17
traffic light 250 170 30 19
traffic sign 220 220 0 20
vegetation 107 142 35 21
terrain 152 251 152 22
sky 70 130 180 23
person 220 20 60 24
rider 255 0 0 25
car 0 0 142 26
truck 0 0 70 27
bus 0 60 100 28
train 0 80 100 31
motorcycle 0 0 230 32
bicycle 119 11 32 33"""
_ROWS = [line.rsplit(maxsplit=4) for line in _CITYSCAPES.splitlines()]
CITYSCAPES_CLASSES = tuple(row[0] for row in _ROWS)
CITYSCAPES_COLOURS = np.array([row[1:4] for row in _ROWS]).astype(np.uint8)
CITYSCAPES_IDS = tuple(int(row[4]) for row in _ROWS)

# What label maps are called: of 34 ids, and of trainIds, which a script of
# cityscapesScripts makes of them and DRN's preparation names in its own way.
_KINDS = "labelIds", "labelTrainIds", "trainIds"


class Cityscapes(Pairs):
    """Cityscapes in 19 classes; raises as `Pairs` does.

    Reads leftImg8bit/SPLIT/CITY/X_leftImg8bit.png, and the labels beside it
    from gtFine/SPLIT/CITY/X_gtFine_KIND.png. KIND is labelIds, of which 19 of
    34 are classes and the others void, or labelTrainIds or trainIds, which are
    the classes, and 255. SPLIT is train, val or test; the labels of the
    published test are all void.

    Args:
        root: The folder of both.
        split: As above; train_extra has `annotations="gtCoarse"` only.
        annotations: "gtFine" or "gtCoarse", in the folder and in the names.
        transform: As `Pairs` takes it.

    Source:
        Cordts et al., arXiv:1604.01685, and its cityscapesScripts.
    """

    classes, colours = CITYSCAPES_CLASSES, CITYSCAPES_COLOURS

    def __init__(
        self, root, split="train", *, annotations="gtFine", transform=None
    ):
        pictures = Path(root, "leftImg8bit", split)
        maps = Path(root, annotations, split)
        need(Path(root), pictures, maps)
        kinds = [k for k in _KINDS if any(maps.glob(f"*/*_{k}.png"))]
        self.kind = (kinds or _KINDS)[0]
        cities = {folder.name for folder in pictures.iterdir()}
        cities |= {folder.name for folder in maps.iterdir()}
        pairs = []
        for city in sorted(c for c in cities if not c.startswith(".")):
            pairs += pairs_by_stem(
                pictures / city,
                maps / city,
                (".png",),
                (".png",),
                tail="_leftImg8bit",
                map_tail=f"_{annotations}_{self.kind}",
            )
        super().__init__(pairs, pictures, transform)

    def _read(self, file: Path) -> np.ndarray:
        labels = super()._read(file)
        if self.kind != "labelIds":
            return labels
        ids = checked(labels, 34, 0, file)  # 0 is void: unlabelled
        table = np.full(256, IGNORE)
        table[list(CITYSCAPES_IDS)] = np.arange(19)
        return table[ids]
