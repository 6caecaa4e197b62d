"""Parallel branches of the explorer are composed of the package's stacks."""

import itertools
import math
import random
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from explorer_calls import plain, state_of

from atrous.arithmetic import (
    Window,
    fields,
    output_size,
    same_padding,
    usage,
)
from atrous.gridding import hybrid_rates


def random_sets():
    """Branches of 1 to 4 stacks that end on the same map; and their input."""
    draw, found = random.Random(13), []
    while len(found) < 300:
        stride = draw.choice((1, 1, 1, 2))
        branches = []
        for _ in range(draw.randint(1, 4)):
            stack = []
            for position in range(draw.randint(0, 3)):
                kernel, rate = draw.choice((1, 3, 3, 5)), draw.randint(1, 9)
                padding = same_padding(kernel, rate)
                step = stride if position == 0 else 1
                stack.append(Window(kernel, step, rate, padding))
            if not stack and stride > 1:
                stack.append(Window(1, stride))
            branches.append(stack)
        found.append((draw.randint(8, 40), branches))
    return found


def shifted(branches):
    """Every second branch padded before its input only."""
    return [
        [replace(w, padding=w.span - 1) for w in stack] if i % 2 else stack
        for i, stack in enumerate(branches)
    ]


def placed(branches):
    """Pixels by branch, the first pixel of all fields, and past the last."""
    lines = []
    for stack in branches:
        last = fields(stack)[-1] if stack else None
        first = last.start - (last.size - 1) / 2 if last else 0
        ways = {int(first) + i: n for i, n in enumerate(usage(stack))}
        lines.append(ways)
    low = min(min(line) for line in lines)
    return lines, low, max(max(line) for line in lines) + 1


def test_branches_are_composed_of_the_packages_stacks(ask):
    """Their field, coverage, holes, phases and weights."""
    names = ("field", "usage", "reached", "holes", "parameters", "modulus")
    sets = [branches for _, branches in random_sets()]
    sets += [shifted(branches) for branches in sets]
    # Even rates, whose fields are an odd number of pixels apart.
    even = hybrid_rates.layers((2,))
    sets.append([even, [Window(3, 1, 2, 1), Window(3, 1, 2, 6)]])
    calls = []
    for branches in sets:
        stacks = [plain(stack) for stack in branches]
        more = {"parameters": [7]}
        calls += [["branches", n, [stacks, *more.get(n, [])]] for n in names]
    answers = iter(found["value"] for found in ask(calls))
    with_holes = 0
    for branches in sets:
        found = {name: next(answers) for name in names}
        lines, low, high = placed(branches)
        side = high - low
        paths = [
            sum(line.get(i, 0) for line in lines) for i in range(low, high)
        ]
        assert found["usage"] == [str(n) for n in paths]
        assert found["field"]["size"] == side
        assert found["field"]["start"] == low + (side - 1) / 2
        assert found["holes"] == [i for i, n in enumerate(paths) if not n]
        square = np.zeros((side, side), bool)
        for line in lines:
            read = [line.get(i, 0) > 0 for i in range(low, high)]
            square |= np.outer(read, read)
        assert found["reached"] == {
            "line": sum(n > 0 for n in paths),
            "square": square.sum(),
            "side": side,
        }
        with_holes += found["holes"] == [] and not square.all()
        weights = sum(7 * (7 * w.kernel**2 + 1) for s in branches for w in s)
        assert found["parameters"] == weights
        read = [i for i, n in enumerate(paths) if n]
        apart = math.gcd(*(i - read[0] for i in read)) or 1
        assert found["modulus"] == apart
    assert with_holes  # of the square, though of no line


def picture(x, stack):
    """All-ones layers on x, (1, 1, size, size)."""
    for w in stack:
        ones = torch.ones(1, 1, w.kernel, w.kernel, dtype=torch.float64)
        x = F.conv2d(x, ones, None, w.stride, w.padding, w.dilation)
    return x


def test_what_branches_read_is_the_gradient_of_their_sum(ask):
    """Of an output of a picture: how many pixels, by how many paths."""
    sets = [one for one in random_sets() if len(one[1]) > 1][:60]
    cases = []
    for size, branches in sets:
        side = output_size(size, branches[0])
        cases.append((size, branches, [side // 3, side - 1]))
    looks = ask([["drawing", "look", [state_of(*case)]] for case in cases])
    told = ask([["words", "facts", [state_of(*case)]] for case in cases])
    for case, seen, facts in zip(cases, looks, told, strict=True):
        size, branches, at = case
        x = torch.zeros(1, 1, size, size, dtype=torch.float64)
        x.requires_grad_()
        total = sum(
            picture(x, stack)[0, 0, at[0], at[1]] for stack in branches
        )
        gradient = torch.autograd.grad(total, x)[0][0, 0]
        ways = torch.zeros(size, size, dtype=torch.float64)
        value = seen["value"]
        for up, across in zip(value["rows"], value["columns"], strict=True):
            for (i, m), (j, n) in itertools.product(up, across):
                ways[i, j] += int(m) * int(n)
        assert ways.equal(gradient), (size, branches)
        said = facts["value"]["chosen"][1]
        read = int((gradient > 0).sum())
        assert f"reads {read:,} pixel" in said
        assert f"used by {int(gradient.max()):,} path" in said


def test_branches_that_do_not_meet_are_refused(ask):
    k3, strided = plain([Window(3)]), plain([Window(3, 2, padding=1)])
    point, coarse = plain([Window(1)]), plain([Window(1, 2), Window(1)])
    for branches, words in (
        ([k3, point], "sides of 7, 9"),
        ([strided, point], "sides of 5, 9"),
        ([point, plain([Window(11)])], "In branch 2: The effective kernel"),
    ):
        (found,) = ask([["branches", "outputSize", [9, branches]]])
        assert words in found["error"]
    (found,) = ask([["branches", "outputSize", [1, [strided, point]]]])
    assert "output strides of 2, 1" in found["error"]
    (found,) = ask([["branches", "outputSize", [9, [strided, coarse]]]])
    assert found["value"] == 5
