"""Pairs of a picture and a label map, read from files on disk.

For readers who have the data on disk; nothing is downloaded. An item is a
picture, float32 (3, H, W) in 0..1, and its labels, int64 (H, W), `IGNORE`
where there is none. Where pictures differ in size, batch them one by one, or
pass a `transform`, from (picture, labels) to the same, that crops them.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from unicodedata import normalize

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import Dataset

# The label of pixels that count for nothing, as in PASCAL VOC.
IGNORE = 255


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
    labels = checked(np.asarray(labels), len(colours), IGNORE, "labels")
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

    Attributes:
        classes: Name of each label, from 0.
        colours: Colour to paint each label in, uint8 (n, 3).
        void: Label in the files of what has none.
        palette: Colour of each label, uint8 (m, 3), that a palette in a label
            map must have; None takes any palette.
        pairs: The two files of each item.
        files: The picture file of each item.

    Raises:
        FileNotFoundError: If any is missing: how many, the first three. From
            an item: if a file has gone since.
        ValueError: If there is no pair. From an item: if a file is no whole
            picture, the sizes differ, or a label or colour has no class.
    """

    classes, colours, void, palette = (), np.zeros((0, 3), np.uint8), 255, None

    def __init__(self, pairs, source, transform=None):
        need(*(file for pair in pairs for file in pair))
        if not pairs:
            raise ValueError(f"{source}: the split is empty")
        self.pairs, self.transform = pairs, transform
        self.files = [picture for picture, _ in pairs]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int):
        file, map_file = self.pairs[index]
        pixels, labels = read_rgb(file), self._read(map_file)
        sizes = pixels.shape[:2], labels.shape[-2:]
        if sizes[0] != sizes[1]:
            raise ValueError(f"{file}, {map_file}: sizes (H, W) {sizes}")
        labels = self._check(labels, map_file)
        picture = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
        item = picture.float() / 255, torch.from_numpy(labels)
        return self.transform(*item) if self.transform else item

    def _read(self, file: Path) -> np.ndarray:
        with whole_image(file) as image:
            if image.mode[0] not in "LPI" or image.mode in ("LA", "PA"):
                raise ValueError(
                    f"{file}: {image.mode} pixels, not indices; save the map "
                    "with one channel, or let labels_from_colours make "
                    "indices of colours"
                )
            labels = np.array(image, np.int64)
            if self.palette is not None and image.mode == "P":
                check_palette(labels, image.getpalette(), self.palette, file)
            return labels

    def _check(self, labels: np.ndarray, file: Path) -> np.ndarray:
        return checked(labels, len(self.classes), self.void, file)


def need(*files: Path) -> None:
    """Raise FileNotFoundError if any is missing: how many, the first."""
    missing = [str(file) for file in files if not file.exists()]
    if missing:
        raise FileNotFoundError(f"{len(missing)} missing: {missing[:3]}")


def files_by_stem(
    folder: Path, endings: tuple[str, ...], *, tail: str = ""
) -> dict[str, Path]:
    """Files of a folder with one of these endings, in any case, by stem.

    Hidden files are left out; macOS writes one beside each. Stems are in
    Unicode's composed form, in which two systems write the same name alike.

    Args:
        folder: Not those inside it; one that is missing has no files.
        endings: Such as (".png",).
        tail: What a stem must end in; it is cut off.

    Raises:
        ValueError: If two files have one stem.
    """
    found = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        stem = normalize("NFC", file.stem)
        fits = file.suffix.lower() in endings and stem.endswith(tail)
        if file.name.startswith(".") or not fits:
            continue
        stem = stem.removesuffix(tail)
        if stem in found:
            raise ValueError(f"{found[stem]}, {file}: one stem, two files")
        found[stem] = file
    return found


def pairs_by_stem(
    pictures: Path,
    maps: Path,
    endings: tuple[str, ...],
    map_endings: tuple[str, ...],
    *,
    tail: str = "",
    map_tail: str = "",
) -> list[tuple[Path, Path]]:
    """Pictures and label maps of one stem, by name.

    Where one of the two is missing, it stands as it would be called.

    Args:
        pictures: Folder of the pictures.
        maps: Folder of the label maps.
        endings: Of the pictures, such as (".png",); the first is the usual.
        map_endings: Of the label maps.
        tail: What all pictures' stems end in; others are left out.
        map_tail: What all label maps' stems end in; others are left out.
    """
    left = files_by_stem(pictures, endings, tail=tail)
    right = files_by_stem(maps, map_endings, tail=map_tail)
    return [
        (
            left.get(stem, pictures / f"{stem}{tail}{endings[0]}"),
            right.get(stem, maps / f"{stem}{map_tail}{map_endings[0]}"),
        )
        for stem in sorted(left | right)
    ]


@contextlib.contextmanager
def whole_image(file: Path) -> Iterator[Image.Image]:
    """Open a picture file, read to its end and turned as it says.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is no picture, or not a whole one.
    """
    need(file)
    try:
        with Image.open(file) as image:
            whole = ImageOps.exif_transpose(image)  # a copy, read to the end
    except (
        OSError,
        SyntaxError,
        Image.DecompressionBombError,
    ) as error:  # what PIL says of broken files, and of huge ones
        raise ValueError(f"{file}: not a whole picture: {error}") from error
    yield whole


def read_rgb(file: Path) -> np.ndarray:
    """Pixels of a picture file, uint8 (H, W, 3), turned as it says.

    Grey levels of 16 bits become 8 of them; others would all turn white.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is no whole picture, or its numbers are floating or
            beyond 16 bits, for which no file says what is white.
    """
    with whole_image(file) as image:
        if image.mode[0] not in "IF":
            return np.array(image.convert("RGB"))
        mode, levels = image.mode, np.asarray(image)
    if mode == "F" or levels.min() < 0 or levels.max() > 65535:
        raise ValueError(
            f"{file}: its pixels go from {levels.min()} to {levels.max()}; "
            "save it with 8 or 16 bits"
        )
    grey = ((levels.astype(np.int64) + 128) // 257).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


def check_palette(labels, palette, colours, name) -> None:
    """Refuse indices whose colours in a file are other labels' colours.

    A label map that a program has quantised anew looks the same and has
    other indices. Grey levels as a palette say nothing, and pass; so do
    labels that have no standard colour.

    Args:
        labels: Indices, (H, W).
        palette: Red, green and blue of each index, one after another.
        colours: The standard colours, (n, 3).
        name: What the error calls the file.

    Raises:
        ValueError: If a used index has another colour than the standard one.
    """
    used = np.unique(labels)
    used = used[used < len(colours)]
    palette = np.array(palette + [0] * (768 - len(palette))).reshape(-1, 3)
    found, standard = palette[used], np.asarray(colours)[used]
    grey = (found == used[:, None]).all()
    if not grey and (found != standard).any():
        at = int(np.flatnonzero((found != standard).any(1))[0])
        raise ValueError(
            f"{name}: index {used[at]} has the colour {found[at].tolist()} "
            f"in its palette, the label {used[at]} has "
            f"{standard[at].tolist()}; labels_from_colours reads the labels "
            "from the colours"
        )


def checked(labels, classes: int, void: int, name) -> np.ndarray:
    """Labels with `IGNORE` for void; ValueError if others have no class."""
    known = (labels >= 0) & (labels < classes) | (labels == void)
    if not known.all():
        strange = np.unique(labels[~known]).tolist()
        raise ValueError(f"{name}: {strange}, neither < {classes} nor {void}")
    return np.where(labels == void, IGNORE, labels)
