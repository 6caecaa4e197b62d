"""A reader's own pictures and masks, from a plain folder."""

import json
from pathlib import Path

import numpy as np

from atrous.datasets.pairs import (
    IGNORE,
    Pairs,
    check_palette,
    labels_from_colours,
    need,
    pairs_by_stem,
    voc_colour_map,
    whole_image,
)

_PICTURES = ".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"
_MASKS = ".png", ".bmp", ".tif", ".tiff", ".gif"  # none that loses a pixel
_INDICES = "1", "L", "P", "I", "I;16", "I;16B", "I;16L"
_KEYS = {"classes", "colours", "ignored", "read"}


class MaskFolder(Pairs):
    """Pictures in images/ and masks of the same stem; raises as `Pairs` does.

    A pixel of a mask is the label's index, in 8 or 16 bits, or its colour.
    `root` may hold classes.json:

        {"classes": ["ground", "cell"], "colours": [[0, 0, 0], [255, 0, 0]],
         "ignored": 255, "read": "indices"}

    Without it, or without "classes", all masks are read once to find the
    highest label, and the classes are called by number. "colours" are what
    labels are painted in, and how masks of colours are read; without it they
    are VOC's. "ignored" is an index, or a colour. "read" is "colours" for
    indices that are not the labels, such as black and white as 0 and 255.

    Args:
        root: Holds images/ and masks/, or SPLIT/images/ and SPLIT/masks/.
        split: Also images/SPLIT/ and masks/SPLIT/, or SPLIT.txt with one stem
            a line; None takes all of images/ and masks/.
        transform: As `Pairs` takes it.

    Raises:
        ValueError: If classes.json is wrong, or there are no two classes.
    """

    def __init__(self, root, split=None, *, transform=None):
        root = Path(root)
        need(root)
        pictures, masks, chosen = _folders(root, split)
        need(pictures, masks)
        pairs = pairs_by_stem(pictures, masks, _PICTURES, _MASKS)
        if chosen is not None:
            both = {picture.stem: (picture, mask) for picture, mask in pairs}
            pairs = [
                both.get(i, (pictures / f"{i}.jpg", masks / f"{i}.png"))
                for i in chosen
            ]
        super().__init__(pairs, pictures, transform)
        self._describe(root / "classes.json")

    def _describe(self, file: Path) -> None:
        """Take classes and colours from the file, or from the masks."""
        given = _read_json(file) if file.exists() else {}
        self.by_colour = given.get("read", "indices") == "colours"
        self.void = given.get("ignored", IGNORE)
        colours = given.get("colours")
        self.palette = colours and np.array(colours, np.uint8)
        self.classes = tuple(given.get("classes") or map(str, self._count()))
        if colours is None:
            self.colours = voc_colour_map(len(self.classes))
        else:
            self.colours = self.palette
        if len(self.colours) != len(self.classes):
            raise ValueError(
                f"{file}: {len(self.classes)} classes, {len(colours)} colours"
            )

    def _count(self) -> range:
        """Labels of which the highest is in a mask; with colours, theirs."""
        if self.palette is not None:
            return range(len(self.palette))
        found = set()
        for _, mask in self.pairs:
            found |= {*np.unique(self._read(mask)).tolist()}
        found = sorted(found - {self.void})
        if not found or not 1 <= found[-1] < IGNORE:
            raise ValueError(
                f"{self.pairs[0][1].parent}: the labels {found[:3]}.. are no "
                f"two classes below {IGNORE}; say in classes.json how to read "
                "them"
            )
        return range(found[-1] + 1)

    def _read(self, file: Path) -> np.ndarray:
        with whole_image(file) as image:
            indices = image.mode in _INDICES and not self.by_colour
            if indices:
                labels = np.array(image).astype(np.int64)
                if self.palette is not None and image.mode == "P":
                    standard = self.palette
                    check_palette(labels, image.getpalette(), standard, file)
                return labels
            pixels = np.array(image.convert("RGB"))
        if self.palette is None:
            raise ValueError(
                f"{file}: {image.mode} pixels, not indices; say the colours "
                "of the classes in classes.json"
            )
        colours = [*self.palette]
        if not isinstance(self.void, int):
            colours.append(self.void)
        rows = labels_from_colours(pixels, colours, name=file)
        return np.where(rows == len(self.palette), IGNORE, rows)

    def _check(self, labels: np.ndarray, file: Path) -> np.ndarray:
        return super()._check(labels, file)


def _folders(root: Path, split: str | None):
    """Folders of pictures and masks, and the stems that count, if listed."""
    pictures, masks = root / "images", root / "masks"
    if split is None:
        return pictures, masks, None
    if (root / split / "images").is_dir():
        return root / split / "images", root / split / "masks", None
    if (pictures / split).is_dir():
        return pictures / split, masks / split, None
    source = root / f"{split}.txt"
    need(source)
    lines = source.read_text(encoding="utf-8-sig").splitlines()
    return pictures, masks, [line.strip() for line in lines if line.strip()]


def _read_json(file: Path) -> dict:
    try:
        given = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{file}: no JSON: {error}") from error
    unknown = sorted(set(given) - _KEYS) if isinstance(given, dict) else given
    if not isinstance(given, dict) or unknown:
        raise ValueError(f"{file}: {unknown}: must be of {sorted(_KEYS)}")
    return given
