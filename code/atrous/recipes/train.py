"""The command `train`: a recipe on the reader's data."""

import argparse
import contextlib
import dataclasses
import os
from pathlib import Path

from atrous.datasets.catalogue import open_split
from atrous.recipes import checkpoint
from atrous.recipes.engine import Run
from atrous.recipes.files import need_file, need_folder
from atrous.recipes.plain_data import override
from atrous.recipes.processes import joined
from atrous.recipes.published import recipe
from atrous.recipes.settings import PRECISIONS, Settings, takes_changes

HELP = "train a recipe, or go on where a killed run was"
DESCRIPTION = """Train a recipe. The same command goes on where a killed run
was. On several GPUs or processes: torchrun --nproc-per-node N -m
atrous.recipes train ..."""
# What is said of each of the `Settings`, in the order of --help.
SETTINGS = {
    "seed": "decides fresh weights, order, views and dropout",
    "precision": f"one of {', '.join(PRECISIONS)}",
    "channels_last": "keep the channels of a pixel together",
    "per_device": "pictures that a device takes at once; a larger batch "
    "comes in parts whose gradients add up",
    "workers": "processes that read pictures, for each that trains",
    "deterministic": "let GPUs repeat themselves to the bit",
    "log_every": "iterations between two lines",
    "save_every": "iterations between two saved states",
    "sample_every": "iterations between two sample pictures; 0 for none",
    "stop_after": "iteration at which to stop early",
    "tensorboard": "write for TensorBoard, too",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = DESCRIPTION
    parser.add_argument("name", help="of a recipe; see `list`")
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of the data set")
    add("--out", type=Path, required=True, help="folder to write to")
    takes_changes(parser)
    add("--init", type=Path, help="file of the weights to start from")
    add(
        "--from-scratch",
        action="store_true",
        help="start from fresh weights where the recipe has others",
    )
    add("--resume", type=Path, help="a saved state that is not the last one")
    for field in dataclasses.fields(Settings):
        flag = "--" + field.name.replace("_", "-")
        words = SETTINGS[field.name]
        if field.type is bool:
            add(flag, action="store_true", help=words)
        else:
            words += f" (default: {field.default})"
            add(flag, type=field.type, default=field.default, help=words)


def run(given: argparse.Namespace) -> None:
    """Train.

    Raises:
        ValueError: As `atrous.recipes.engine.Run`.
        OSError: Likewise.
        FloatingPointError: Likewise.
    """
    chosen = recipe(given.name)
    for setting in given.set:
        chosen = override(chosen, setting)
    settings = Settings(
        **{
            f.name: getattr(given, f.name)
            for f in dataclasses.fields(Settings)
        }
    )
    if settings.deterministic:  # cuBLAS reads it when it starts
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    for name in ("init", "resume"):
        need_file(name, getattr(given, name))
    need_folder("out", given.out)
    dataset = open_split(chosen.data.name, given.data, chosen.data.split)
    with joined() as process, contextlib.ExitStack() as stack:
        if process.rank == 0:
            stack.enter_context(checkpoint.claimed(given.out))
        Run(
            chosen,
            dataset,
            given.out,
            settings,
            process,
            init=given.init,
            from_scratch=given.from_scratch,
            resume=given.resume,
        ).train()
