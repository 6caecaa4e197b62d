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

import pytest
import torch
import torch.nn.functional as F
from runs import (
    PICTURES,
    UNEVEN,
    Tiny,
    assert_equal_runs,
    iterations,
    losses,
    staged,
    state,
    tensors_in,
    torchrun,
    train,
    words,
)
from torch import nn

from atrous.datasets.catalogue import open_split
from atrous.recipes import checkpoint
from atrous.recipes.batches import Order, Views
from atrous.recipes.engine import Run
from atrous.recipes.objectives import class_weights
from atrous.recipes.processes import seed_step_
from atrous.recipes.recipe import from_json

# ---- one process or many


def test_the_number_of_processes_is_free_and_may_change(data, tmp_path):
    """Ten steps on two; and on one, two, three and one again, in turn.

    The last batch of each epoch leaves one or two without a picture. The
    loss is a mean over the labelled pixels of the whole batch, and batch
    normalisation, where it is not frozen, sees all of it.
    """
    stages, runs = [], []
    for normalisation in ("frozen", "batch"):
        settings = (*UNEVEN, f"normalisation={normalisation}")
        one, two, many = (
            tmp_path / f"{normalisation}_{name}"
            for name in ("one", "two", "many")
        )
        assert train(data, one, settings=settings) == 0
        stages.append((2, words(data, two, settings=settings)))
        for count, stop in ((1, 3), (2, 5), (3, 8), (1, 0)):
            given = words(
                data, many, f"--stop-after={stop}", settings=settings
            )
            stages.append((count, given))
        runs += [(one, two), (one, many)]
    staged(*stages)
    for one, other in runs:
        assert state(other)["iteration"] == 10
        assert_equal_runs(one, other, 1e-10)
        assert max(losses(one)) - min(losses(one)) > 0.001  # something moves
    log = (tmp_path / "batch_many" / "log.txt").read_text()
    for before, now in ((1, 2), (2, 3), (3, 1)):
        assert f"so far on {before} processes in 1 parts each" in log
        assert f"on {now} processes in 1 parts" in log


def test_parts_of_a_batch_equal_the_batch(data, tmp_path):
    settings = (*UNEVEN, "normalisation=frozen")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(data, whole, settings=settings) == 0
    assert train(data, parts, "--per-device=3", settings=settings) == 0
    assert_equal_runs(whole, parts, 1e-10)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("clip", [None, 1e-3])
def test_it_is_the_loop_that_everybody_writes(data, tmp_path, clip):
    """The same pictures, and torch's own loss, optimiser and scheduler."""
    out = tmp_path / "out"
    assert train(data, out, "--seed=3", f"--set=optimiser.clip={clip}") == 0
    recipe = from_json((out / "recipe.json").read_text())
    views = Views(open_split("camvid", data, "train"), recipe, 3)
    order = Order(PICTURES, 4, last="keep", seed=3)
    seed_step_(3, 0, 0)
    network = Tiny().double()
    optimizer = torch.optim.SGD(
        network.parameters(), 0.05, momentum=0.9, weight_decay=5e-4
    )
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    weights = class_weights(
        torch.tensor(json.loads((out / "class_shares.json").read_text())), 1.1
    ).double()
    found = []
    for number in range(10):
        pairs = [views[key] for key in order.keys(number)]
        pictures, labels = (
            torch.stack(part) for part in zip(*pairs, strict=True)
        )
        seed_step_(3, 1 + number, 0)
        loss = F.cross_entropy(
            network(pictures.double()), labels, weights, ignore_index=255
        )
        optimizer.zero_grad()
        loss.backward()
        if clip:
            nn.utils.clip_grad_value_(network.parameters(), clip)
        optimizer.step()
        found.append(loss.item())
        if number % 2:  # an epoch is two batches
            scheduler.step()
    assert losses(out) == pytest.approx(found, rel=1e-5)
    for name, tensor in state(out)["model"].items():
        torch.testing.assert_close(tensor, network.state_dict()[name])


# ---- ended and taken up again


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("precision", ["float64", "float16"])
def test_a_run_that_stops_goes_on_to_the_bit(data, tmp_path, precision):
    """With dropout, views, momentum and a rate that falls."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    more = ("--save-every=3", f"--precision={precision}")
    settings = (*UNEVEN, "schedule.kind=poly", "augmentations.0.flip=0.5")
    assert train(data, whole, *more, settings=settings) == 0
    for stop in (4, 7, 0):
        stopped = (*more, f"--stop-after={stop}")
        assert train(data, halves, *stopped, settings=settings) == 0
    assert_equal_runs(whole, halves, 0)
    assert state(whole)["scaler"] == state(halves)["scaler"]
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
    seconds, ended = random.Random(0), 0
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


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_torchrun_takes_its_processes_with_it(data, tmp_path, number):
    """Killed, it leaves them behind, and they end by themselves.

    Otherwise they would write beside the run that goes on. Asked to end, it
    asks them, and they save what they have done.
    """
    whole, ended = tmp_path / "whole", tmp_path / "ended"
    every = 1 if number == signal.SIGKILL else 10_000
    given = (f"--save-every={every}",)
    settings = (*UNEVEN, "length=3_000")
    with torchrun(2, *words(data, ended, *given, settings=settings)) as run:
        while iterations(ended) == 0 and run.poll() is None:
            time.sleep(0.02)
        run.send_signal(number)
    before = iterations(ended)
    while True:
        try:
            with checkpoint.claimed(ended):
                break
        except BlockingIOError:
            assert iterations(ended) < before + 1000
            time.sleep(0.02)
    done = state(ended)["iteration"]
    assert 0 <= iterations(ended) - done <= (number == signal.SIGKILL)
    stopped = f"--stop-after={done + 2}"
    for out in (whole, ended):
        assert train(data, out, stopped, settings=settings) == 0
    assert_equal_runs(whole, ended, 1e-10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_asks_for_an_end_gets_a_state(
    data, tmp_path, capsys, monkeypatch, number
):
    """In the middle of a step, which is finished and saved."""
    whole, ended = tmp_path / "whole", tmp_path / "ended"
    assert train(data, whole) == 0
    real = Run._descend

    def descend(run):
        if run.done == 3:
            os.kill(os.getpid(), number)
        real(run)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_descend", descend)
        assert train(data, ended) == 130
    error = capsys.readouterr().err
    assert error == (
        "ended at iteration 4, whose state is saved; the same command goes "
        "on\n"
    )
    assert state(ended)["iteration"] == 4
    assert train(data, ended) == 0
    assert_equal_runs(whole, ended, 0)


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
