"""Pictures and their annotators' edges from a folder laid out as BSDS500.

For readers who have the data on disk; nothing is downloaded.
"""

from pathlib import Path

import numpy as np

from atrous.datasets.matlab import matrix_in, read_mat
from atrous.datasets.pairs import Pairs, need, pairs_by_stem


class BSDS500(Pairs):
    """The Berkeley segmentation data set; raises as `Pairs` does.

    Reads images/SPLIT/ID.jpg and groundTruth/SPLIT/ID.mat in `root`, such as
    BSR/BSDS500/data. SPLIT is train, val or test. An item is a picture,
    float32 (3, H, W) in 0..1, and what each of its annotators drew, bool
    (N, H, W). N and the sizes differ: batch one by one, or pass a
    `transform`, from (picture, annotations) to the same, that crops and
    averages. `annotations.float().mean(0)` is what the losses take.

    Raises:
        ValueError: From an item: if its sizes differ or the file holds no
            annotators.

    Source:
        Arbelaez et al., doi:10.1109/TPAMI.2010.161, and the data set's
        read-me.
    """

    classes = ("edge",)
    colours = np.full((1, 3), 255, np.uint8)

    def __init__(self, root, split="train", *, transform=None):
        pictures = Path(root, "images", split)
        maps = Path(root, "groundTruth", split)
        need(Path(root), pictures, maps)
        pairs = pairs_by_stem(pictures, maps, (".jpg",), (".mat",))
        super().__init__(pairs, pictures, transform)

    def _read(self, file: Path) -> np.ndarray:
        cells = read_mat(file, "groundTruth")
        if cells is None or not cells.size:
            raise ValueError(f"{file}: no groundTruth of any annotator")
        drawn = [
            matrix_in(cell, "Boundaries", "groundTruth", file)
            for cell in cells.flat
        ]
        if len({edges.shape for edges in drawn}) > 1:
            shapes = [edges.shape for edges in drawn]
            raise ValueError(f"{file}: annotators' sizes (H, W) {shapes}")
        return np.stack(drawn) > 0

    def _check(self, labels: np.ndarray, file: Path) -> np.ndarray:
        return labels  # True or False by construction
