"""The command `memory`: what a training step holds, before a GPU is rented.

A step runs on meta tensors, which have shapes and no numbers, so that a
batch of any size is counted in seconds on any machine.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from atrous.recipes.building import build
from atrous.recipes.normalisation import freeze_
from atrous.recipes.objectives import Supervised
from atrous.recipes.plain_data import override
from atrous.recipes.published import recipe
from atrous.recipes.recipe import Recipe
from atrous.recipes.settings import PRECISIONS, Settings, takes_changes

HELP = "count the memory of a training step on paper"
DESCRIPTION = """Count what a training step holds after its forward pass:
weights, gradients, the optimiser's state, and what is kept for the backward
pass, the loss included. What a layer needs while it computes, and what a
GPU's libraries take, is not counted; a quarter is left free for it."""
GIB = 1 << 30
DEVICES = (8, 16, 24, 40, 80, 141)  # GiB that GPUs have
STRIDES = (32, 16, 8)
CROPS = (321, 513, 769)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = DESCRIPTION
    add = parser.add_argument
    add("name", help="of a recipe; see `list`")
    add("--batch", type=int, help="pictures on a device (default: the batch)")
    add(
        "--precision",
        default="float32",
        help=f"one of {', '.join(PRECISIONS)} (default: float32)",
    )
    add("--crops", type=int, nargs="+", help="sides of the pictures")
    takes_changes(parser)


def run(given: argparse.Namespace) -> None:
    """Print a table by output stride and crop.

    Raises:
        ValueError: If a value is wrong, or the network does not take a size.
    """
    Settings(precision=given.precision)
    chosen, crops = recipe(given.name), given.crops or ()
    for setting in given.set:
        chosen = override(chosen, setting)
    batch = chosen.batch if given.batch is None else given.batch
    for name, value in [("batch", batch), *(("crops", n) for n in crops)]:
        if value < 1:
            raise ValueError(f"{name}={value}: must be at least 1")
    sizes = _sizes(chosen, crops)
    sys.stdout.write(
        f"{chosen.name}, {batch} pictures, {given.precision}, GiB\n"
        f"{'stride':>6}  {'picture':>11}  {'weights':>7}  {'state':>7}  "
        f"{'kept':>7}  {'sum':>7}  fits in\n"
    )
    for stride, made in strides(chosen):
        for size in sizes:
            found = step(made, size, batch, precision=given.precision)
            sys.stdout.write(_line(stride, size, found) + "\n")


@dataclass(frozen=True)
class Step:
    """Bytes that a training step holds after its forward pass.

    Attributes:
        weights: Parameters and buffers.
        gradients: One for each parameter that is trained.
        state: Of the optimiser.
        kept: What the backward pass needs beside the parameters.
    """

    weights: int
    gradients: int
    state: int
    kept: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.state + self.kept


