"""What can go wrong in a run is named, and what was saved is kept."""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import (
    UNEVEN,
    claimed_by_another,
    files_of_at_most,
    iterations,
    save,
    state,
    tensors_in,
    train,
)

from atrous.recipes import files
from atrous.recipes.__main__ import COMMANDS, main
from atrous.recipes.engine import Run


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
        (("--init=none.pt",), "init=none.pt: there is no such file"),
        ((f"--init={Path(__file__)}",), "--from-scratch: must be one"),
        (("--resume=/",), "resume=/: is a folder; name a file"),
        (
            ("--set=network.options.clases=3",),
            "network.options=.*'clases': 3.* unexpected keyword argument",
        ),
        (("--set=optimiser.lr=NaN",), "optimiser.lr=nan: must be float"),
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


def test_two_runs_do_not_write_to_one_folder(data, tmp_path, capsys):
    out = tmp_path / "out"
    assert train(data, out, "--stop-after=1") == 0
    before = (out / "last.pt").read_bytes()
    with claimed_by_another(out):
        assert train(data, out) == 1
    assert "another run is writing to it" in capsys.readouterr().err
    assert (out / "last.pt").read_bytes() == before


# ---- any command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("show hed_bsds500 --set network.options.x=1", "does not take them"),
        ("show hed_bsds500 --set evaluation.scales=[]", "must hold a number"),
        ("show hed_bsds500 --set evaluation.scales=[0]", "must be more than"),
        ("show hed_bsds500 --set evaluation.tile=-1", "must be at least 0"),
        (
            "memory deeplabv3_resnet101_voc_os16 --crops 65 --batch 1",
            "batch=1: the network takes no such pictures: batch size 1 in ",
        ),
        ("memory espnet_camvid --batch 0", "batch=0: must be at least 1"),
        ("memory espnet_camvid --crops -5", "crops=-5: must be at least 1"),
        ("evaluate hed_bsds500 --data . --workers -1", "workers=-1: must be"),
        ("evaluate hed_bsds500 --data . --thresholds 0", "thresholds=0: must"),
        ("evaluate hed_bsds500 --data . --weights none", "weights=none: ther"),
        ("evaluate hed_bsds500 --data . --weights {file}", "is damaged or"),
        ("evaluate hed_bsds500 --data . --out {file}/x", "out={file}: is a f"),
        ("evaluate hed_bsds500 --data {file}", "2 missing: .*; split='test'"),
        ("predict none.png", "photo=none.png: there is no such file"),
        ("predict .", "photo=.: is a folder; name a file"),
        ("predict {file} --weights {file}", "is damaged or"),
        ("predict {file} --out {file}", "out={file}: is a file; name another"),
        ("predict {file}", "text.txt: not a whole picture"),
        ("train hed_bsds500 --data . --out {file}", "out={file}: is a file"),
        ("train hed_bsds500 --data . --out /dev/null/x", "out=/dev/null/x: "),
        ("weights get hed_bsds500 --out {file}", "out={file}: is a file"),
    ],
)
def test_a_bad_word_makes_one_line(tmp_path, capsys, words, message):
    """It names the word, its value and the way out, and is no traceback."""
    text = tmp_path / "text.txt"
    text.write_text("hi there")
    given = [word.format(file=text) for word in words.split()]
    assert main(given) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message.format(file=text), error), error
    assert text.read_text() == "hi there"


def test_the_first_bad_photograph_ends_before_the_good_are_read(
    tmp_path, capsys
):
    save(tmp_path, 1, np.zeros((8, 8, 3), np.uint8))
    good = str(tmp_path / "p1.png")
    assert main(["predict", good, "none.png", f"--out={tmp_path}"]) == 1
    assert "none.png" in capsys.readouterr().err
    assert not (tmp_path / "p1_edges.png").exists()


def test_a_warning_is_one_line_without_code(capsys, monkeypatch):
    def run(given):
        warnings.warn("mind the gap", stacklevel=2)

    monkeypatch.setitem(COMMANDS, "list", COMMANDS["list"]._replace(run=run))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["list"]) == 0
    assert capsys.readouterr().err == "warning: mind the gap\n"


def test_a_full_device_says_what_takes_less(
    data, tmp_path, capsys, monkeypatch
):
    def step(*given):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(Run, "step", step)
    assert train(data, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert error == "no room; --per-device takes fewer pictures at once\n"


def test_who_has_seen_enough_gets_no_error():
    """As of `list | head -1`."""
    with subprocess.Popen(
        [sys.executable, "-m", "atrous.recipes", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


# ---- full disks


def test_what_a_full_disk_refuses_is_named_and_the_old_file_stays(tmp_path):
    file = tmp_path / "file.txt"
    files.write_whole(file, "old")
    with (
        files_of_at_most(10),
        pytest.raises(OSError, match=r"file\.txt: cannot be written: File "),
    ):
        files.write_whole(file, "new and longer than that")
    assert file.read_text() == "old"
    assert [*tmp_path.iterdir()] == [file]


def test_a_log_that_cannot_grow_ends_the_run_and_is_named(
    data, tmp_path, capsys
):
    out = tmp_path / "out"
    given = ("--save-every=1",)
    assert train(data, out, *given, "--stop-after=2") == 0
    # States are larger; so the log has to be, too.
    log = out / "log.txt"
    size = (out / "last.pt").stat().st_size + 100_000
    log.write_bytes(b"-" * size + b"\n" + log.read_bytes())
    full = log.stat().st_size + 10
    with files_of_at_most(full):
        assert train(data, out, *given) == 1
    error = capsys.readouterr().err
    assert re.search(r"log\.txt: cannot be written: .*kept", error)
    assert state(out)["iteration"] == 2


def test_a_picture_of_before_outlives_a_full_disk(tmp_path, capsys):
    numbers = np.random.default_rng(0)
    pixels = numbers.integers(0, 256, (64, 64, 3), np.uint8)
    save(tmp_path, 1, pixels)
    words = ["predict", str(tmp_path / "p1.png"), f"--out={tmp_path}"]
    assert main(words) == 0
    before = (tmp_path / "p1_edges.png").read_bytes()
    with files_of_at_most(100):
        assert main(words) == 1
    assert "p1_edges.png: cannot be written" in capsys.readouterr().err
    assert (tmp_path / "p1_edges.png").read_bytes() == before
