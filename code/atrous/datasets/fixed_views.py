"""The fixed views of BSDS500 that edge detectors are trained on."""

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from atrous.datasets import geometry
from atrous.datasets.bsds500 import BSDS500

ANGLES = tuple(22.5 * i for i in range(16))
SCALES = (1.0, 0.5, 1.5)


class AugmentedBSDS500(Dataset):
    """Train and val of BSDS500 in 96 views each, 28,800; raises as `BSDS500`.

    A picture is rotated by each of `ANGLES`, in degrees, cut to the largest
    upright rectangle that has no margin, flipped or not, and scaled by each of
    `SCALES`. An item is such a view, float32 (3, h, w), and the part of its
    annotators that drew each pixel, float32 (h, w) in 0..1, as the edge losses
    take it. The views of a picture follow one another: by scale, then angle,
    then flip. Sizes differ: batch one by one.

    Attributes:
        files: Picture file of each item.

    Source:
        The files of HED-BSDS, of Xie & Tu, arXiv:1504.06375, whose names say
        scale, angle and flip.

    Departs:
        How those files were cut and their maps interpolated is not known. Here
        an annotator's map is never interpolated, for a line one pixel wide
        would fade below the half that makes an edge: a rotated pixel is its
        nearest, one of half the size is drawn if any of its pixels is.
    """

    classes, colours = BSDS500.classes, BSDS500.colours

    def __init__(self, root, *, transform=None):
        self.parts = [BSDS500(Path(root), split) for split in ("train", "val")]
        self.transform = transform
        views = range(len(SCALES) * len(ANGLES) * 2)
        pictures = [file for part in self.parts for file in part.files]
        self.files = [file for file in pictures for _ in views]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int):
        index = range(len(self))[index]
        index, flip = divmod(index, 2)
        index, angle = divmod(index, len(ANGLES))
        index, scale = divmod(index, len(SCALES))
        train, val = self.parts
        late = index >= len(train)
        item = view(
            *(val[index - len(train)] if late else train[index]),
            degrees=ANGLES[angle],
            flip=bool(flip),
            scale=SCALES[scale],
        )
        return self.transform(*item) if self.transform else item


def view(
    picture: Tensor,
    drawn: Tensor,
    *,
    degrees: float,
    flip: bool,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """One fixed view of a picture and its annotations.

    Args:
        picture: Float (3, H, W).
        drawn: What each annotator drew, bool (N, H, W).
        degrees: Counter-clockwise.
        flip: Left for right.
        scale: Of the sides, after cutting.

    Returns:
        Picture (3, h, w), and the part of the annotators, float32 (h, w).
    """
    size = tuple(picture.shape[-2:])
    seen = geometry.largest_rectangle(size, degrees)
    grid = geometry.rotation_grid(size, degrees, seen)
    picture = geometry.sample_picture(picture, grid, "reflect")
    drawn = geometry.sample_labels(drawn, grid, 0)
    if flip:
        picture, drawn = picture.flip(-1), drawn.flip(-1)
    if scale != 1:
        size = tuple(max(1, int(n * scale)) for n in seen)
        picture = geometry.resize_picture(picture, size)
        if scale < 1:
            drawn = F.adaptive_max_pool2d(drawn.float(), size)
        else:
            drawn = geometry.resize_labels(drawn, size)
    return picture.contiguous(), drawn.float().mean(0)
