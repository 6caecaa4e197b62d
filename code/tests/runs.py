"""A tiny network on a tiny folder: what the tests of whole runs share."""

import json
import os
import re
import resource
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from atrous.recipes import checkpoint
from atrous.recipes.__main__ import main
from atrous.segmentation.base import Segmenter

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
# Void is left out, so that processes have labels of different number.
UNEVEN = ("data.void=null", "network.options.num_classes=11")


def write_camvid(root):
    """Five pictures, some of them hardly labelled, as CamVid lies on disk."""
    numbers = np.random.default_rng(0)
    for folder in ("train", "trainannot"):
        (root / folder).mkdir(parents=True)
    for i in range(PICTURES):
        labels = numbers.integers(0, 11, (24, 32), np.uint8)
        labels[: 5 * i] = 11
        pixels = numbers.integers(0, 256, (24, 32, 3), np.uint8)
        save(root / "train", i, pixels)
        save(root / "trainannot", i, labels)
    return root


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


def train(data, out, *more, settings=UNEVEN):
    """Train in this process; 0 if it went well."""
    return main(words(data, out, *more, settings=settings))


def torchrun(count, *given):
    """Start training in processes of their own."""
    torchrun = Path(sys.executable).with_name("torchrun")
    command = [torchrun, f"--nproc-per-node={count}", "-m", "atrous.recipes"]
    return subprocess.Popen(
        [*command, *given],
        env=dict(os.environ, OMP_NUM_THREADS="1"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


# One process of several. It takes part in each stage that has so many, and
# waits for the others where they meet, so that none starts torch twice.
STAGED = """
import json, os, sys
from atrous.recipes.__main__ import main

rank = int(sys.argv[1])
for count, port, words in json.loads(sys.argv[2]):
    several = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": count,
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": port,
    }
    for name, value in several.items():
        os.environ.pop(name, None)
        if count > 1:
            os.environ[name] = str(value)
    if rank < count and main(words):
        sys.exit(f"on {count} processes: {words}")
"""


def staged(*stages):
    """Train on a number of processes, then go on with another.

    Args:
        stages: Numbers of processes, and the words of each.
    """
    sockets = [socket.socket() for _ in stages]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    plan = [[n, p, w] for (n, w), p in zip(stages, ports, strict=True)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", STAGED, str(rank), json.dumps(plan)],
            env=dict(os.environ, OMP_NUM_THREADS="1"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(max(count for count, _ in stages))
    ]
    errors = [process.communicate()[1] for process in processes]
    assert not any(process.returncode for process in processes), errors


HOLDER = """
import fcntl, sys
with open(sys.argv[1], "a") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def claimed_by_another(out):
    """Another process has a folder, until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(out / checkpoint.LOCK)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout.readline() == b"held\n"
        yield
        other.kill()


@contextmanager
def files_of_at_most(size):
    """The system refuses larger ones, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


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


def iterations(out):
    log = out / "log.txt"
    text = log.read_text() if log.exists() else ""
    return max(
        (int(n) for n in re.findall(r"^iteration (\d+)", text, re.M)),
        default=0,
    )


class Tiny(Segmenter):
    """A segmenter with dropout, in the place of a larger one."""

    def __init__(self, num_classes=11, **options):
        super().__init__(num_classes=num_classes, output_stride=1)
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.score = nn.Conv2d(16, num_classes, 1)

    def logits(self, x):
        return self.score(self.drop(self.first(x).relu()))
