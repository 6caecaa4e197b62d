"""What of `atrous.recipes.plain_data` goes out comes back."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from atrous.recipes.plain_data import (
    differences,
    leaves,
    made,
    override,
    plain,
)


@dataclass(frozen=True)
class Inner:
    size: int
    share: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str
    pair: tuple[int, int] = (1, 2)
    words: tuple[str, ...] = ()
    inner: Inner | None = None
    either: Inner | Sequence[float] | None = None
    parts: tuple[Inner, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


WHOLE = Outer(
    "a",
    (3, 4),
    ("x", "y"),
    Inner(1),
    (0.5, 1.0),
    (Inner(2), Inner(3, 0.25)),
    {"depth": 50, "deep": {"er": [1]}},
)


def test_what_goes_to_json_comes_back():
    text = json.dumps(plain(WHOLE))
    assert made(Outer, json.loads(text)) == WHOLE
    assert made(Outer, {"name": "b"}) == Outer("b")
    assert type(made(Inner, {"size": 1, "share": 1}).share) is float


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "Outer: needs 'name'"),
        ({"name": 1}, "name=1: must be str"),
        ({"name": "a", "nome": 1}, "Outer: has no 'nome'"),
        ({"name": "a", "pair": [1]}, "pair=[1]: must be tuple[int, int]"),
        ({"name": "a", "pair": [1, 2.5]}, "pair.1=2.5: must be int"),
        ({"name": "a", "pair": [1, True]}, "pair.1=True: must be int"),
        ({"name": "a", "words": ["x", 1]}, "words.1=1: must be str"),
        ({"name": "a", "inner": {"size": "1"}}, "inner.size='1': must be int"),
        ({"name": "a", "inner": {}}, "inner: needs 'size'"),
        ({"name": "a", "inner": 3}, "inner=3: must be Inner or null"),
        ({"name": "a", "either": "x"}, "either='x': must be Inner or"),
        ({"name": "a", "options": 3}, "options=3: must be"),
        ([], "=[]: must be Outer"),
    ],
)
def test_data_that_do_not_fit_are_named(data, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        made(Outer, data)


@pytest.mark.parametrize(
    ("setting", "path", "value"),
    [
        ("name=b", "name", "b"),
        ("pair=[5, 6]", "pair", [5, 6]),
        ("pair=(5, 6)", "pair", [5, 6]),
        ("pair.1=9", "pair", [3, 9]),
        ("inner.size = 7", "inner.size", 7),
        ("inner.share=1", "inner.share", 1.0),
        ("parts.1.share=.75", "parts.1.share", 0.75),
        ("options.depth=101", "options.depth", 101),
        ("options.form=large", "options.form", "large"),
        ("options.deep.er=[2]", "options.deep.er", [2]),
    ],
)
def test_a_value_is_replaced_and_nothing_else(setting, path, value):
    changed = override(WHOLE, setting)
    assert dict(leaves(plain(changed)))[path] == value
    (different,) = differences(WHOLE, changed)
    assert different.startswith(f"{path}: ")


def test_a_part_is_replaced_as_a_whole():
    changed = override(WHOLE, 'either={"size": 8}')
    assert changed.either == Inner(8)


@pytest.mark.parametrize("value", ["null", "None"])
def test_nothing_is_a_value(value):
    assert override(WHOLE, f"inner={value}").inner is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("name", "'name': must be PATH=VALUE"),
        ("nam=b", "did you mean 'name'"),
        ("inner.siz=1", "inner.siz: no 'siz' among ['size', 'share']"),
        ("inner.size=x", "inner.size='x': must be int"),
        ("parts.2.size=1", "no '2' among ['0', '1']"),
        ("parts.x=1", "no 'x' among ['0', '1']"),
        ("name.x=1", "name.x: 'a' has no 'x' in it"),
        ("options.dep.x=1", "no 'dep' among ['depth', 'deep']"),
    ],
)
def test_wrong_settings_are_named(setting, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        override(WHOLE, setting)


def test_differences_are_named_by_path():
    changed = override(override(WHOLE, "options.depth=18"), "parts.0.size=9")
    assert differences(WHOLE, changed) == [
        "parts.0.size: 2 and 9",
        "options.depth: 50 and 18",
    ]
    assert differences(WHOLE, WHOLE) == []
    assert differences(WHOLE, override(WHOLE, "options.new=1")) == [
        "options.new: None and 1"
    ]
