"""Photographs become label maps, overlays and maps of edges."""

import numpy as np
import pytest
import torch
from PIL import Image

from atrous import zoo
from atrous.datasets.camvid import CAMVID_CLASSES, CAMVID_COLOURS
from atrous.recipes.__main__ import main
from atrous.recipes.plain_data import override
from atrous.recipes.predict import classes, indexed, overlay
from atrous.recipes.published import recipe


@pytest.fixture
def photo(tmp_path):
    numbers = np.random.default_rng(0)
    pixels = numbers.integers(0, 256, (24, 40, 3), np.uint8)
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    image.save(tmp_path / "ä photo.jpg", exif=exif)
    return tmp_path / "ä photo.jpg"


def test_without_weights_edges_are_found(photo, tmp_path, capsys):
    assert main(["predict", str(photo), f"--out={tmp_path / 'new'}"]) == 0
    file = tmp_path / "new" / "ä photo_edges.png"
    with Image.open(file) as image:
        assert image.mode == "L"
        assert image.size == (24, 40)  # upright
        assert np.ptp(np.asarray(image)) > 50
    assert str(file) in capsys.readouterr().out


def test_a_segmenter_writes_labels_and_an_overlay(photo, tmp_path):
    network = zoo.build("espnet", num_classes=12, p=1, q=1)
    weights = tmp_path / "weights.pth"
    torch.save(network.state_dict(), weights)
    words = ["predict", str(photo), f"--out={tmp_path}"]
    sets = ("network.options.p=1", "network.options.q=1")
    more = [w for s in sets for w in ("--set", s)]
    named = ["--recipe=espnet_camvid", f"--weights={weights}"]
    assert main([*words, *named, *more]) == 0
    with Image.open(tmp_path / "ä photo_labels.png") as image:
        labels = np.asarray(image)
        palette = np.array(image.getpalette()).reshape(-1, 3)
    assert labels.shape == (40, 24)
    assert labels.max() < len(CAMVID_CLASSES)  # void is no answer
    assert (palette[: len(CAMVID_COLOURS)] == CAMVID_COLOURS).all()
    with Image.open(tmp_path / "ä photo_overlay.png") as image:
        assert image.width == 24
        assert image.height > 40  # there is a legend


def test_an_overlay_is_a_mean_of_photograph_and_colour():
    pixels = np.full((30, 60, 3), 100, np.uint8)
    labels = np.zeros((30, 60), int)
    labels[:, 20:] = 2
    colours = np.array([[200, 0, 0], [1, 2, 3], [0, 0, 250]], np.uint8)
    made = np.asarray(
        overlay(pixels, labels, ["one", "two", "three"], colours)
    )
    assert made[5, 5].tolist() == [160, 40, 40]
    assert made[5, 40].tolist() == [40, 40, 190]
    legend = made[30:].reshape(-1, 3).tolist()
    assert [0, 0, 250] in legend
    assert [200, 0, 0] in legend
    assert [1, 2, 3] not in legend  # it does not occur


def test_a_label_map_keeps_its_labels():
    labels = np.arange(6).reshape(2, 3)
    colours = np.arange(18, dtype=np.uint8).reshape(6, 3)
    image = indexed(labels, colours)
    assert (np.asarray(image) == labels).all()
    rgb = np.asarray(image.convert("RGB"))
    assert (rgb.reshape(-1, 3) == colours).all()


def test_classes_of_a_folder_are_numbers():
    made = override(recipe("espnet_camvid"), 'data.name="folder"')
    names, colours = classes(made, 4)
    assert names == ["class 0", "class 1", "class 2"]
    assert colours.shape == (3, 3)


def test_wrong_words_are_named(photo, tmp_path, capsys):
    other = tmp_path / "there"
    other.mkdir()
    twin = other / photo.name
    twin.write_bytes(photo.read_bytes())
    assert main(["predict", str(photo), str(twin)]) == 1
    assert "several are called 'ä photo'" in capsys.readouterr().err
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    assert main(["predict", str(broken), f"--out={tmp_path}"]) == 1
    assert "not a whole picture" in capsys.readouterr().err
    weights = tmp_path / "w.pth"
    torch.save({"a.weight": torch.zeros(1)}, weights)
    assert main(["predict", str(photo), f"--weights={weights}"]) == 1
    assert "name the recipe by --recipe" in capsys.readouterr().err
    named = ["--recipe=drn_c_26_imagenet", f"--out={tmp_path}"]
    assert main(["predict", str(photo), *named]) == 1
    assert "no weights come with the book" in capsys.readouterr().err
