"""ImageNet's layout, from folders that these tests write."""

import pytest
import torch
from layouts import flat, refused, save
from PIL import Image

from atrous.datasets.imagenet import ImageNet


@pytest.fixture
def root(tmp_path):
    """Two classes in train, of two and one pictures; one class in val."""
    train, val = tmp_path / "train", tmp_path / "val"
    save(train / "n10" / "n10_1.JPEG", flat(51, (2, 3)))
    save(train / "n10" / "n10_2.PNG", flat(51, (2, 3)))
    save(train / "n01" / "n01_9.jpg", flat(102, (3, 2)))
    save(val / "n10" / "b.JPEG", flat(0))
    (train / "n01" / ".DS_Store").touch()
    (train / "n01" / "notes.txt").touch()
    save(train / "n01" / "._n01_9.jpg", flat(0))
    (train / ".git").mkdir()
    return tmp_path


def test_items(root):
    data = ImageNet(root)
    assert data.classes == ("n01", "n10")
    assert data.labels == [0, 1, 1]
    names = [file.rpartition("/")[2] for file in data.files]
    assert names == ["n01_9.jpg", "n10_1.JPEG", "n10_2.PNG"]
    picture, label = data[0]
    assert torch.equal(picture, torch.full((3, 3, 2), 0.4))
    assert (label.dtype, label.shape, int(label)) == (torch.int64, (), 0)


def test_a_class_has_one_label_in_all_splits(root):
    data = ImageNet(root, "val")
    assert data.classes == ("n01", "n10")
    assert int(data[0][1]) == 1
    save(root / "val" / "n03" / "c.JPEG", flat(0))
    with refused(ValueError, root / "val", "1 classes", "train", "n03"):
        ImageNet(root, "val")


def test_other_pixels_become_rgb(root):
    """Some of ImageNet are printed in four inks, some grey."""
    file = root / "val" / "n10" / "b.JPEG"
    Image.new("CMYK", (4, 5)).save(file)
    assert torch.equal(ImageNet(root, "val")[0][0], torch.ones(3, 5, 4))
    Image.new("L", (4, 5)).save(file)
    assert torch.equal(ImageNet(root, "val")[0][0], torch.zeros(3, 5, 4))


def test_transform(root):
    data = ImageNet(root, transform=lambda x, label: (x[:, :1], label + 7))
    picture, label = data[2]
    assert picture.shape == (3, 1, 3)
    assert int(label) == 8


def test_missing_files(root):
    with refused(FileNotFoundError, "2 missing", root / "nowhere"):
        ImageNet(root / "nowhere")
    with refused(FileNotFoundError, "1 missing", root / "test"):
        ImageNet(root, "test")
    data = ImageNet(root, "val")
    (root / "val" / "n10" / "b.JPEG").unlink()
    with refused(FileNotFoundError, "1 missing", root / "val", "b.JPEG"):
        data[0]
    with refused(ValueError, root / "val", "empty"):
        ImageNet(root, "val")


def test_val_as_it_is_published(root):
    save(root / "val" / "ILSVRC2012_val_00000001.JPEG", flat(0))
    with refused(ValueError, root / "val", "the folder of its class"):
        ImageNet(root, "val")
