"""The command `evaluate`: the published measure on the reader's data."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from atrous.crf.dense_crf import dense_crf
from atrous.datasets.catalogue import open_split
from atrous.edges import benchmark
from atrous.edges.thinning import suppress
from atrous.experiments.metrics import confusion, iou
from atrous.recipes.files import need_folder, write_whole
from atrous.recipes.inference import picture_scores, pixel_scores
from atrous.recipes.processes import Process, joined
from atrous.recipes.recipe import Recipe
from atrous.recipes.settings import takes_changes
from atrous.recipes.trained import trained

HELP = "measure a trained network as its paper did"
DESCRIPTION = """Measure a network on a split of its data. Sizes, mirroring,
tiles and their fusion are the recipe's (evaluation.*), and --set replaces
them. On several processes: torchrun --nproc-per-node N -m atrous.recipes
evaluate ..."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = DESCRIPTION
    add = parser.add_argument
    add("name", help="of a recipe; see `list`")
    add("--weights", type=Path, help="file of the weights; HED has its own")
    add("--data", type=Path, required=True, help="folder of the data set")
    add("--split", help="other pictures than evaluation.split")
    add("--out", type=Path, help="file for the numbers, as JSON")
    add(
        "--crf",
        nargs=3,
        type=float,
        metavar=("W1", "ALPHA", "BETA"),
        help="refine by a dense CRF: weight, pixels and grey levels of its "
        "kernel of position and colour",
    )
    add(
        "--thresholds",
        type=int,
        default=99,
        help="of edges (default: 99)",
    )
    add("--workers", type=int, default=2, help="processes that read pictures")
    takes_changes(parser)


def run(given: argparse.Namespace) -> None:
    """Measure, and print a table.

    Raises:
        ValueError: If the weights or the data do not fit.
        FileNotFoundError: If a file is missing.
        OSError: If the numbers cannot be written.
    """
    for name, least in (("workers", 0), ("thresholds", 1)):
        value = getattr(given, name)
        if value < least:
            raise ValueError(f"{name}={value}: must be at least {least}")
    if given.out:
        need_folder("folder of out", given.out.parent)
    with joined() as process:
        network, recipe = trained(
            given.name,
            given.weights,
            changes=given.set,
            device=process.device,
        )
        split = given.split or recipe.evaluation.split
        dataset = open_split(recipe.data.name, given.data, split)
        found = measure(
            network,
            recipe,
            dataset,
            process,
            crf=given.crf,
            thresholds=given.thresholds,
            workers=given.workers,
        )
        if process.rank:
            return
        lines = [f"{name:24} {value:.4f}" for name, value in found.items()]
        lines += [
            f"published: {aim.value} {aim.what} ({aim.source})"
            for aim in recipe.aims
        ]
        about = f"{recipe.name}, {len(dataset)} pictures of {split}"
        sys.stdout.write("\n".join([about, *lines]) + "\n")
        if given.out:
            write_whole(given.out, json.dumps(found, indent=2) + "\n")


def measure(
    network: nn.Module,
    recipe: Recipe,
    dataset: Dataset,
    process: Process,
    *,
    crf: tuple[float, float, float] | None = None,
    thresholds: int = 99,
    workers: int = 0,
) -> dict[str, float]:
    """Scores by name, the same in each process.

    Args:
        network: In evaluation mode, on the process's device.
        recipe: How it is tested.
        dataset: Pairs of a picture and its labels, its class, or what
            annotators drew.
        process: Which of several processes this is; each takes its share of
            the pictures.
        crf: w1, sigma_alpha and sigma_beta of `dense_crf`; None for none.
        thresholds: As `atrous.edges.benchmark.evaluate`.
        workers: Processes that read pictures.

    Raises:
        ValueError: If the data set is empty, the network has fewer classes,
            or a CRF is wanted of edges or of a classifier.
    """
    if not len(dataset):
        raise ValueError("dataset: has no picture")
    metric = recipe.evaluation.metric
    if crf and metric != "mean IoU":
        raise ValueError(f"crf={crf}: refines label maps, not {metric}")
    items = _items(dataset, process, workers)
    if metric == "ODS":
        return _edges(
            network, recipe, items, process, len(dataset), thresholds
        )
    if metric == "top-1 error":
        return _error(network, recipe, items, process)
    classes, total = dataset.classes, 0
    for picture, labels in items:
        guess = label_map(network, recipe, picture, len(classes), crf)
        total = total + confusion(guess, labels, len(classes))
    if isinstance(total, int):  # more processes than pictures
        total = torch.zeros(len(classes), len(classes), dtype=torch.int64)
    counts = process.sum(total.to(process.device)).cpu()
    each = iou(counts)
    right = counts.diag().sum() / counts.sum()
    return {
        **dict(zip(classes, each.tolist(), strict=True)),
        "mean IoU": each.nanmean().item(),
        "pixel accuracy": right.item(),
    }