def step(
    recipe: Recipe,
    size: Sequence[int],
    batch: int,
    *,
    precision: str = "float32",
) -> Step:
    """Count a recipe's training step; nothing is computed.

    In half precision autocast decides what is kept in 2 bytes; weights,
    their gradients and the optimiser's state are kept in 4, and what the
    layers take is a copy of the weights in 2, which counts as kept.

    Args:
        recipe: Its network, loss, optimiser and normalisation count.
        size: Height and width of the pictures.
        batch: Pictures that the device takes at once.
        precision: As in `atrous.recipes.settings`.

    Raises:
        ValueError: If `batch` is below 1, the precision unknown, or the
            network takes no such size.

    Departs:
        Autocast's lists differ a little between CPUs and GPUs, and those of
        CPUs count: there a resize is done in 4 bytes.
    """
    if batch < 1:
        raise ValueError(f"batch={batch}: must be at least 1")
    Settings(precision=precision)  # which refuses an unknown word
    half, wide = PRECISIONS[precision], precision == "float64"
    with torch.device("meta"):
        network = build(recipe.network)
        if recipe.normalisation == "frozen":
            freeze_(network)
        weights = (
            torch.ones(recipe.network.options.get("num_classes", 1))
            if recipe.loss.class_weights
            else None
        )
        supervised = Supervised(network, recipe.loss, weights)
    if wide:
        supervised.double()

    def forward():
        with torch.autocast("cpu", half, enabled=half is not None):
            if recipe.loss.kind == "edges":  # which looks at its labels
                z = network(pictures)
                return F.binary_cross_entropy_with_logits(z, z.detach())
            return supervised(pictures, labels, norms)

    try:
        with _without_numbers(supervised, half is not None):
            pictures = torch.empty(batch, 3, *size)
            pictures = pictures.double() if wide else pictures
            labels = _labels(recipe, batch, size)
            norms = supervised.norms(labels).to(pictures.dtype)
            kept = kept_bytes(network, forward)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"size={tuple(size)}, batch={batch}: the network takes no such "
            f"pictures: {error}"
        ) from error
    trained = [p for p in network.parameters() if p.requires_grad]
    gradients = sum(map(_bytes, trained))
    copies = {"sgd": recipe.optimiser.momentum > 0, "adam": 2}
    return Step(
        sum(map(_bytes, [*network.parameters(), *network.buffers()])),
        gradients,
        copies[recipe.optimiser.kind] * gradients,
        kept,
    )


@contextlib.contextmanager
def _without_numbers(module: nn.Module, halved: bool) -> Iterator[None]:
    """New tensors have no numbers, and lie where a module of that kind does.

    Autocast knows no tensors of the meta device. So it gets fake ones, which
    have no numbers either and call themselves a CPU's.
    """
    if not halved:
        with torch.device("meta"):
            yield
        return
    with FakeTensorMode(allow_non_fake_inputs=True):
        module.to_empty(device="cpu")
        yield


def kept_bytes(network: nn.Module, forward) -> int:
    """Bytes that autograd keeps of a forward pass, parameters left out.

    Memory that several tensors share counts once.

    Args:
        network: Whose parameters are left out.
        forward: Runs the pass; called once.
    """
    own = {
        x.untyped_storage()._cdata
        for x in (*network.parameters(), *network.buffers())
    }
    kept = {}

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # alive, so that no other is there
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        result = forward()
    del result
    return sum(storage.nbytes() for storage in kept.values())


def strides(chosen: Recipe) -> list[tuple[str, Recipe]]:
    """The recipe at each output stride that its network takes."""
    if "output_stride" not in chosen.network.options:
        return [("", chosen)]
    path = "network.options.output_stride"
    return [(str(s), override(chosen, f"{path}={s}")) for s in STRIDES]


def _sizes(chosen: Recipe, crops: Sequence[int]):
    if crops:
        return [(crop, crop) for crop in crops]
    seen = [a.crop or a.size for a in chosen.augmentations]
    own = dict.fromkeys(size for size in seen if size)
    if not own:
        return [(crop, crop) for crop in CROPS]
    if len(own) > 1 or chosen.loss.places == "window":
        return [*own]
    if chosen.evaluation.metric == "top-1 error":
        return [*own]
    return sorted({*own, *((crop, crop) for crop in CROPS)})


def _labels(recipe: Recipe, batch: int, size: Sequence[int]) -> Tensor:
    if recipe.evaluation.metric == "top-1 error":
        return torch.zeros(batch, dtype=torch.int64)
    if recipe.loss.kind == "edges":
        return torch.zeros(batch, *size)
    return torch.zeros(batch, *size, dtype=torch.int64)


def _bytes(x: Tensor) -> int:
    return x.numel() * x.element_size()


def _line(stride: str, size: Sequence[int], found: Step) -> str:
    parts = found.weights + found.gradients, found.state, found.kept
    numbers = [f"{value / GIB:7.2f}" for value in (*parts, found.total)]
    enough = [d for d in DEVICES if found.total < 0.75 * d * GIB]
    fits = f"{enough[0]} GiB" if enough else "none of these"
    shape = f"{size[0]} x {size[1]}"
    return "  ".join([f"{stride:>6}", f"{shape:>11}", *numbers, fits])
