"""What a run writes and takes: other data, precisions and weights."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from runs import UNEVEN, losses, state, tensors_in, train, words
from scipy.io import savemat

from atrous.recipes.__main__ import main
from atrous.recipes.recipe import from_json


def test_what_lies_beside_the_results(data, tmp_path):
    out = tmp_path / "out"
    settings = ("loss.class_weights=1.2",)
    given = ("--sample-every=4", "--precision=float32", "--channels-last")
    assert train(data, out, *given, settings=settings) == 0
    found = from_json((out / "recipe.json").read_text())
    assert found.optimiser.lr == 0.05
    assert found.loss.class_weights == 1.2
    shares = json.loads((out / "class_shares.json").read_text())
    assert sum(shares) == pytest.approx(1)
    assert len(shares) == 12
    names = {path.name for path in (out / "samples").iterdir()}
    assert names == {
        f"{n:08d}_item{i}.png" for n in (4, 8, 10) for i in range(4)
    }
    sample = np.array(Image.open(out / "samples" / "00000004_item0.png"))
    assert sample.shape == (24, 96, 3)
    log = (out / "log.txt").read_text()
    assert "STARTS FROM FRESH WEIGHTS" in log
    assert "5 pictures; 10 iterations of 4, on 1 processes" in log
    rates = re.findall(r"lr (\S+)", log)
    assert rates == ["0.05"] * 4 + ["0.025"] * 4 + ["0.0125"] * 2


@pytest.mark.usefixtures("tiny")
def test_looking_at_samples_changes_nothing(data, tmp_path):
    """Although dropout is off meanwhile."""
    for every in (0, 1):
        given = (f"--sample-every={every}",)
        assert train(data, tmp_path / str(every), *given) == 0
    found = [
        tensors_in(state(tmp_path / str(every))["model"]) for every in (0, 1)
    ]
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_learns_and_keeps_whole_weights(
    data, tmp_path, precision
):
    half, whole = tmp_path / "half", tmp_path / "whole"
    assert train(data, half, f"--precision={precision}") == 0
    assert train(data, whole, "--precision=float32") == 0
    found, expected = losses(half), losses(whole)
    assert found != expected
    assert found == pytest.approx(expected, rel=0.05)
    tensors = tensors_in(state(half)["model"])
    assert {t.dtype for t in tensors} == {torch.float32, torch.int64}


def test_a_trained_network_starts_another(data, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert train(data, first, "--stop-after=2") == 0
    given = [w for w in words(data, second) if w != "--from-scratch"]
    given += [f"--init={first / 'last.pt'}", "--stop-after=1"]
    given += [
        w for s in (*UNEVEN, "network.initial.part=") for w in ("--set", s)
    ]
    assert main(given) == 0
    assert "starts from" in (second / "log.txt").read_text()


def test_list_and_show(capsys):
    assert main(["list"]) == 0
    assert "hed_bsds500" in capsys.readouterr().out
    assert main(["show", "hed_bsds500", "--set", "batch=3"]) == 0
    assert re.search(r"^batch +3 ", capsys.readouterr().out, re.M)
    assert main(["show", "hed_bsds500", "--json"]) == 0
    assert from_json(capsys.readouterr().out).name == "hed_bsds500"
    assert main(["show", "hed_bsds50"]) == 1
    assert "did you mean" in capsys.readouterr().err


# ---- other kinds of data


def test_edges_of_pictures_that_differ_in_size(tmp_path):
    """Taken one at a time; the loss is the mean over pictures."""
    root = tmp_path / "bsds"
    for split, (height, width) in (("train", (40, 52)), ("val", (52, 40))):
        for folder in ("images", "groundTruth"):
            (root / folder / split).mkdir(parents=True)
        pixels = np.random.default_rng(1).integers(
            0, 256, (height, width, 3), np.uint8
        )
        Image.fromarray(pixels).save(root / "images" / split / "1.jpg")
        drawn = np.zeros((height, width), np.uint8)
        drawn[20] = 1
        cells = np.empty((1, 1), object)
        cells[0, 0] = {"Boundaries": drawn}
        savemat(root / "groundTruth" / split / "1.mat", {"groundTruth": cells})
    out = tmp_path / "out"
    given = ["train", "hed_bsds500", f"--data={root}", f"--out={out}"]
    given += ["--from-scratch", "--workers=0", "--log-every=1"]
    given += ["--stop-after=2", "--sample-every=2"]
    for setting in (
        f"network.options.stages={[[2, 1]] * 5}",
        "batch=6",
    ):
        given += ["--set", setting]
    assert main(given) == 0
    assert "on 1 processes in 6 parts each" in (out / "log.txt").read_text()
    assert all(loss > 0 for loss in losses(out))
    assert len([*(out / "samples").iterdir()]) == 4


def test_classes_of_whole_pictures(tmp_path):
    for split, name in (("train", "cat"), ("train", "dog"), ("val", "dog")):
        folder = tmp_path / "imagenet" / split / name
        folder.mkdir(parents=True)
        pixels = np.full((40, 30, 3), 50 * len(name), np.uint8)
        Image.fromarray(pixels).save(folder / "1.JPEG")
    out = tmp_path / "out"
    given = ["train", "drn_a_18_imagenet", f"--out={out}"]
    given += [f"--data={tmp_path / 'imagenet'}", "--workers=0"]
    given += ["--log-every=1", "--sample-every=1", "--stop-after=2"]
    for setting in (
        "network.options.num_classes=2",
        "augmentations.0.crop=[16, 16]",
        "batch=2",
    ):
        given += ["--set", setting]
    assert main(given) == 0
    assert len(losses(out)) == 2
    assert not (out / "samples").exists()
