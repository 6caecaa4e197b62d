"""BSDS500 from folders that these tests write."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_matrix

from atrous.datasets.bsds500 import BSDS500
from atrous.edges.benchmark import evaluate
from atrous.edges.losses import balanced_cross_entropy

SIZE = (20, 30)


def save(root, name, annotators, *, split="train", size=SIZE):
    """A grey picture, and a cell array of structs as BSDS500 has them."""
    picture = root / "images" / split / f"{name}.jpg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 51, np.uint8)).save(picture)
    cells = np.empty((1, len(annotators)), object)
    for i, edges in enumerate(annotators):
        regions = np.ones(edges.shape, np.uint16)
        cells[0, i] = {"Segmentation": regions, "Boundaries": edges}
    file = root / "groundTruth" / split / f"{name}.mat"
    file.parent.mkdir(parents=True, exist_ok=True)
    savemat(file, {"groundTruth": cells})
    return picture, file


def lines(*columns, size=SIZE):
    edges = np.zeros((len(columns), *size), np.uint8)
    for each, column in zip(edges, columns, strict=True):
        each[4:16, column] = 1
    return edges


def test_items(tmp_path):
    save(tmp_path, "2", lines(5, 6, 20))
    save(tmp_path, "10", lines(7))
    save(tmp_path, "3", lines(8, 9), split="val")
    (tmp_path / "images" / "train" / "Thumbs.db").touch()
    (tmp_path / "images" / "train" / "._2.jpg").touch()
    data = BSDS500(tmp_path)
    assert len(data) == 2
    picture, drawn = data[1]  # by name: 10, 2
    assert torch.equal(picture, torch.full((3, *SIZE), 51 / 255))
    assert picture.dtype == torch.float32
    assert drawn.dtype == torch.bool
    assert torch.equal(drawn, torch.from_numpy(lines(5, 6, 20)).bool())
    assert data[0][1].shape == (1, *SIZE)
    assert [d.shape[0] for _, d in BSDS500(tmp_path, "val")] == [2]


def test_items_train_and_score(tmp_path):
    """Two of three drew column 5: an edge, where column 20 is doubtful."""
    save(tmp_path, "1", lines(5, 5, 20))
    data = BSDS500(
        tmp_path, transform=lambda x, drawn: (x, drawn.float().mean(0))
    )
    logits = torch.zeros(1, 1, *SIZE, requires_grad=True)
    balanced_cross_entropy(logits, data[0][1][None]).sum().backward()
    sides = logits.grad[0, 0, 10].sign()
    assert sides[5] == -1
    assert sides[20] == 0
    assert sides.sum() == SIZE[1] - 3
    _, drawn = BSDS500(tmp_path)[0]
    scores = evaluate([(drawn.any(0), drawn)], thresholds=3)
    assert (scores.ods, scores.precision[0], scores.recall[0]) == (1, 1, 1)


def refused(error, *parts):
    pattern = ".*".join(re.escape(str(part)) for part in parts)
    return pytest.raises(error, match=f"(?s){pattern}")


def test_missing_files(tmp_path):
    with refused(FileNotFoundError, tmp_path / "nowhere"):
        BSDS500(tmp_path / "nowhere")
    picture, file = save(tmp_path, "1", lines(5))
    with refused(FileNotFoundError, "2 missing", "images/test", "groundTruth"):
        BSDS500(tmp_path, "test")
    file.unlink()
    with refused(FileNotFoundError, "1 missing", file):
        BSDS500(tmp_path)
    picture.unlink()
    with refused(ValueError, picture.parent, "empty"):
        BSDS500(tmp_path)
    picture, _ = save(tmp_path, "2", lines(5))
    picture.unlink()
    with refused(FileNotFoundError, "1 missing", picture):
        BSDS500(tmp_path)


def test_other_forms_of_the_same_annotations(tmp_path):
    """Structs in an array and not in cells; sparse matrices."""
    drawn = lines(5, 9)
    _, file = save(tmp_path, "1", drawn)
    expected = BSDS500(tmp_path)[0][1]
    kind = [("Boundaries", object)]
    array = np.array([[(drawn[0],), (drawn[1],)]], dtype=kind)
    savemat(file, {"groundTruth": array})
    assert torch.equal(BSDS500(tmp_path)[0][1], expected)
    cells = np.empty((1, 2), object)
    for i, edges in enumerate(drawn):
        cells[0, i] = {"Boundaries": csc_matrix(edges.astype(float))}
    savemat(file, {"groundTruth": cells})
    assert torch.equal(BSDS500(tmp_path)[0][1], expected)


def test_wrong_annotations(tmp_path):
    picture, file = save(tmp_path, "1", lines(5, size=SIZE[::-1]))
    with refused(ValueError, picture, file, "((20, 30), (30, 20))"):
        BSDS500(tmp_path)[0]
    _, file = save(tmp_path, "1", [])
    with refused(ValueError, file, "no groundTruth"):
        BSDS500(tmp_path)[0]
    savemat(file, {"other": 1})
    with refused(ValueError, file, "no groundTruth"):
        BSDS500(tmp_path)[0]
    for truth in (np.ones(SIZE), [{"Segmentation": np.ones(SIZE)}], "text"):
        savemat(file, {"groundTruth": truth})
        with refused(ValueError, file, "not structs with a field Boundaries"):
            BSDS500(tmp_path)[0]
    savemat(file, {"groundTruth": {"Boundaries": np.ones((2, 3, 4))}})
    with refused(ValueError, file, "no matrix (H, W)"):
        BSDS500(tmp_path)[0]
    # What an HDF5 file begins with, as version 7.3 is one.
    file.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" * 99)
    with refused(ValueError, file, "saved as version 7"):
        BSDS500(tmp_path)[0]
    file.write_text("<html>not found</html>")
    with refused(ValueError, file, "cannot read it"):
        BSDS500(tmp_path)[0]
    _, file = save(tmp_path, "1", [*lines(5), *lines(1, size=(2, 3))])
    with refused(ValueError, file, "(20, 30), (2, 3)"):
        BSDS500(tmp_path)[0]
