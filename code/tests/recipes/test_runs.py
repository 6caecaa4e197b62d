"""Whole runs: on one process and on several, ended and taken up again.

A tiny network learns from a tiny folder in CamVid's layout. What needs other
processes runs under torchrun, on CPUs.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from atrous.recipes.__main__ import COMMANDS, main
from atrous.recipes.recipe import from_json

PICTURES = 5
RECIPE = (
    "network.options.q=1",
    "network.options.p=1",
    "augmentations.0.size=[24, 32]",
    "optimiser.kind=sgd",  # which does not forget the size of a gradient
    "optimiser.lr=0.05",
    "pixels.std=[80, 80, 80]",  # or norms that are frozen fresh see nothing
    "batch=4",
    "length=5",
    "schedule.every=2",
)


@pytest.fixture
def data(tmp_path):
    """Five pictures, some of them hardly labelled, as CamVid lies on disk."""
    numbers = np.random.default_rng(0)
    for folder in ("train", "trainannot"):
        (tmp_path / "camvid" / folder).mkdir(parents=True)
    for i in range(PICTURES):
        pixels = numbers.integers(0, 256, (24, 32, 3), np.uint8)
        labels = numbers.integers(0, 11, (24, 32), np.uint8)
        labels[: 5 * i] = 11
        save(tmp_path / "camvid" / "train", i, pixels)
        save(tmp_path / "camvid" / "trainannot", i, labels)
    return tmp_path / "camvid"


def save(folder, number, pixels):
    Image.fromarray(pixels).save(folder / f"p{number}.png")


def words(data, out, *more, settings=()):
    sets = [w for s in (*RECIPE, *settings) for w in ("--set", s)]
    return [
        "train",
        "espnet_camvid",
        f"--data={data}",
        f"--out={out}",
        "--from-scratch",
        "--workers=0",
        "--precision=float64",
        "--log-every=1",
        *sets,
        *more,
    ]


# Void is left out, so that processes have labels of different number.
UNEVEN = ("data.void=null", "network.options.num_classes=11")


def train(data, out, *more, settings=UNEVEN):
    """Train in this process; 0 if it went well."""
    return main(words(data, out, *more, settings=settings))


def torchrun(count, *given):
    """Train in processes of their own."""
    torchrun = Path(sys.executable).with_name("torchrun")
    done = subprocess.run(
        [
            torchrun,
            f"--nproc-per-node={count}",
            "-m",
            "atrous.recipes",
            *given,
        ],
        env=dict(os.environ, OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stdout + done.stderr


def state(out):
    return torch.load(out / "last.pt", weights_only=True)


def losses(out):
    text = (out / "log.txt").read_text()
    found = re.findall(r"^iteration (\d+)  loss (\S+)", text, re.M)
    assert [int(n) for n, _ in found] == [*range(1, len(found) + 1)]
    return [float(loss) for _, loss in found]


def assert_equal_runs(first, second, tolerance):
    assert losses(first) == pytest.approx(losses(second), rel=1e-5)
    states = state(first), state(second)
    for kind in ("model", "optimiser"):
        tensors = [tensors_in(s[kind]) for s in states]
        assert len(tensors[0]) == len(tensors[1]) > 0
        for a, b in zip(*tensors, strict=True):
            if tolerance:
                torch.testing.assert_close(a, b, rtol=0, atol=tolerance)
            else:
                assert torch.equal(a, b)


def tensors_in(tree):
    """All tensors in nested dictionaries and lists, in order."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    inner = tree.values() if isinstance(tree, dict) else tree
    if isinstance(tree, dict | list | tuple):
        return [tensor for part in inner for tensor in tensors_in(part)]
    return []


# ---- one process or many


@pytest.mark.parametrize("normalisation", ["frozen", "batch"])
def test_two_processes_equal_one(data, tmp_path, normalisation):
    """Ten steps; the last batch of each epoch leaves one without a picture.

    The loss is a mean over the labelled pixels of the whole batch, and
    batch normalisation sees all of it.
    """
    settings = (*UNEVEN, f"normalisation={normalisation}")
    one, two = tmp_path / "one", tmp_path / "two"
    assert train(data, one, settings=settings) == 0
    torchrun(2, *words(data, two, settings=settings))
    assert state(one)["iteration"] == 10
    assert_equal_runs(one, two, 1e-10)
    assert max(losses(one)) - min(losses(one)) > 0.001  # something moves


def test_parts_of_a_batch_equal_the_batch(data, tmp_path):
    settings = (*UNEVEN, "normalisation=frozen")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(data, whole, settings=settings) == 0
    assert train(data, parts, "--per-device=3", settings=settings) == 0
    assert_equal_runs(whole, parts, 1e-10)


# ---- ended and taken up again


