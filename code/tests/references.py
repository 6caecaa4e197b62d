"""What the tests of several networks share: records, errors, counts, meta."""

import json
import re
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from atrous import zoo
from atrous.experiments.parity import (
    deviation,
    reference_fill_,
    reference_input,
)

FINGERPRINTS = Path(__file__).parent / "fingerprints"


def record(name):
    return json.loads((FINGERPRINTS / f"{name}.json").read_text())


def recorded(reference, channels=3):
    """Layer, input and expected output of each output of a record.

    An output whose name has no size has no input.
    """
    for key, output in reference["outputs"].items():
        layer, _, size = key.rpartition("_")
        if re.fullmatch(r"\d+x\d+", size):
            height, width = map(int, size.split("x"))
            yield layer, reference_input(1, channels, height, width), output


def assert_equal(output, expected):
    assert deviation(output, expected) < 1e-9


def error(found, expected):
    """Largest difference of two results, relative to the largest value."""
    assert found.shape == expected.shape
    return ((found - expected).abs().max() / expected.abs().max()).item()


def assert_same_state(network, reference):
    """The same shapes in the same order, and as many parameters."""
    shapes = [
        list(tensor.shape)
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    ]
    assert shapes == [shape for _, _, shape in reference["state_dict"]]
    stated = reference.get("trainable", reference.get("parameters"))
    assert count(network) == stated


def count(module):
    return sum(p.numel() for p in module.parameters())


def meta(name, **options):
    with torch.device("meta"):
        return zoo.build(name, **options).eval()


def multiply_adds(network, height, width):
    """Of convolutions, on one picture and on the meta device."""
    counter = FlopCounterMode(display=False)
    with counter:
        network(torch.empty(1, 3, height, width, device="meta"))
    return counter.get_total_flops() // 2


def sequence(channels, steps):
    """The input of the records of sequences, (1, C, T)."""
    return reference_input(1, channels, steps, 1)[..., 0]


def filled(network, name):
    """A network with the tensors of a record, filled as that, and it."""
    reference = record(name)
    network = network.double().eval()
    assert_same_state(network, reference)
    reference_fill_(network)
    return network, reference["outputs"]


def sensitivity(function, x, step):
    """Largest gradient of any output at a step by each input step, (T,)."""
    x = x.clone().requires_grad_()
    y = function(x)[..., step].flatten()
    grads = [torch.autograd.grad(v, x, retain_graph=True)[0] for v in y]
    return torch.stack(grads).abs().amax((0, 1, 2))
