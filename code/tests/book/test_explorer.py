"""The explorer's arithmetic, run by Node, is the package's."""

import math
import random
from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F
from explorer_calls import (
    answer,
    causal_side,
    gradients,
    one_sided,
    plain,
    random_stacks,
)

import explorer
from atrous.arithmetic import (
    Window,
    effective_kernel,
    fields,
    output_size,
    receptive_field,
    same_padding,
    usage,
    valid_weights,
)
from atrous.gridding import hybrid_rates


def expected(size, stack, channels):
    """Yield calls on a stack, each with the package's answer."""
    layers, counts = plain(stack), usage(stack)
    rates = [window.dilation for window in stack]
    kernel = stack[0].kernel if stack else 3

    def rule():
        return hybrid_rates.published_rule(rates, kernel=kernel)

    def valid():
        return [[*pair] for pair in valid_weights(size, stack[0]).items()]

    yield "outputSize", [size, layers], answer(output_size, size, stack)
    yield "fields", [layers], {"value": [asdict(f) for f in fields(stack)]}
    yield "receptiveField", [layers], {"value": receptive_field(stack)}
    yield "usage", [layers], {"value": [str(ways) for ways in counts]}
    yield "reached", [layers], {"value": [*hybrid_rates.reached(stack)]}
    holes = [i for i, ways in enumerate(counts) if not ways]
    yield "holes", [layers], {"value": holes}
    yield "covers", [layers], {"value": hybrid_rates.covers(stack)}
    yield "publishedRule", [rates, kernel], answer(rule)
    distances = answer(lambda: [*hybrid_rates.largest_distances(rates)])
    yield "largestDistances", [rates], distances
    count = sum(channels * (channels * w.kernel**2 + 1) for w in stack)
    yield "parameters", [layers, channels], {"value": count}
    line = sum(channels * (channels * w.kernel + 1) for w in stack)
    yield "parameters", [layers, channels, 1], {"value": line}
    if stack:
        yield "validWeights", [size, layers[0]], answer(valid)
        along = answer(valid_on_a_line, size, stack[0])
        yield "validWeights", [size, layers[0], 1], along


def valid_on_a_line(size, window):
    """Taps that fall on the input, of all outputs, by a convolution."""
    ones = torch.ones(1, 1, size), torch.ones(1, 1, window.kernel)
    if size + 2 * window.padding < window.span:
        raise ValueError
    w = window
    taps = F.conv1d(*ones, None, w.stride, w.padding, w.dilation).flatten()
    numbers, counts = taps.int().unique(return_counts=True)
    return torch.stack((numbers, counts), 1).tolist()


def test_arithmetic_is_the_packages(ask):
    cases = [case for given in random_stacks() for case in expected(*given)]
    answers = ask([["arithmetic", name, args] for name, args, _ in cases])
    refused, largest = 0, 0
    for (name, args, right), found in zip(cases, answers, strict=True):
        assert found.keys() == right.keys(), (name, args, found)
        if "error" in right:
            refused += 1
            continue
        assert found == right, (name, args)
        if name == "usage":
            largest = max(largest, *map(int, found["value"]))
    assert refused > 500
    assert largest > 2**53


def test_windows_and_what_they_refuse(ask):
    draw = random.Random(3)
    sizes = [[draw.randint(-1, 6) for _ in range(4)] for _ in range(500)]
    sizes += [[2.5, 1, 1, 0], [True, 1, 1, 0], ["3", 1, 1, 0]]
    pairs = [numbers[:2] for numbers in sizes[:500]]
    cases = [
        ("layer", sizes, lambda *args: asdict(Window(*args))),
        ("effectiveKernel", pairs, effective_kernel),
        ("samePadding", pairs, same_padding),
    ]
    for name, arguments, function in cases:
        answers = ask([["arithmetic", name, args] for args in arguments])
        for args, found in zip(arguments, answers, strict=True):
            right = answer(function, *args)
            assert found.keys() == right.keys(), (name, args)
            assert found == right or "error" in right, (name, args)


def test_numbers_beyond_2_53_are_refused(ask):
    many = plain([Window(3, 8)] * 20)
    for name, args in (
        ("fields", [many]),
        ("receptiveField", [many]),
        ("covers", [many]),
        ("parameters", [many, 2**26]),
        ("outputSize", [9, plain([Window(3, padding=2**53 - 1)])]),
    ):
        assert "2^53" in ask([["arithmetic", name, args]])[0]["error"]