def test_a_run_that_stops_goes_on_to_the_bit(data, tmp_path):
    """With dropout, views, momentum and a rate that falls."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    more = ("--save-every=3",)
    settings = (*UNEVEN, "schedule.kind=poly", "augmentations.0.flip=0.5")
    assert train(data, whole, *more, settings=settings) == 0
    for stop in (4, 7, 0):
        stopped = (*more, f"--stop-after={stop}")
        assert train(data, halves, *stopped, settings=settings) == 0
    assert_equal_runs(whole, halves, 0)
    before = halves / "before_last.pt"
    again = (*more, f"--resume={before}")
    assert train(data, tmp_path / "again", *again, settings=settings) == 0
    for a, b in zip(
        tensors_in(state(whole)["model"]),
        tensors_in(state(tmp_path / "again")["model"]),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_a_run_that_is_killed_goes_on_to_the_bit(data, tmp_path):
    """By SIGKILL, three times, at moments that chance chooses."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    settings = (*UNEVEN, "length=60")
    given = ("--save-every=1", "--workers=1")
    assert train(data, whole, *given, settings=settings) == 0
    command = [sys.executable, "-m", "atrous.recipes"]
    command += words(data, killed, *given, settings=settings)
    seconds, ended = random.Random(time.time()), 0
    for _ in range(3):
        with subprocess.Popen(
            command,
            env=dict(os.environ, OMP_NUM_THREADS="1"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            before = iterations(killed)
            while iterations(killed) == before and process.poll() is None:
                time.sleep(0.02)
            time.sleep(seconds.random() / 4)
            process.send_signal(signal.SIGKILL)
            ended += process.wait() == -signal.SIGKILL
    assert ended
    assert train(data, killed, *given, settings=settings) == 0
    assert_equal_runs(whole, killed, 0)


def iterations(out):
    log = out / "log.txt"
    text = log.read_text() if log.exists() else ""
    return max(
        (int(n) for n in re.findall(r"^iteration (\d+)", text, re.M)),
        default=0,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--set=batch=2",), r"another recipe, \['batch: 4 and 2'\]"),
        (("--seed=1",), r"another seed, \[': 0 and 1'\]"),
    ],
)
def test_another_run_does_not_go_on(data, tmp_path, capsys, change, message):
    out = tmp_path / "out"
    assert train(data, out, "--stop-after=1") == 0
    assert train(data, out, *change) == 1
    assert re.search(message, capsys.readouterr().err)
    assert state(out)["iteration"] == 1


# ---- what can go wrong


def spoil(data, what):
    """Break one file after the data set has been opened."""
    picture, labels = data / "train" / "p3.png", data / "trainannot" / "p3.png"
    if what == "missing":
        picture.unlink()
    elif what == "cut":
        picture.write_bytes(picture.read_bytes()[:200])
    else:
        save(labels.parent, 3, np.full((24, 32), 17, np.uint8))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("missing", r"FileNotFoundError: .*p3\.png"),
        ("cut", r"ValueError: .*p3\.png: not a whole picture"),
        ("label", r"ValueError: .*trainannot/p3\.png: \[17\]"),
    ],
)
def test_a_bad_file_in_an_epoch_is_named(
    data, tmp_path, capsys, monkeypatch, what, message
):
    """And the state saved before it is kept."""
    out = tmp_path / "out"
    real = COMMANDS["train"].run.__globals__["open_split"]

    def open_split(*given, **options):
        found = real(*given, **options)
        spoil(data, what)
        return found

    monkeypatch.setitem(
        COMMANDS["train"].run.__globals__, "open_split", open_split
    )
    settings = (*UNEVEN, "batch=1")
    given = ("--save-every=1", "--workers=0")
    assert train(data, out, *given, settings=settings) == 1
    assert re.search(message, capsys.readouterr().err, re.S)
    assert (out / "last.pt").exists() == (iterations(out) > 0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_label_that_the_network_lacks_is_named(
    data, tmp_path, capsys, workers
):
    settings = ("data.void=null", "network.options.num_classes=9")
    given = (f"--workers={workers}",)
    assert train(data, tmp_path / "out", *given, settings=settings) == 1
    found = capsys.readouterr().err
    assert re.search(r"p\d\.png: label \d+, but the network has 9", found)


def test_a_loss_that_is_not_finite_ends_the_run_before_it_is_saved(
    data, tmp_path, capsys
):
    out = tmp_path / "out"
    settings = (*UNEVEN, "optimiser.lr=1e300")
    assert train(data, out, "--save-every=1", settings=settings) == 1
    assert "FloatingPointError: loss is" in capsys.readouterr().err
    kept = state(out)
    assert kept["iteration"] < 10
    assert all(t.isfinite().all() for t in tensors_in(kept["model"])) or (
        kept["iteration"] == 1
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--precision=int8",), "precision='int8': must be one of"),
        (("--per-device=-1",), "per_device=-1: must be at least 0"),
        (("--log-every=0",), "log_every=0: must be at least 1"),
        (("--set=batch",), "'batch': must be PATH=VALUE"),
        (("--resume=none.pt",), "FileNotFoundError: .*none.pt"),
        (("--init=none.pt",), "--from-scratch: must be one"),
    ],
)
def test_wrong_words_are_named(data, tmp_path, capsys, given, message):
    assert train(data, tmp_path / "out", *given) == 1
    assert re.search(message, capsys.readouterr().err)


def test_processes_started_by_half_are_refused(
    data, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("RANK", "0")
    assert train(data, tmp_path / "out") == 1
    assert "start several processes by torchrun" in capsys.readouterr().err


# ---- what is written


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
