"""A reader's own pictures and masks, from a plain folder."""

import json
from pathlib import Path
from unicodedata import normalize

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
            both = {normalize("NFC", pair[0].stem): pair for pair in pairs}
            pairs = [
                both.get(i, (pictures / f"{i}.jpg", masks / f"{i}.png"))
                for i in chosen
            ]
        super().__init__(pairs, pictures, transform)
        self._describe(root)

    def _describe(self, root: Path) -> None:
        """Take classes and colours from classes.json, or from the masks."""
        file = root / "classes.json"
        given = _read_json(file) if file.exists() else {}
        self.by_colour = given.get("read") == "colours"
        self.void, self.void_colour = given.get("ignored", IGNORE), None
        if not isinstance(self.void, int):
            self.void, self.void_colour = IGNORE, self.void
        names = given.get("classes")
        if "colours" in given:
            self.palette = self.colours = _colours(given["colours"], file)
            names = names or range(len(self.palette))
        elif names is None:
            names = range(self._highest(root) + 1)
        self.classes = tuple(map(str, names))
        if self.palette is None:
            self.colours = voc_colour_map(len(self.classes))
        if len(self.colours) != len(self.classes):
            raise ValueError(
                f"{file}: {len(self.classes)} classes, but "
                f"{len(self.colours)} colours"
            )

    def _highest(self, root: Path) -> int:
        """Highest label in the masks of all splits, which share classes."""
        found = set()
        for folder in root.glob("masks"), root.glob("*/masks"):
            for file in (f for top in folder for f in top.rglob("[!.]*")):
                if file.suffix.lower() in _MASKS:
                    found |= {*np.unique(self._read(file)).tolist()}
        labels = sorted(found - {self.void})
        if not labels or not 1 <= labels[-1] < IGNORE:
            raise ValueError(
                f"{root}: the masks' labels {labels[-3:]} and {self.void} for "
                "none are not those of two classes or more; say in "
                "classes.json how to read them"
            )
        return labels[-1]

    def _read(self, file: Path) -> np.ndarray:
        with whole_image(file) as image:
            if image.mode in _INDICES and not self.by_colour:
                labels = np.array(image).astype(np.int64)
                if self.palette is not None and image.mode == "P":
                    palette = image.getpalette()
                    check_palette(labels, palette, self.palette, file)
                return labels
            mode, pixels = image.mode, np.array(image.convert("RGB"))
        if self.palette is None:
            raise ValueError(
                f"{file}: {mode} pixels, not indices; say the colours of the "
                "classes in classes.json"
            )
        colours = self.palette.tolist()
        if self.void_colour is not None:
            colours.append(self.void_colour)
        rows = labels_from_colours(pixels, colours, name=file)
        return np.where(rows == len(self.palette), IGNORE, rows)


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
    text = normalize("NFC", source.read_text(encoding="utf-8-sig"))
    lines = text.splitlines()
    return pictures, masks, [line.strip() for line in lines if line.strip()]


def _read_json(file: Path) -> dict:
    try:
        given = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{file}: no JSON: {error}") from error
    if not isinstance(given, dict) or set(given) - _KEYS:
        raise ValueError(
            f"{file}: holds {list(given)}, and may hold {sorted(_KEYS)}"
        )
    read = given.get("read", "indices")
    if read != "indices" and not (read == "colours" and "colours" in given):
        raise ValueError(
            f'{file}: "read" is {read!r}, and may be "indices", or "colours" '
            "where there are any"
        )
    return given


def _colours(rows, file: Path) -> np.ndarray:
    """Colours as uint8 (n, 3)."""
    fine = isinstance(rows, list) and all(
        len(row) == 3 and all(c in range(256) for c in row) for row in rows
    )
    if not fine:
        raise ValueError(
            f"{file}: colours must be rows of red, green and blue in 0..255, "
            f"not {rows}"
        )
    return np.array(rows, np.uint8).reshape(-1, 3)
