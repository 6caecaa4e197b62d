"""Pictures and masks of a reader's own."""

import json
from unicodedata import normalize

import numpy as np
import pytest
from layouts import flat, listing, refused, save
from PIL import Image

from atrous.datasets.masks import MaskFolder
from atrous.datasets.pairs import IGNORE, voc_colour_map


def place(root, name, labels, **options):
    """A picture in images/ and its mask in masks/; the mask's file."""
    labels = np.asarray(labels)
    save(root / "images" / f"{name}.jpg", flat(51, labels.shape[:2]))
    return save(root / "masks" / f"{name}.png", labels, **options)


def describe(root, **keys):
    return listing(root / "classes.json", json.dumps(keys))


def test_counted(tmp_path):
    place(tmp_path, "b", [[0, 255]])
    place(tmp_path, "a", [[3, 1]])
    (tmp_path / "images" / ".DS_Store").touch()
    (tmp_path / "images" / "Thumbs.db").touch()
    save(tmp_path / "images" / "._a.jpg", flat(0))
    data = MaskFolder(tmp_path)
    assert [file.stem for file in data.files] == ["a", "b"]
    assert data.classes == ("0", "1", "2", "3")
    assert (data.colours == voc_colour_map(4)).all()
    assert data[0][1].tolist() == [[3, 1]]
    assert data[1][1].tolist() == [[0, IGNORE]]


@pytest.mark.parametrize("inner", [True, False])
def test_splits_share_their_classes(tmp_path, inner):
    """The highest label may be in one split only."""
    for split, label in ("train", 4), ("val", 2):
        sides = [tmp_path / kind / split for kind in ("images", "masks")]
        if not inner:
            sides = [tmp_path / split / kind for kind in ("images", "masks")]
        save(sides[0] / "x.jpg", flat(0, (1, 2)))
        save(sides[1] / "x.png", [[0, label]])
    for split, label in ("train", 4), ("val", 2):
        data = MaskFolder(tmp_path, split)
        assert len(data.classes) == 5
        assert data[0][1].tolist() == [[0, label]]


def test_a_list_in_its_order(tmp_path):
    for name in "abc":
        place(tmp_path, name, [[0, 1]])
    listing(tmp_path / "val.txt", "\ufeffc", "", "a ")
    data = MaskFolder(tmp_path, "val")
    assert [file.stem for file in data.files] == ["c", "a"]
    listing(tmp_path / "val.txt", "c", "d")
    with refused(FileNotFoundError, "2 missing", "d.jpg", "d.png"):
        MaskFolder(tmp_path, "val")
    with refused(FileNotFoundError, tmp_path / "test.txt"):
        MaskFolder(tmp_path, "test")


def test_names_of_all_kinds(tmp_path):
    """Endings in capitals, dots, and one letter written in two ways."""
    save(tmp_path / "images" / "A.b.JPEG", flat(0, (1, 2)))
    save(tmp_path / "masks" / "A.b.TIF", [[0, 1]])
    composed = normalize("NFC", "stra\u00dfe \u00e9")
    save(tmp_path / "images" / f"{composed}.png", flat(0, (1, 2)))
    save(tmp_path / "masks" / f"{normalize('NFD', composed)}.png", [[1, 0]])
    apart = normalize("NFD", "\u00fc")
    save(tmp_path / "images" / f"{apart}.png", flat(0, (1, 2)))
    save(tmp_path / "masks" / f"{apart}.png", [[1, 1]])
    names = normalize("NFD", composed), "A.b", normalize("NFC", apart)
    listing(tmp_path / "all.txt", *names)
    labels = [[[0, 1]], [[1, 0]], [[1, 1]]]
    for split, order in (None, [0, 1, 2]), ("all", [1, 0, 2]):
        found = [labels.tolist() for _, labels in MaskFolder(tmp_path, split)]
        assert found == [labels[i] for i in order]


def test_one_stem_twice(tmp_path):
    place(tmp_path, "a", [[0, 1]])
    save(tmp_path / "images" / "a.PNG", flat(0))
    with refused(ValueError, "a.PNG", "a.jpg", "one stem"):
        MaskFolder(tmp_path)


def test_pixels_of_all_kinds(tmp_path):
    labels = np.array([[0, 2], [1, 255]])
    place(tmp_path, "grey", labels)
    place(tmp_path, "deep", labels.astype(np.uint16))
    place(tmp_path, "palette", labels, palette=voc_colour_map())
    place(tmp_path, "bits", labels == 1)
    data = dict(zip("bdgp", MaskFolder(tmp_path), strict=True))
    assert data["b"][1].tolist() == [[0, 0], [1, 0]]
    for name in "dgp":
        assert data[name][1].tolist() == labels.tolist()


def test_colours(tmp_path):
    describe(
        tmp_path,
        classes=["ground", "cell"],
        colours=[[0, 0, 0], [255, 0, 0]],
        ignored=[9, 9, 9],
    )
    file = place(tmp_path, "a", [[[255, 0, 0], [0, 0, 0], [9, 9, 9]]])
    place(tmp_path, "b", [[1, 0, 255]])  # indices need no colours
    data = MaskFolder(tmp_path)
    assert data.classes == ("ground", "cell")
    assert data.colours.tolist() == [[0, 0, 0], [255, 0, 0]]
    assert data[0][1].tolist() == data[1][1].tolist() == [[1, 0, IGNORE]]
    save(file, [[[255, 0, 1]] * 3])
    with refused(ValueError, file, "1 unknown", "[255, 0, 1]"):
        data[0]


