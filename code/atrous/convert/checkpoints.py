"""Checkpoints of other repositories into the networks of the book.

Nothing is downloaded: a path on this disk comes in. What the tensors are
called differs from repository to repository, and so does their order in the
file; which module comes after which does not.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from atrous.ops.upsampling import transposed_bilinear

# Where files keep the state dict if it is not the whole file.
WRAPPERS = (
    "state_dict",
    "model",
    "model_state",
    "model_state_dict",
    "net",
    "network",
)
# What profilers leave in a network. Source: thop.
PROFILED = ("total_ops", "total_params")
# Classifiers that only training uses. Source: torchvision, mmsegmentation.
AUXILIARY = ("aux_classifier.", "auxiliary_head.")
COUNTER = "num_batches_tracked"
CORES = ("core", "_core")  # where NumPy 1 and 2 keep what makes its numbers
# Order in which torch lists the tensors of one module.
LEAVES = ("weight", "bias", "running_mean", "running_var", COUNTER)
# Units of the Caffe-born ResNet, and the name of their shortcut.
UNIT = re.compile(r"(.*\bblock\d+)\.(shortcut|proj)?")
Model = TypeVar("Model", bound=nn.Module)


@torch.no_grad()
def load_checkpoint(
    model: Model,
    path: str | Path,
    *,
    skip: Collection[str] = (),
    entry: str | None = None,
) -> Model:
    """Copy a checkpoint's tensors into a model; returns the model.

    Tensors are matched by name if the names are the same, otherwise by
    position: module after module as the file has them, a shortcut after its
    unit's convolutions, and inside a module as torch orders them, since old
    files begin with the running statistics. Each pair must agree in its last
    name ("weight", "running_var", ...) and in its shape. If one does not,
    the model stays as it was.

    The weights of a linear layer fit the convolution that sees its whole
    map: those of fc6 in VGG-16, (4096, 25088), become (4096, 512, 7, 7).

    Left out are: a leading "module." of all names, a wrapping in one of
    `WRAPPERS`, auxiliary classifiers, batch counters unless both sides have
    them, counters of profilers, and the DRN's fixed upsampling.

    Args:
        model: A network of the book, or a part of one: a backbone.
        path: A file written by `torch.save`, opened with weights_only=True
            (numbers of NumPy's, such as a best score, may stand beside the
            tensors), or a .safetensors file, if that library is installed.
        skip: Beginnings of names in the file, without "module.", to leave
            out: ["fc."] to load a classifier's weights into a backbone.
        entry: Which of a file's dictionaries to take, such as "model_ema";
            None takes the first of `WRAPPERS`, or the whole file.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If safetensors is needed and not installed.
        ValueError: If the file holds anything but tensors and numbers, no
            state dict or no `entry`: names what it has; if one of `skip`
            begins no name; or if the checkpoint does not fit: names the
            first pair that differs, both shapes and the position.

    Source:
        The files of torchvision (ResNet, DeepLabV3), fyu/drn and
        kazuto1011/deeplab-pytorch, its convert.py from Caffe among them.
    """
    stored, own = (
        _state_dict(read_checkpoint(path), path, entry),
        model.state_dict(),
    )
    stored = _without(stored, own, skip)
    for state, other in ((stored, own), (own, stored)):
        if not any(name.endswith(COUNTER) for name in other):
            for name in [name for name in state if name.endswith(COUNTER)]:
                del state[name]
    names = list(own)
    sources = names if stored.keys() == own.keys() else _ordered(stored)
    for name, source in zip(names, sources, strict=False):
        stored[source] = _as_convolution(stored[source], own[name])
    for position in range(max(len(names), len(sources))):
        ours = _entry(own, names, position)
        theirs = _entry(stored, sources, position)
        if ours[1:] != theirs[1:]:
            raise ValueError(
                f"path={str(path)!r}: does not fit, first at position "
                f"{position}: {theirs[0]} in the checkpoint, {ours[0]} in "
                "the model"
            )
    for name, source in zip(names, sources, strict=True):
        own[name].copy_(stored[source])
    return model


def read_checkpoint(path: str | Path) -> Any:
    """What is in a file that `torch.save` or safetensors has written.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If safetensors is needed and not installed.
        ValueError: If the file holds anything but tensors and numbers, or is
            damaged, or something else.
    """
    if Path(path).suffix == ".safetensors":
        try:
            from safetensors.torch import load_file
        except ImportError as error:
            raise ImportError(
                f"path={str(path)!r}: pip install safetensors reads this file"
            ) from error
    try:
        if Path(path).suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(_numpys_numbers()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:  # it is not there, or may not be read
        raise
    except Exception as error:  # a text that is read as one ends in any way
        raise ValueError(
            f"path={str(path)!r}: torch.load with weights_only=True refuses "
            "this file: it is damaged or holds more than tensors and numbers"
        ) from error


def _numpys_numbers() -> list:
    """What NumPy's numbers are pickled by, under its old name and its new."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = (
        np.dtype(kind) for kind in np.typecodes["All"] if kind not in "OV"
    )
    return [
        *((scalar, f"numpy.{core}.multiarray.scalar") for core in CORES),
        np.dtype,
        *{type(kind) for kind in kinds},
    ]


