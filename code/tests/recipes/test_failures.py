"""What can go wrong in a run is named, and what was saved is kept."""

import re

import numpy as np
import pytest
from runs import UNEVEN, iterations, save, state, tensors_in, train

from atrous.recipes.__main__ import COMMANDS


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
