"""What a run writes while it goes: `atrous.recipes.logbook`."""

import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

from atrous.recipes.logbook import LOG, Logbook, strip


def lines(folder):
    return (folder / LOG).read_text().splitlines()


def written(folder, done, *iterations, **options):
    book = Logbook(folder, done=done, total=9, **options)
    book.line(f"begins after {done}")
    for iteration in iterations:
        book.values(iteration, loss=1 / iteration, lr=0.1)
    book.close()


def test_lines_that_will_be_written_again_are_taken_out(tmp_path, capsys):
    written(tmp_path, 0, 1, 2, 3)
    with (tmp_path / LOG).open("a") as file:
        file.write("iteration 4  los")  # cut off by a sudden end
    written(tmp_path, 2, 3, 10)
    assert lines(tmp_path) == [
        "begins after 0",
        "iteration 1  loss 1  lr 0.1",
        "iteration 2  loss 0.5  lr 0.1",
        "begins after 2",
        "iteration 3  loss 0.333333  lr 0.1",
        "iteration 10  loss 0.1  lr 0.1",
    ]
    assert "iteration 10  loss 0.1" in capsys.readouterr().out


def test_other_processes_are_silent(capsys):
    book = Logbook(None, done=0, total=9, tensorboard=True)
    book.line("a")
    book.values(1, loss=1.0)
    book.picture(1, "a", np.zeros((2, 2, 3), np.uint8))
    book.close()
    assert capsys.readouterr().out == ""


class Curves:
    """Remembers what TensorBoard would be told."""

    def __init__(self, folder, purge_step):
        self.told = [("from", folder, purge_step)]
        Curves.last = self

    def add_scalar(self, name, value, iteration):
        self.told.append((name, value, iteration))

    def add_image(self, name, pixels, iteration, dataformats):
        self.told.append((name, pixels.shape, iteration, dataformats))

    def flush(self):
        self.told.append("flush")

    def close(self):
        self.told.append("close")


def test_tensorboard_is_told_the_same(tmp_path, monkeypatch):
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Curves
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    book = Logbook(tmp_path, done=4, total=9, tensorboard=True)
    book.values(5, loss=0.5)
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    book.picture(5, "item0", pixels)
    book.close()
    assert Curves.last.told == [
        ("from", str(tmp_path), 5),
        ("loss", 0.5, 5),
        "flush",
        ("item0", (2, 3, 3), 5, "HWC"),
        "close",
    ]
    file = tmp_path / "samples" / "00000005_item0.png"
    assert np.array_equal(np.array(Image.open(file)), pixels)


def test_tensorboard_is_asked_for_in_words(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        Logbook(tmp_path, done=0, total=9, tensorboard=True)


def test_a_picture_its_labels_and_the_prediction_stand_side_by_side():
    picture = torch.zeros(3, 2, 2)
    picture[0, 0, 1] = 1.0
    labels = torch.tensor([[0, 255], [1, 1]])
    logits = torch.tensor([[[2.0, 0], [0, 0]], [[1, 1], [1, 1]]])
    colours = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
    found = strip(picture, labels, logits, colours)
    assert found.shape == (2, 6, 3)
    assert found[0, 1].tolist() == [255, 0, 0]
    assert found[0, 2].tolist() == found[0, 4].tolist() == [10, 20, 30]
    assert found[1, 2].tolist() == found[1, 5].tolist() == [40, 50, 60]
    assert found[0, 3].tolist() not in ([0, 0, 0], [10, 20, 30])  # void
    edges = strip(
        picture,
        torch.tensor([[0.0, 1.0], [0.5, 0]]),
        torch.tensor([[[9.0, 9], [9, 9]], [[-20.0, 20], [0, 0]]]),
        colours,
    )
    assert edges[..., 0].tolist()[0] == [0, 255, 0, 255, 0, 255]
    assert edges[1, 4, 0] == 128
