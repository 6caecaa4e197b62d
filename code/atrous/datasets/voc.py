"""PASCAL VOC 2012 from a folder."""

from pathlib import Path

from atrous.datasets.pairs import Pairs, need, voc_colour_map

# A class's place is its label: background, then by alphabet. Source: VOC2012
# development kit, VOCinit.m.
_VOC = """background aeroplane bicycle bird boat bottle bus car cat chair cow
diningtable dog horse motorbike person pottedplant sheep sofa train tvmonitor
"""
VOC_CLASSES = tuple(_VOC.split())


class PascalVOC(Pairs):
    """PASCAL VOC 2012 segmentation; raises as `Pairs` does.

    Reads ImageSets/Segmentation/SPLIT.txt, JPEGImages/ID.jpg, LABELS/ID.png
    in `root`, such as VOCdevkit/VOC2012. A line of the list is an ID, or two
    paths as in DeepLab's lists, the first of which holds it. LABELS is
    SegmentationClass unless `labels` says SegmentationClassAug. The palette
    of a label map is for the eye: its indices are the labels. A map whose
    palette has other colours at them was made anew, and is refused.

    Source:
        Everingham & Winn, VOC2012 development kit, sections 2.2 and 2.6.
    """

    classes, colours = VOC_CLASSES, voc_colour_map(21)
    palette = voc_colour_map()  # of the borders, 255, too

    def __init__(self, root, split="train", *, labels=None, transform=None):
        maps = Path(root, labels or "SegmentationClass")
        pictures = Path(root, "JPEGImages")
        source = Path(root, "ImageSets", "Segmentation", f"{split}.txt")
        need(Path(root), source)
        ids = listed(source)
        pairs = [(pictures / f"{i}.jpg", maps / f"{i}.png") for i in ids]
        super().__init__(pairs, source, transform)


def listed(source: Path) -> list[str]:
    """IDs in a list: a line is an ID, or paths the first of which holds it."""
    lines = source.read_text(encoding="utf-8-sig").splitlines()
    first = [Path(line.split()[0]).name for line in lines if line.strip()]
    return [name.removesuffix(".jpg") for name in first]
