"""The explorer's pictures show what is read, and what was played."""

import itertools
import math
import re

import pytest
import torch
from explorer_calls import gradients, one_sided, plain, state_of

import explorer
from atrous.arithmetic import Window, output_size, usage, valid_weights
from atrous.gridding import hybrid_rates


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
    state = state_of(33, [stack], at)
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


def test_a_branch_has_signs_of_its_own(ask):
    """A pixel that one branch reads has its sign; of several, it is dark."""
    rates, at = (2, 4, 6), (9, 20)
    branches = [hybrid_rates.layers((rate,)) for rate in rates]
    state = state_of(33, branches, at, show="branches")
    options = {"width": 660, "modulus": 2}
    (found,) = ask([["drawing", "map", [state, options]]])
    signs = {
        (float(y) - 0.5, float(x) - 0.5): int(branch)
        for branch, x, y in re.findall(
            r'class="sign branch-(\d)" transform="translate\((\S+) (\S+)\)',
            found["value"],
        )
    }
    ways = [
        [gradients(33, stack, index)[0].bool() for index in at]
        for stack in branches
    ]
    masks = [torch.outer(*pair) for pair in ways]
    total = sum(mask.int() for mask in masks)
    for branch, mask in enumerate(masks):
        own = {pixel for pixel, one in signs.items() if one == branch}
        assert own == {*map(tuple, (mask & (total == 1)).nonzero().tolist())}
    dark = {*map(tuple, (total > 1).nonzero().tolist())}
    assert painted(found["value"], "shared").keys() == dark == {at}
    names = re.findall(r'class="name"[^>]*>([^<]*)<', found["value"])
    assert names == ["1", "2", "3"]
    frames = re.findall(
        r'class="outline outline-(\d)" d="M(\S+) (\S+)h(\d+)', found["value"]
    )
    assert [tuple(map(int, frame)) for frame in frames] == [
        (i, at[1] - rate, at[0] - rate, 2 * rate + 1)
        for i, rate in enumerate(rates)
    ]


def test_many_pixels_of_a_branch_share_a_pattern_of_its_sign(ask):
    stack = (Window(25, padding=12), Window(3, 1, 30, 30))
    branches = [stack, (Window(1),)]
    state = state_of(97, branches, (48, 48), show="branches")
    options = {"width": 388, "modulus": 1, "prefix": "p-"}
    (found,) = ask([["drawing", "map", [state, options]]])
    (d,) = re.findall(r'd="([^"]*)" fill="url\(#p-sign-0\)"', found["value"])
    assert d.count("M") == 75**2 - 1  # all but the middle, which two read
    assert 'id="p-sign-0"' in found["value"]
    assert len(found["value"]) < 200_000


@pytest.mark.parametrize(
    ("start", "at", "filled"),
    [
        ((2, 3), (2, 5), 3),
        ((2, 3), (3, 1), 15 - 3 + 2),
        ((0, 0), (14, 14), 225),
        ((1, 14), (6, 0), 1 + 4 * 15 + 1),
        (None, (4, 4), 0),
    ],
)
def test_the_output_is_filled_as_it_is_played(ask, start, at, filled):
    state = state_of(15, [hybrid_rates.layers((2,))], at)
    options = {"width": 120, "modulus": 2, "from": start}
    (found,) = ask([["output", "output", [state, options]]])
    made = painted(found["value"], "made")
    number = [15 * y + x for y, x in (start or at, at)]
    wanted = {divmod(i, 15) for i in range(number[0], number[1] + 1)}
    assert made.keys() == (wanted if start else set())
    assert len(made) == filled
    assert painted(found["value"], "field").keys() == {at}


@pytest.mark.parametrize(
    ("stack", "size"),
    [
        (hybrid_rates.layers((2, 2, 2)), 9),
        (hybrid_rates.layers((3, 6)), 20),
        ((Window(3, 1, 3), Window(3, 1, 3)), 20),
        ((Window(2, 2, 4, 1), Window(3, 1, 2, 2)), 30),
    ],
)
def test_played_outputs_have_the_colour_of_their_phase(ask, stack, size):
    """Each the phase of the pixels that it reads."""
    side = output_size(size, stack)
    state = state_of(size, [stack], (side - 1, side - 1), show="phases")
    modulus = math.gcd(*(i for i, n in enumerate(usage(stack)) if n))
    options = {"width": 120, "modulus": modulus, "from": (0, 0)}
    (found,) = ask([["output", "output", [state, options]]])
    wide = int(
        re.search(r'<pattern id="tile" width="(\d+)"', found["value"])[1]
    )
    tiles = painted(found["value"], "full phase")
    reads = []
    for index in range(side):
        pixels = gradients(size, stack, index)[0].nonzero().flatten()
        reads.append({i % modulus for i in pixels.tolist()})
    for y, x in itertools.product(range(side), repeat=2):
        if not (reads[y] and reads[x]):
            continue  # padding only
        ((row,), (column,)) = reads[y], reads[x]
        colour = str((row * modulus + column) % 9)
        assert tiles[y % wide, x % wide] == colour, (y, x)

    line = state_of(size, [stack], [side - 1], show="phases", axes=1)
    (found,) = ask([["output", "output", [line, {**options, "from": [0]}]]])
    tiles = painted(found["value"], "full phase")
    for x, column in enumerate(reads):
        assert tiles[0, x % wide] in {str(i % 9) for i in column} or not column


