"""Files of data sets, as tests write them."""

import re

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat


def save(path, array, palette=None, **options):
    """Write (H, W) or (H, W, 3), 8 bits but for uint16, by the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(array)
    if array.dtype not in (np.uint16, bool):
        array = array.astype(np.uint8)
    image = Image.fromarray(array)
    if palette is not None:
        image.putpalette(np.asarray(palette, np.uint8).tobytes())
    image.save(path, **options)
    return path


def flat(value, size=(4, 6)):
    return np.full((*size, 3), value, np.uint8)


def listing(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def save_sbd(root, name, labels, size=None):
    """Picture and labels of SBD, a struct as its files hold it."""
    labels = np.asarray(labels, np.uint8)
    save(root / "img" / f"{name}.jpg", flat(51, size or labels.shape))
    file = root / "cls" / f"{name}.mat"
    file.parent.mkdir(parents=True, exist_ok=True)
    bounds = np.zeros((20, 1), object)
    truth = {"Segmentation": labels, "Boundaries": bounds}
    savemat(file, {"GTcls": truth})
    return file


def refused(error, *parts):
    """Expect an error whose message has every part, in this order."""
    pattern = ".*".join(re.escape(str(part)) for part in parts)
    return pytest.raises(error, match=f"(?s){pattern}")