def _state_dict(
    stored: Any, path: str | Path, entry: str | None
) -> dict[str, Tensor]:
    """The state dict in what a file holds."""
    keys = [*stored] if isinstance(stored, Mapping) else []
    if entry is not None:
        if entry not in keys:
            raise ValueError(
                f"entry={entry!r}: path={str(path)!r} has {keys[:9]}"
            )
        stored = stored[entry]
    for key in WRAPPERS:
        if isinstance(stored, Mapping) and isinstance(
            stored.get(key), Mapping
        ):
            stored = stored[key]
    if not isinstance(stored, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor)
        for name, tensor in stored.items()
    ):
        has = (
            f"{keys[:9]}; say which with entry="
            if keys
            else (f"a {type(stored).__name__}")
        )
        raise ValueError(f"path={str(path)!r}: holds no state dict but {has}")
    stored = {
        name: tensor
        for name, tensor in stored.items()
        if name.rpartition(".")[2] not in PROFILED
    }
    prefix = "module."
    if all(name.startswith(prefix) for name in stored):
        return {n.removeprefix(prefix): t for n, t in stored.items()}
    return stored


def _without(
    stored: dict[str, Tensor],
    own: Mapping[str, Tensor],
    skip: Collection[str],
) -> dict[str, Tensor]:
    """The stored tensors less those that the model is not to have."""
    for beginning in skip:
        if not any(name.startswith(beginning) for name in stored):
            raise ValueError(
                f"skip={[*skip]}: no name in the checkpoint begins with "
                f"{beginning!r}"
            )
    out = (*skip, *AUXILIARY)
    stored = {n: t for n, t in stored.items() if not n.startswith(out)}
    up = stored.get("up.weight")
    if up is not None and "up.weight" not in own:
        impulse = torch.zeros(1, 1, 3, 3)
        impulse[..., 1, 1] = 1  # answered by the kernel itself
        kernel = transposed_bilinear(impulse)[..., 4:20, 4:20]
        if (
            up.shape[1:] != kernel.shape[1:]
            or (up - kernel).abs().max() > 1e-6
        ):
            raise ValueError(
                f"'up.weight' of shape {tuple(up.shape)}: not the bilinear "
                "upsampling by 8 that the model has"
            )
        del stored["up.weight"]
    return stored


def _ordered(names: Collection[str]) -> list[str]:
    """Names in the order in which torch would list these modules."""
    first: dict[str, int] = {}

    def place(name: str) -> tuple:
        module, _, leaf = name.rpartition(".")
        unit = UNIT.match(name)
        rank = LEAVES.index(leaf) if leaf in LEAVES else len(LEAVES)
        return (
            first[unit[1] if unit else module],
            bool(unit and unit[2]),
            first[module],
            rank,
        )

    for number, name in enumerate(names):
        module, unit = name.rpartition(".")[0], UNIT.match(name)
        first.setdefault(module, number)
        if unit:
            first.setdefault(unit[1], number)
    return sorted(names, key=place)


def _as_convolution(stored: Tensor, own: Tensor) -> Tensor:
    """Weights of a linear layer as those of a convolution, where they fit.

    A map is flattened channel by channel, as torch and Caffe do it.
    """
    fits = stored.ndim == 2 and own.ndim == 4 and len(stored) == len(own)
    if fits and stored.numel() == own.numel():
        return stored.view(own.shape)
    return stored


def _entry(
    state: Mapping[str, Tensor], names: Collection[str], position: int
) -> tuple:
    """A tensor in words, its last name and its shape; or nothing at all."""
    if position >= len(names):
        return ("nothing more", None, None)
    name = names[position]
    shape = tuple(state[name].shape)
    return (f"{name!r} of shape {shape}", name.rpartition(".")[2], shape)
