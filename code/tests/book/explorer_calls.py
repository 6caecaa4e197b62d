"""What the explorer's tests ask of Node, and what they compare it with."""

import random
from dataclasses import asdict

import torch
import torch.nn.functional as F

from atrous.arithmetic import Window

STACKS = 4000


def plain(stack):
    return [asdict(window) for window in stack]


def one_sided(stack):
    return [{**layer, "causal": True} for layer in plain(stack)]


def answer(function, *args):
    """As Node's: what was refused is compared as refused."""
    try:
        return {"value": function(*args)}
    except ValueError:
        return {"error": ...}


def random_stacks():
    """Of all kinds, and some so deep that paths outgrow any float."""
    draw = random.Random(7)
    for number in range(STACKS):
        deep = number % 80 == 0
        stack = [
            Window(
                draw.randint(1, 5),
                1 if deep else draw.choice((1, 1, 1, 2, 3)),
                draw.choice((1, 1, 2, 3, 4, 6, 9)),
                draw.randint(0, 9),
            )
            for _ in range(40 if deep else draw.randint(0, 6))
        ]
        yield draw.randint(1, 90), stack, draw.randint(1, 99)


def causal_side(size, stack):
    """Output of layers that pad before the input only, or nothing."""
    for w in stack:
        if size + w.padding < w.span:
            return None
        size = (size + w.padding - w.span) // w.stride + 1
    return size


def state_of(size, branches, at, **more):
    """A state of the explorer, as the page has it."""
    return {
        "branches": [plain(stack) for stack in branches],
        "axes": 2,
        "size": size,
        "at": at,
        "channels": 3,
        "branch": 1,
        "phase": 0,
        "show": "paths",
        **more,
    }


def gradients(size, stack, index, *, causal=False):
    """Of an output of all-ones layers, one axis, by every map before it."""
    x = torch.zeros(1, 1, size, dtype=torch.float64, requires_grad=True)
    maps = [x]
    for w in stack:
        ones = torch.ones(1, 1, w.kernel, dtype=torch.float64)
        padded = F.pad(maps[-1], (w.padding, 0 if causal else w.padding))
        maps.append(F.conv1d(padded, ones, None, w.stride, 0, w.dilation))
    found = torch.autograd.grad(maps[-1][0, 0, index], maps)
    return [gradient[0, 0] for gradient in found]
