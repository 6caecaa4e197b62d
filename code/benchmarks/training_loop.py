"""Time the engine of the recipes against the loop that everybody writes.

Run `python code/benchmarks/training_loop.py`: ESPNet on pictures of noise that
the script writes, the same views, batches and steps on both sides, which take
turns, each from the first picture to the saved weights. Printed is the mean
ratio of the engine's time to the plain loop's, with its 95 % interval, and
each ratio.
"""

import argparse
import contextlib
import io
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.optim.lr_scheduler import PolynomialLR
from torch.utils.data import DataLoader

from atrous.datasets.augment import Augmented
from atrous.datasets.catalogue import open_split
from atrous.datasets.pairs import IGNORE
from atrous.recipes.building import build
from atrous.recipes.engine import Run
from atrous.recipes.plain_data import override
from atrous.recipes.processes import Process
from atrous.recipes.published import RECIPES
from atrous.recipes.recipe import Recipe
from atrous.recipes.settings import Settings
from timing import interval, machine, turns

PICTURES, SIZE = 144, (120, 160)  # an epoch is 24 steps
CPU = torch.device("cpu")


def noise(folder: Path) -> Path:
    """Write a folder in CamVid's layout."""
    numbers = np.random.default_rng(0)
    for name, high, channels in (("train", 256, (3,)), ("trainannot", 12, ())):
        (folder / name).mkdir()
        for i in range(PICTURES):
            shape = (*SIZE, *channels)
            pixels = numbers.integers(0, high, shape, np.uint8)
            Image.fromarray(pixels).save(folder / name / f"p{i:03d}.png")
    return folder


def small(iterations: int) -> Recipe:
    """ESPNet on it, on scaled crops."""
    found = RECIPES["espnet_camvid"]
    for setting in (
        f"length={iterations}",
        "unit=iterations",
        "schedule.kind=poly",
        "last_batch=wrap",
        "loss.class_weights=0",
        "augmentations.0.size=null",
        "augmentations.0.scales=[0.75, 1, 1.25]",
        f"augmentations.0.crop={[*SIZE]}",
    ):
        found = override(found, setting)
    return found


def plain(recipe: Recipe, data: Path, out: Path, workers: int) -> None:
    """The usual loop: a loader, a loss, a step, a running mean."""
    network = build(recipe.network).train()
    dataset = Shown(open_split("camvid", data, "train"), recipe)
    optimizer = torch.optim.Adam(
        network.parameters(),
        recipe.optimiser.lr,
        weight_decay=recipe.optimiser.weight_decay,
    )
    scheduler = PolynomialLR(optimizer, recipe.length, power=0.9)
    loader = DataLoader(
        dataset,
        recipe.batch,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
    )
    done, losses = 0, []
    while done < recipe.length:
        dataset.views.set_epoch(done)
        for pictures, labels in loader:
            loss = F.cross_entropy(
                network(pictures), labels, ignore_index=IGNORE
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            done += 1
            if done == recipe.length:
                break
    torch.save(
        {
            "model": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
        },
        out / "plain.pt",
    )


class Shown(torch.utils.data.Dataset):
    """The views of a recipe as a plain data set."""

    def __init__(self, dataset, recipe):
        self.views = Augmented(dataset, recipe.augmentations[0])
        self.recipe = recipe

    def __len__(self):
        return len(self.views)

    def __getitem__(self, index):
        picture, labels = self.views[index]
        labels = labels.where(labels != IGNORE, self.recipe.data.void)
        return self.recipe.pixels(picture), labels


def engine(recipe: Recipe, data: Path, workers: int) -> None:
    """The same by the engine, with its log, into a folder of its own."""
    dataset = open_split("camvid", data, "train")
    settings = Settings(workers=workers, log_every=10)
    with (
        tempfile.TemporaryDirectory() as out,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        Run(
            recipe,
            dataset,
            Path(out),
            settings,
            Process(0, 1, CPU),
            from_scratch=True,
        ).train()


def main() -> None:
    """Let both take turns and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=72)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(1)
    recipe = small(given.iterations)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        (out / "data").mkdir()
        data = noise(out / "data")
        found = turns(
            {
                "plain": lambda: plain(recipe, data, out, given.workers),
                "engine": lambda: engine(recipe, data, given.workers),
            },
            given.rounds,
        )
    print(machine())
    mean, low, high = interval(found["engine"])
    print(f"{mean:.3f}, from {low:.3f} to {high:.3f}")
    print(*(f"{ratio:.3f}" for ratio in found["engine"]))


if __name__ == "__main__":
    main()