def label_map(
    network: nn.Module,
    recipe: Recipe,
    picture: Tensor,
    classes: int,
    crf: tuple[float, float, float] | None = None,
) -> Tensor:
    """Best class of each pixel, int64 (H, W), on the CPU.

    A class beyond `classes`, as which a recipe trains pixels without a
    label, is never the answer.

    Args:
        network: In evaluation mode.
        recipe: How it is tested.
        picture: (3, H, W) in 0..1, anywhere.
        classes: Of the data set.
        crf: As in `measure`.

    Raises:
        ValueError: If the network has fewer classes.
    """
    device = next(network.parameters()).device
    scores = pixel_scores(network, recipe, picture.to(device))
    if len(scores) < classes:
        raise ValueError(
            f"network: has {len(scores)} classes, the data set {classes}; "
            "--set network.options.num_classes changes it"
        )
    if crf:
        w1, alpha, beta = crf
        shares = recipe.evaluation.fusion == "probabilities"
        scores = dense_crf(
            scores,
            picture.permute(1, 2, 0).to(device),
            w1=w1,
            sigma_alpha=alpha,
            sigma_beta=beta,
            logits=not shares,
        )
    return scores[:classes].argmax(0).cpu()


def _items(
    dataset: Dataset, process: Process, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The pictures that fall to a process, with a bar in the first."""
    mine = range(process.rank, len(dataset), process.count)
    loader = DataLoader(
        Subset(dataset, mine), batch_size=None, num_workers=workers
    )
    yield from tqdm(loader, desc="pictures", disable=process.rank > 0 or None)


def _edges(network, recipe, items, process, pictures, thresholds):
    """ODS, OIS and AP; thinned by non-maximum suppression."""
    counts = torch.zeros(pictures, 4, thresholds, device=process.device)
    for i, (picture, drawn) in enumerate(items):
        shares = pixel_scores(network, recipe, picture.to(process.device))
        thin = suppress(shares.cpu().numpy())
        found = benchmark.count(thin, drawn.numpy(), thresholds=thresholds)
        place = process.rank + i * process.count
        counts[place] = torch.from_numpy(np.stack(found)).to(counts)
    counts = process.sum(counts.double()).cpu().numpy()
    scores = benchmark.summarise(
        (benchmark.Counts(*one) for one in counts), thresholds=thresholds
    )
    named = dataclasses.asdict(scores)
    words = ("ods", "ois", "average_precision", "threshold")
    return {
        {"average_precision": "AP", "threshold": "threshold"}.get(
            word, word.upper()
        ): named[word]
        for word in words
    }


def _error(network, recipe, items, process):
    """Share of pictures whose best class is wrong, in per cent."""
    wrong = torch.zeros(2, dtype=torch.float64, device=process.device)
    for picture, label in items:
        scores = picture_scores(network, recipe, picture.to(process.device))
        miss = scores.argmax().item() != int(label)
        wrong += torch.tensor([miss, 1], device=wrong.device)
    miss, count = process.sum(wrong).tolist()
    return {"top-1 error": 100 * miss / count}
