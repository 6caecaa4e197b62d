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
    state,
    tensors_in,
    torchrun,
    train,
    words,
)
from torch import nn

from atrous.datasets.catalogue import open_split
from atrous.recipes.batches import Order, Views
from atrous.recipes.objectives import class_weights
from atrous.recipes.processes import seed_step_
from atrous.recipes.recipe import from_json

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
