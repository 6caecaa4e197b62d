"""Pictures and their classes, from a folder laid out as ImageNet's."""

import os
from pathlib import Path

import torch
from torch.utils.data import Dataset

from atrous.datasets.pairs import need, read_rgb

_ENDINGS = ".jpeg", ".jpg", ".png"


class ImageNet(Dataset):
    """Pictures in one folder per class, such as ILSVRC 2012.

    Reads SPLIT/CLASS/ID.JPEG in `root`. A class's label is its place among
    the folders of train by name, or of the split itself if there is no train.
    An item is a picture, float32 (3, H, W) in 0..1, and its label, int64 ().
    The sizes differ: batch one by one, or pass a `transform`, from (picture,
    label) to the same, that crops.

    Attributes:
        classes: Name of each label's folder.
        files: Path of each picture, a text: there are over a million.
        labels: Of each picture.

    Raises:
        FileNotFoundError: If a folder is missing. From an item: if its file
            has gone since.
        ValueError: If there is no picture, if pictures lie in no class's
            folder, or if a class is unknown in train. From an item: if it is
            no whole picture.

    Source:
        Russakovsky et al., arXiv:1409.0575.
    """

    def __init__(self, root, split="train", *, transform=None):
        folder, train = Path(root, split), Path(root, "train")
        need(Path(root), folder)
        if _pictures(folder):
            raise ValueError(
                f"{folder}: pictures beside the classes' folders; move each "
                "into the folder of its class"
            )
        names = _folders(train if train.is_dir() else folder)
        self.classes, self.transform = tuple(names), transform
        unknown = sorted(set(_folders(folder)) - set(names))
        if unknown:
            raise ValueError(
                f"{folder}: {len(unknown)} classes that {train} has not: "
                f"{unknown[:3]}"
            )
        self.files, self.labels = [], []
        for label, name in enumerate(names):
            if (folder / name).is_dir():
                found = _pictures(folder / name)
                self.files += found
                self.labels += [label] * len(found)
        if not self.files:
            raise ValueError(f"{folder}: the split is empty")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int):
        pixels = torch.from_numpy(read_rgb(Path(self.files[index])))
        picture = pixels.permute(2, 0, 1).contiguous().float() / 255
        item = picture, torch.tensor(self.labels[index])
        return self.transform(*item) if self.transform else item


def _visible(folder: Path) -> list[os.DirEntry]:
    """What a folder holds, by name, hidden ones left out."""
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if entry.name[0] != "."]
    return sorted(found, key=lambda entry: entry.name)


def _folders(folder: Path) -> list[str]:
    return [entry.name for entry in _visible(folder) if entry.is_dir()]


def _pictures(folder: Path) -> list[str]:
    return [
        entry.path
        for entry in _visible(folder)
        if entry.name.lower().endswith(_ENDINGS) and entry.is_file()
    ]