@pytest.mark.parametrize("causal", [False, True])
def test_a_sequence_is_one_row(ask, causal):
    stack = [Window(2, 1, r, r if causal else 0) for r in (1, 2, 4)]
    size, index = 20, 11
    layers = one_sided(stack) if causal else plain(stack)
    state = state_of(size, [], [index], axes=1)
    state["branches"] = [layers]
    calls = [
        ["drawing", "map", [state, {"width": 200, "modulus": 1}]],
        ["drawing", "look", [state]],
    ]
    drawn, seen = (found["value"] for found in ask(calls))
    paths = gradients(size, stack, index, causal=causal)[0]
    read = {(0, i) for i in paths.nonzero().flatten().tolist()}
    assert painted(drawn, "shade").keys() == read
    assert painted(drawn, "paper").keys() == {(0, i) for i in range(size)}
    last = max(x for _, x in read)
    assert last == (index if causal else index + 7)
    # What is causal stands where it ends; all else in the middle.
    assert seen["column"]["stand"] == (index if causal else index + 3.5)


def test_the_side_view_draws_each_path_once(ask):
    """One line a tap on the map, of every output read on the way."""
    stack = hybrid_rates.layers((1, 2, 4))
    branches = [stack, stack[:1], ()]
    for chosen in (branches[:1], branches):
        state = state_of(20, chosen, [10, 4])
        (found,) = ask([["section", "section", [state, {"width": 600}]]])
        lines = "".join(
            re.findall(r'class="line [\w-]+" d="([^"]*)"', found["value"])
        )
        taps = 0
        for one in chosen:
            levels = gradients(20, one, 4)
            for below, window in enumerate(one):
                for place in levels[below + 1].nonzero().flatten().tolist():
                    first = place - window.padding
                    places = range(first, first + window.span, window.dilation)
                    taps += sum(0 <= i < 20 for i in places)
            taps += not one  # the input itself
        assert lines.count("M") == taps


def test_playing_goes_over_all_outputs_and_begins_again(ask):
    """From the first one if none was chosen, else from the chosen one on."""
    calls = [
        ((0, 9, False), 0),
        ((0, 9, True), 1),
        ((7, 9, True), 8),
        ((8, 9, True), 0),
        ((0, 1, True), 0),
    ]
    answers = ask([["player", "next", [*given]] for given, _ in calls])
    assert [one["value"] for one in answers] == [right for _, right in calls]
    for side, axes in ((5, 2), (7, 1)):
        numbers = range(side**axes)
        found = ask([["state", "output", [n, side, axes]] for n in numbers])
        places = [one["value"] for one in found]
        right = itertools.product(range(side), repeat=axes)
        assert places == [list(place) for place in right]
        back = ask([["state", "ordinal", [at, side]] for at in places])
        assert [one["value"] for one in back] == [*numbers]


def test_branches_are_painted_by_paths_and_by_phase(ask):
    """A pixel of some branch's row and another's column is a hole."""
    rates, at = (2, 4, 6), (16, 20)
    branches = [hybrid_rates.layers((rate,)) for rate in rates]
    ways = sum(
        torch.outer(*(gradients(33, stack, index)[0] for index in at))
        for stack in branches
    )
    read = {*map(tuple, ways.nonzero().tolist())}
    state = state_of(33, branches, at)
    options = {"width": 330, "modulus": 2}
    calls = [{**state, "show": show} for show in ("paths", "phases")]
    by_paths, by_phases = (
        found["value"]
        for found in ask([["drawing", "map", [c, options]] for c in calls])
    )
    shades = painted(by_paths, "shade")
    level = torch.ceil(8 * ways / ways.max()).int() - 1
    assert shades == {pixel: str(level[pixel].item()) for pixel in read}
    assert {*shades.values()} == {"2", "7"}  # one path, and three
    field = itertools.product(*(range(i - 6, i + 7) for i in at))
    assert painted(by_paths, "hole").keys() == {*field} - read
    assert painted(by_phases, "full phase").keys() == read


@pytest.mark.parametrize(
    ("start", "at", "filled"),
    [
        ([3, 2], [3, 6], [2, 3, 4, 5]),
        ([2, 2], [3, 6], [0, 1, 2, 3, 4, 5]),
        (None, [3, 6], []),
        ([2], [6], [2, 3, 4, 5]),
    ],
)
def test_the_side_view_shows_what_its_row_has_played(ask, start, at, filled):
    for stacks in ([hybrid_rates.layers((2,))], [(), (Window(1),)]):
        state = state_of(9, stacks, at, axes=len(at))
        options = {"width": 196, "from": start}  # 20 pixels a place
        (found,) = ask([["section", "section", [state, options]]])
        made = re.findall(r'class="made" d="([^"]*)"', found["value"])
        squares = re.findall(r"M(\S+) (\S+)h12v12", "".join(made))
        assert [round((float(x) - 12) / 20) for x, _ in squares] == filled
        assert {float(y) for _, y in squares} <= {24 - 6}  # of the output
