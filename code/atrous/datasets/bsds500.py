"""Pictures and their annotators' edges from a folder laid out as BSDS500.

For readers who have the data on disk; nothing is downloaded.
"""

from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.sparse import issparse

from atrous.datasets.pairs import Pairs, need


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

    def __init__(self, root, split="train", *, transform=None):
        pictures = Path(root, "images", split)
        maps = Path(root, "groundTruth", split)
        need(Path(root), pictures, maps)
        # An annotation without its picture is missing a file, too.
        files = *pictures.glob("[!.]*.jpg"), *maps.glob("[!.]*.mat")
        ids = sorted({file.stem for file in files})
        pairs = [(pictures / f"{i}.jpg", maps / f"{i}.mat") for i in ids]
        super().__init__(pairs, pictures, transform)

    def _read(self, file: Path) -> np.ndarray:
        try:
            truth = loadmat(file, variable_names="groundTruth")
        except Exception as error:  # of many kinds, also for version 7.3
            raise ValueError(
                f"{file}: scipy cannot read it: {error}; files of version 7.3 "
                "are to be saved as version 7"
            ) from error
        cells = truth.get("groundTruth")
        if cells is None or not cells.size:
            raise ValueError(f"{file}: no groundTruth of any annotator")
        drawn = [_boundaries(cell, file) for cell in cells.flat]
        if len({edges.shape for edges in drawn}) > 1:
            shapes = [edges.shape for edges in drawn]
            raise ValueError(f"{file}: annotators' sizes (H, W) {shapes}")
        return np.stack(drawn) > 0

    def _check(self, labels: np.ndarray, file: Path) -> np.ndarray:
        return labels  # True or False by construction


def _boundaries(cell, file: Path) -> np.ndarray:
    """What an annotator drew: a struct in a cell, or one of an array."""
    names = getattr(cell, "dtype", np.dtype(int)).names or ()
    if "Boundaries" not in names:
        raise ValueError(
            f"{file}: groundTruth holds {[*names] or type(cell).__name__}, "
            "not structs with a field Boundaries"
        )
    drawn = cell["Boundaries"]
    while drawn.dtype == object and drawn.size == 1:
        drawn = drawn.item()
    if issparse(drawn):
        drawn = drawn.toarray()
    if not isinstance(drawn, np.ndarray) or drawn.ndim != 2:
        raise ValueError(f"{file}: Boundaries are no matrix (H, W)")
    return drawn