def test_black_and_white(tmp_path):
    """255 is none by custom, which leaves one class."""
    place(tmp_path, "a", [[0, 255]])
    with refused(ValueError, tmp_path, "labels [0] and 255", "classes.json"):
        MaskFolder(tmp_path)
    colours = [[0, 0, 0], [255, 255, 255]]
    describe(tmp_path, colours=colours, read="colours")
    data = MaskFolder(tmp_path)
    assert data[0][1].tolist() == [[0, 1]]
    assert data.classes == ("0", "1")


def test_an_index_that_is_ignored(tmp_path):
    describe(tmp_path, classes=["a", "b", "c"], ignored=0)
    file = place(tmp_path, "x", [[0, 2, 1]])
    data = MaskFolder(tmp_path)
    assert data[0][1].tolist() == [[IGNORE, 2, 1]]
    save(file, [[0, 3, 255]])
    with refused(ValueError, file, "[3, 255]", "< 3"):
        data[0]


def test_a_palette_that_contradicts_the_colours(tmp_path):
    """Quantised anew: the index is not the label."""
    describe(tmp_path, colours=[[0, 0, 0], [255, 0, 0]])
    palette = np.array([[255, 0, 0], [0, 0, 0]])
    fine = np.array([[0, 0, 0], [255, 0, 0], *voc_colour_map()[2:]])
    place(tmp_path, "a", [[0, 1, 255]], palette=fine)
    assert MaskFolder(tmp_path)[0][1].tolist() == [[0, 1, IGNORE]]
    file = place(tmp_path, "a", [[0, 1]], palette=palette)
    with refused(ValueError, file, "index 0 has the colour"):
        MaskFolder(tmp_path)[0]
    keys = {"colours": [[0, 0, 0], [255, 0, 0]], "read": "colours"}
    describe(tmp_path, **keys)
    assert MaskFolder(tmp_path)[0][1].tolist() == [[1, 0]]


def test_wrong_masks(tmp_path):
    with refused(FileNotFoundError, "2 missing", "images", "masks"):
        MaskFolder(tmp_path)
    describe(tmp_path, classes=["a", "b"])
    file = place(tmp_path, "a", [[0, 1]])
    save(file, np.array([[0, 300]], np.uint16))
    with refused(ValueError, file, "[300]", "< 2"):
        MaskFolder(tmp_path)[0]
    save(file, flat(0, (1, 2)))
    with refused(ValueError, file, "RGB pixels", "classes.json"):
        MaskFolder(tmp_path)[0]
    save(file, [[0, 1, 1]])
    with refused(ValueError, "a.jpg", file, "((1, 2), (1, 3))"):
        MaskFolder(tmp_path)[0]
    file.unlink()
    with refused(FileNotFoundError, "1 missing", file):
        MaskFolder(tmp_path)
    # A JPEG's pixels are near the labels, not at them: it is no mask.
    save(file.with_suffix(".jpg"), [[0, 1]])
    with refused(FileNotFoundError, "1 missing", file):
        MaskFolder(tmp_path)


def test_a_picture_that_breaks_off_in_the_middle_of_an_epoch(tmp_path):
    describe(tmp_path, classes=["a", "b"])
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3))
    picture = save(tmp_path / "images" / "a.jpg", noise)
    save(tmp_path / "masks" / "a.png", np.zeros((40, 60)))
    data = MaskFolder(tmp_path)
    whole = picture.read_bytes()
    picture.write_bytes(whole[: len(whole) // 2])
    with refused(ValueError, picture, "not a whole picture", "truncated"):
        data[0]
    picture.write_text("<html>not found</html>")
    with refused(ValueError, picture, "not a whole picture"):
        data[0]
    picture.unlink()
    with refused(FileNotFoundError, "1 missing", picture):
        data[0]


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({"colors": []}, ["colors", "may hold"]),
        ({"read": "colours"}, ["read", "'colours'"]),
        ({"read": "both", "colours": [[0] * 3]}, ["read", "'both'"]),
        ({"colours": [[0, 0, 256]]}, ["0..255", "256"]),
        ({"colours": [[0, 0]]}, ["red, green and blue"]),
        ({"classes": ["a"], "colours": [[0] * 3] * 2}, ["1 classes", "2 col"]),
    ],
)
def test_wrong_descriptions(tmp_path, keys, parts):
    place(tmp_path, "a", [[0, 1]])
    file = describe(tmp_path, **keys)
    with refused(ValueError, file, *parts):
        MaskFolder(tmp_path)
    file.write_text("{")
    with refused(ValueError, file, "no JSON"):
        MaskFolder(tmp_path)


def test_a_mask_is_turned_as_its_picture(tmp_path):
    """Both were cut from one photograph that a camera held upright."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    save(tmp_path / "images" / "a.jpg", flat(9, (16, 32)), exif=exif)
    labels = np.zeros((16, 32))
    labels[:, :16] = 1
    save(tmp_path / "masks" / "a.png", labels, exif=exif)
    picture, turned = MaskFolder(tmp_path)[0]
    assert picture.shape == (3, 32, 16)
    assert turned[:16].unique().tolist() == [1]
    assert turned[16:].unique().tolist() == [0]
