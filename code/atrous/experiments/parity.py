"""Whether two networks compute the same: a reference fill and its input.

A reference fill puts a fixed pattern into every tensor, in the order of the
state dict. Two networks that then give the same output on a fixed input
compute the same function, and no weights need to be shipped to show it.
"""

from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor, nn


def _pattern(count: int, number: int) -> np.ndarray:
    """A hash of (element, tensor) spread over [-0.5, 0.5), float64."""
    u = np.empty(count)
    block = 2**18  # stays in the cache: fc6 alone has 100 million elements
    for start in range(0, count, block):
        h = np.arange(start, min(start + block, count), dtype=np.uint32)
        h *= np.uint32(2654435761)
        h += np.uint32((number * 40503 + 1) % 2**32)
        h ^= h >> 15
        h *= np.uint32(2246822519)
        h ^= h >> 13
        u[start : start + block] = h / 2.0**32 - 0.5
    return u


@torch.no_grad()
def reference_fill_(model: nn.Module, *, skip: Collection[str] = ()) -> None:
    """Fill a model's state with the reference pattern, tensor by tensor.

    Args:
        model: Any module; its own names do not matter, their order does.
        skip: Names in the state dict to leave alone, besides the batch
            counters of normalisation layers.

    Raises:
        ValueError: If a name in `skip` is not in the state dict.
    """
    state = model.state_dict()
    unknown = sorted(set(skip) - set(state))
    if unknown:
        raise ValueError(f"skip={unknown}: not in the model's state dict")
    kept = [
        (name, tensor)
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked") and name not in skip
    ]
    for number, (name, tensor) in enumerate(kept):
        u = torch.from_numpy(_pattern(tensor.numel(), number))
        u = u.view(tensor.shape)
        if tensor.ndim >= 2:
            u *= (24 / tensor[0].numel()) ** 0.5
        elif name.endswith("running_var"):
            u += 2
        elif name.endswith("weight"):
            u = 1 + 0.4 * u
        else:  # running means, biases, and scales of residual branches
            u *= 0.2
        tensor.copy_(u)


def reference_input(
    batch: int, channels: int, height: int, width: int
) -> Tensor:
    """The fixed input that goes with the reference fill, float64."""
    c = torch.arange(channels, dtype=torch.float64)[:, None, None]
    y = torch.arange(height, dtype=torch.float64)[:, None]
    x = torch.arange(width, dtype=torch.float64)
    waves = torch.sin(0.11 * y + 0.7 * c) * torch.cos(0.07 * x - 0.4 * c)
    picture = waves + 0.5 * torch.sin(0.013 * x * y + c)
    return picture.expand(batch, -1, -1, -1).clone()


def deviation(output: Tensor, record: Mapping) -> float:
    """Largest difference from a recorded output, relative to its absmax.

    Compares the mean, the standard deviation, the largest magnitude and up
    to 64 sampled values.

    Args:
        output: The output to check, any shape.
        record: shape, mean, std, absmax and sample of the reference.

    Raises:
        ValueError: If the shapes differ.
    """
    if list(output.shape) != list(record["shape"]):
        raise ValueError(
            f"output of shape {tuple(output.shape)}: the record has "
            f"{tuple(record['shape'])}"
        )
    flat = output.detach().flatten().double().cpu()
    expected = torch.tensor(record["sample"], dtype=torch.float64)
    places = torch.arange(len(expected)) * len(flat) // len(expected)
    differences = [
        (flat[places] - expected).abs().max().item(),
        abs(flat.mean().item() - record["mean"]),
        abs(flat.std(correction=0).item() - record["std"]),
        abs(flat.abs().max().item() - record["absmax"]),
    ]
    return max(differences) / record["absmax"]
