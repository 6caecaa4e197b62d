"""Pictures of every kind that PIL knows become red, green and blue."""

import numpy as np
import pytest
from PIL import Image

from atrous.datasets.kitti import KITTI
from atrous.datasets.pairs import read_rgb

LEVELS = np.arange(0, 65536, 257, np.uint16).reshape(16, 16)  # of 0 to 255


def saved(folder, image, ending="png"):
    image.save(folder / f"picture.{ending}")
    return folder / f"picture.{ending}"


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "CMYK"])
def test_grey_is_grey_in_every_mode(tmp_path, mode):
    grey = Image.fromarray((LEVELS // 257).astype(np.uint8))
    ending = "tif" if mode == "CMYK" else "png"
    found = read_rgb(saved(tmp_path, grey.convert(mode), ending))
    assert found.shape == (16, 16, 3)
    assert np.array_equal(found[..., 0], LEVELS // 257)
    assert (found == found[..., :1]).all()


@pytest.mark.parametrize("kind", [np.uint16, np.int32])
def test_sixteen_bits_become_eight_and_not_white(tmp_path, kind):
    file = saved(tmp_path, Image.fromarray(LEVELS.astype(kind)), "tif")
    found = read_rgb(file)
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.repeat((LEVELS // 257)[..., None], 3, 2))


def test_numbers_without_a_white_are_refused(tmp_path):
    for levels in (LEVELS.astype(np.float32), LEVELS.astype(np.int32) * 9):
        file = saved(tmp_path, Image.fromarray(levels), "tif")
        with pytest.raises(ValueError, match=r"picture\.tif: its pixels go"):
            read_rgb(file)


@pytest.mark.filterwarnings("ignore:Image size")
def test_a_huge_picture_is_refused_with_its_name(tmp_path, monkeypatch):
    file = saved(tmp_path, Image.fromarray(LEVELS.astype(np.uint8)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match=r"picture\.png: not a whole"):
        read_rgb(file)


def street(root, labels):
    """One picture in KITTI's layout, and its label map."""
    for folder, image in (
        ("RGB", Image.new("RGB", (16, 16))),
        ("GT_ind", labels),
    ):
        (root / "Training_00" / folder).mkdir(parents=True, exist_ok=True)
        image.save(root / "Training_00" / folder / "1.png")
    return KITTI(root)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_label_maps_have_eight_bits_or_sixteen(tmp_path, kind):
    labels = (LEVELS % 11).astype(kind)
    _, found = street(tmp_path, Image.fromarray(labels))[0]
    assert np.array_equal(found.numpy(), labels)


@pytest.mark.parametrize("mode", ["RGB", "LA", "1"])
def test_label_maps_of_other_modes_are_refused(tmp_path, mode):
    labels = Image.fromarray((LEVELS % 11).astype(np.uint8))
    with pytest.raises(ValueError, match=f"1.png: {mode} pixels, not ind"):
        street(tmp_path, labels.convert(mode))[0]