@pytest.mark.parametrize("causal", [False, True])
def test_traces_are_gradients(ask, causal):
    """On real maps, padding and borders included, on both sides or one."""
    draw, cases = random.Random(5), []
    for size, stack, _ in random_stacks():
        side = causal_side(size, stack) if causal else None
        if not causal:
            side = answer(output_size, size, stack).get("value")
        if side and len(stack) <= 6:
            cases.append((size, stack, draw.randrange(side)))
    cases = cases[:200]
    padded = [one_sided(s) if causal else plain(s) for _, s, _ in cases]
    answers = ask(
        [
            ["arithmetic", "trace", [size, layers, index]]
            for (size, _, index), layers in zip(cases, padded, strict=True)
        ]
    )
    for (size, stack, index), found in zip(cases, answers, strict=True):
        right = gradients(size, stack, index, causal=causal)
        for gradient, level in zip(right, found["value"], strict=True):
            paths = {i: n for i, n in enumerate(gradient.tolist()) if n}
            assert {i: int(n) for i, n in level} == paths, (size, stack)


def test_causal_layers_keep_the_size_and_read_the_past(ask):
    """Whatever the kernel; their field ends at the output's own position."""
    stacks = [
        [Window(k, 1, r, (k - 1) * r) for k, r in layers]
        for layers in ([(2, 1)], [(2, 4), (3, 8)], [(7, 2), (4, 3), (1, 1)])
    ]
    calls = [
        ["arithmetic", name, args]
        for stack in stacks
        for name, args in (
            ("outputSize", [50, one_sided(stack)]),
            ("trace", [50, one_sided(stack), 40]),
            ("field", [one_sided(stack)]),
        )
    ]
    answers = [found["value"] for found in ask(calls)]
    for i, stack in enumerate(stacks):
        side, levels, field = answers[3 * i : 3 * i + 3]
        assert side == 50
        assert field == asdict(fields(stack)[-1])
        reached = {pixel for pixel, _ in levels[0]}
        assert max(reached) == 40
        assert min(reached) == 41 - receptive_field(stack)
        assert field["start"] + (field["size"] - 1) / 2 == 0


def test_the_modulus_parts_a_stack_as_far_as_can_be(ask):
    stacks = [s for _, s, _ in random_stacks() if 0 < len(s) <= 4]
    calls = [{"branches": [plain(s)], "branch": 1, "phase": 0} for s in stacks]
    answers = ask([["words", "modulus", [call]] for call in calls])
    for stack, found in zip(stacks, answers, strict=True):
        read = [i for i, ways in enumerate(usage(stack)) if ways]
        assert found["value"] == (math.gcd(*read) or 1), stack


def test_the_published_rule_is_asked_of_layers_in_a_row(ask):
    stacks = [
        (*hybrid_rates.layers((1, 2, 9)), Window(1)),
        hybrid_rates.layers((2, 2, 2)),
        hybrid_rates.layers((1, 2, 9), kernel=5),
        (Window(3), Window(5)),
        (Window(3, 2), Window(3)),
        (Window(3), Window(1)),
        (),
    ]
    answers = ask([["words", "ruled", [plain(stack)]] for stack in stacks])
    verdicts = [found["value"] for found in answers]
    assert [verdict and verdict["accepts"] for verdict in verdicts] == [
        False,
        True,
        True,
        *[None] * 4,
    ]
    assert verdicts[0]["distances"] == [3, 5, 9]


def test_curves_of_valid_weights(ask):
    (found,) = ask([["curves", "validCurves", [asdict(Window(3)), 65]]])
    assert [curve["number"] for curve in found["value"]] == [1, 2, 4, 6, 9]
    for curve in found["value"]:
        for rate, share in enumerate(curve["shares"], 1):
            counts = valid_weights(65, Window(3, 1, rate, rate))
            assert share == counts.get(curve["number"], 0) / 65**2


def test_a_part_that_is_not_there_is_refused():
    assert explorer.parts("map  valid") == "map valid"
    for wrong in ("map graph", "", None):
        with pytest.raises(ValueError, match=f"parts: {wrong}"):
            explorer.parts(wrong)
