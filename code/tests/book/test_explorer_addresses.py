"""The explorer's state and its address say the same."""

import random

import pytest
from explorer_calls import (
    answer,
    causal_side,
    one_sided,
    plain,
    random_stacks,
    state_of,
)

from atrous.arithmetic import Window, output_size
from atrous.gridding import hybrid_rates


def states(start):
    """Yield states that the page can have, settled."""
    draw = random.Random(11)
    for size, stack, channels in random_stacks():
        if not 0 < len(stack) <= 6 or size < 2:
            continue
        axes = draw.choice((1, 2))
        causal = axes == 1 and draw.random() < 0.5
        layers = one_sided(stack) if causal else plain(stack)
        side = causal_side(size, stack) if causal else None
        if not causal:
            side = answer(output_size, size, stack).get("value", 0)
        number = draw.choice((1, 1, 2, 3))
        shown = ("paths", "phases", "branches")[: 2 + (number > 1)]
        yield {
            **start,
            "branches": [layers] * number,
            "axes": axes,
            "size": size,
            "at": [draw.randrange(side) for _ in range(axes)]
            if side
            else None,
            "channels": channels,
            "show": draw.choice(shown),
            "branch": draw.randint(1, number),
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
    assert any("|" in text and "axes=1" in text for text in texts)
    found = ask([["state", "parse", [f"#{text}"]] for text in texts])
    for state, parsed in zip(given, found, strict=True):
        assert parsed["value"] == {"state": state, "problems": []}


def test_addresses_of_branches_and_sequences(ask):
    """As a person writes them, in any order and with the bar encoded."""
    texts = [
        "layers=k3r6p6|k3r12p12|k1&size=33&show=branches",
        "size=33&show=branches&layers=k3r6p6%7Ck3r12p12%7ck1",
        "size=1000&layers=k2c1-k2r2c2&axes=1&at=999",
        "layers=k3||k1&size=9",
    ]
    first, second, third, fourth = (
        found["value"]
        for found in ask([["state", "parse", [t]] for t in texts])
    )
    six, twelve = (hybrid_rates.layers((rate,)) for rate in (6, 12))
    branches = [plain(six), plain(twelve), plain([Window(1)])]
    assert first == second
    assert first["state"]["branches"] == branches
    past = [Window(2, 1, 1, 1), Window(2, 1, 2, 2)]
    assert third["state"]["branches"] == [one_sided(past)]
    assert (third["state"]["at"], third["problems"]) == ([999], [])
    middle = fourth["state"]["branches"][1]
    assert middle == []  # it hands the input on


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
        ("axes=3", "1 to 2"),
        ("layers=k3r6|k0", "layer 1 cannot be"),
        ("layers=k3q2", "layer 1 cannot be"),
        ("layers=k2p1c1", "layer 1 cannot be"),
        ("layers=" + "|".join(["k1"] * 9), "at most 8 branches"),
        ("show=branches", "does not have"),
        ("branch=2", "does not have"),
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


def test_padding_that_keeps_the_size_does_so_in_every_form(ask):
    """Any other padding stays; a sequence may be longer than an image."""
    kept, other = Window(3, 1, 4, 4), Window(3, 1, 4, 1)
    image = state_of(33, [[kept, other]], [3, 4])
    (made,) = ask([["state", "reform", [image, "causal"]]])
    causal = made["value"]
    assert causal["branches"][0] == one_sided(
        [Window(3, 1, 4, 8), Window(3, 1, 4, 1)]
    )
    assert (causal["axes"], causal["at"]) == (1, None)
    long = {**causal, "size": 3000}
    names = ("image", "sequence", "causal")
    found = ask([["state", "reform", [long, name]] for name in names])
    back, line, same = (one["value"] for one in found)
    assert (back["axes"], back["size"]) == (2, 257)
    assert back["branches"] == line["branches"] == image["branches"]
    assert (line["axes"], line["size"], same) == (1, 3000, long)
    forms = ask([["state", "form", [one]] for one in (back, line, same)])
    assert [one["value"] for one in forms] == [*names]
