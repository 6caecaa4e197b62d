"""How a recipe is run on a machine: what changes its speed."""

import argparse
from dataclasses import dataclass

import torch

# What numbers are computed in: None leaves all to the weights' type.
PRECISIONS = {
    "float32": None,
    "float64": None,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True)
class Settings:
    """How a recipe is run on a machine.

    Attributes:
        seed: Decides fresh weights, order, views and dropout.
        precision: One of `PRECISIONS`; weights are kept in float32, in
            float64 at "float64".
        channels_last: Whether the channels of a pixel lie together.
        per_device: Pictures that a device takes at once; a batch that is
            larger comes in parts, whose gradients add up. 0 for all, or for
            one where a recipe does not bring pictures to one size.
        workers: Processes that read pictures, for each that trains.
        deterministic: Whether GPUs repeat themselves to the bit.
        log_every: Iterations between two lines.
        save_every: Iterations between two saved states.
        sample_every: Iterations between two sample pictures; 0 for none.
        stop_after: Iteration at which to stop early; 0 for none.
        tensorboard: Whether to write for TensorBoard, too.

    Raises:
        ValueError: If a number is too small or a word unknown.
    """

    seed: int = 0
    precision: str = "float32"
    channels_last: bool = False
    per_device: int = 0
    workers: int = 2
    deterministic: bool = False
    log_every: int = 20
    save_every: int = 500
    sample_every: int = 0
    stop_after: int = 0
    tensorboard: bool = False

    def __post_init__(self):
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"precision={self.precision!r}: must be one of {[*PRECISIONS]}"
            )
        for name, least in (
            ("seed", 0),
            ("per_device", 0),
            ("workers", 0),
            ("log_every", 1),
            ("save_every", 1),
            ("sample_every", 0),
            ("stop_after", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name}={getattr(self, name)}: must be at least {least}"
                )


def takes_changes(parser: argparse.ArgumentParser) -> None:
    """Let a command replace values of its recipe."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="replace a value of the recipe, as optimiser.lr=0.01; see `show`",
    )
