"""Frozen dataclasses to plain data and back, and one value replaced by path.

Plain data are what JSON holds: mappings, lists, numbers, words, true, false
and null. Type hints say what comes back, so a wrong value is found when it
is read and not when it is used.
"""

import ast
import dataclasses
import difflib
import json
import math
import types
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Made = TypeVar("Made")


def leaves(data: Any, path: str = "") -> list[tuple[str, Any]]:
    """Paths and values of all that is no mapping, nor a list of mappings."""
    if isinstance(data, Mapping) and data:
        items = data.items()
    elif isinstance(data, list | tuple) and any(
        isinstance(value, Mapping) for value in data
    ):
        items = enumerate(data)
    else:
        return [(path, data)]
    return [
        leaf
        for key, value in items
        for leaf in leaves(value, _join(path, key))
    ]


def made(hint: Any, data: Any, path: str = "") -> Any:
    """Make what a type hint says of plain data.

    Args:
        hint: A dataclass, int, float, str, bool, None, Any, a tuple,
            sequence or mapping of these, or a union.
        data: Plain data; tuples pass for lists.
        path: Where the data stand, for errors.

    Raises:
        ValueError: If they do not fit; names the path, the value and the
            hint.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return data
    if origin in (Union, types.UnionType):
        return _one_of(arguments, data, path)
    if dataclasses.is_dataclass(hint) and isinstance(data, Mapping):
        return _dataclass(hint, data, path)
    if origin in (tuple, Sequence) and isinstance(data, list | tuple):
        if origin is Sequence or arguments[1:] == (...,):
            arguments = arguments[:1] * len(data)
        if len(data) == len(arguments):
            parts = enumerate(zip(arguments, data, strict=True))
            return tuple(made(a, x, _join(path, i)) for i, (a, x) in parts)
    elif origin is Mapping and isinstance(data, Mapping):
        return dict(data)
    elif hint is float and type(data) is int:
        return float(data)
    elif hint is float and type(data) is float and not math.isfinite(data):
        pass  # JSON knows no NaN and no infinity, and Python's reader does
    elif type(data) is hint:
        return data
    elif hint is type(None) and data is None:
        return None
    raise ValueError(f"{path}={data!r}: must be {_word(hint)}")


def override(recipe: Made, setting: str) -> Made:
    """Replace one value of a dataclass: "optimiser.lr=0.01".

    Elements of a tuple are named by their number, "optimiser.rules.0.lr=5".
    The value is read as JSON, then as Python, and else as a word. A mapping
    takes new names too; a dataclass does not.

    Raises:
        ValueError: If there is no "=", no such path (a near one is named),
            or the value does not fit.
    """
    path, sign, text = setting.partition("=")
    path = path.strip()
    if not sign:
        raise ValueError(f"{setting!r}: must be PATH=VALUE")
    data = _replaced(recipe, path.split("."), _value(text.strip()), path)
    return made(type(recipe), data)


def plain(value: Any) -> Any:
    """Plain data of a tree of dataclasses, tuples and mappings."""
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def differences(first: Any, second: Any) -> list[str]:
    """Paths at which two trees differ, each with both values."""
    pairs = dict(leaves(plain(first))), dict(leaves(plain(second)))
    paths = [*pairs[0], *(path for path in pairs[1] if path not in pairs[0])]
    return [
        f"{path}: {pairs[0].get(path)!r} and {pairs[1].get(path)!r}"
        for path in paths
        if pairs[0].get(path) != pairs[1].get(path)
    ]


def _replaced(value: Any, path: list[str], new: Any, whole: str) -> Any:
    """Plain data of a value in which what stands at a path is new."""
    if not path:
        return new
    name, *rest = path
    data, known = plain(value), None
    if dataclasses.is_dataclass(value):
        known = [field.name for field in dataclasses.fields(value)]
        inner = getattr(value, name, None) if name in known else None
    elif isinstance(value, Mapping):
        inner = value.get(name)
        known = [*value] if rest and name not in value else None
    elif isinstance(value, list | tuple):
        known = [str(i) for i in range(len(value))]
        inner = value[int(name)] if name in known else None
    else:
        raise ValueError(f"{whole}: {value!r} has no {name!r} in it")
    if known is not None and name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]!r}" if close else ""
        raise ValueError(f"{whole}: no {name!r} among {known}{hint}")
    place = int(name) if isinstance(data, list) else name
    data[place] = _replaced(inner, rest, new, whole)
    return data


def _value(text: str) -> Any:
    """What a text says as JSON or as Python; itself if as neither."""
    for read in (json.loads, ast.literal_eval):
        try:
            return plain(read(text))
        except (ValueError, SyntaxError):
            continue
    return text


def _one_of(hints: Sequence[Any], data: Any, path: str) -> Any:
    """The first of several hints that the data fit."""
    for hint in hints:
        try:
            return made(hint, data, path)
        except ValueError as error:
            # What is wrong inside a mapping says more than that the other
            # hints are no mappings.
            if dataclasses.is_dataclass(hint) and isinstance(data, Mapping):
                raise
            last = error
    words = " or ".join(_word(hint) for hint in hints)
    raise ValueError(f"{path}={data!r}: must be {words}") from last


def _dataclass(kind: type, data: Mapping, path: str) -> Any:
    """A dataclass from a mapping of its fields."""
    hints = get_type_hints(kind)
    fields = dataclasses.fields(kind)
    names = [field.name for field in fields]
    missing = [
        field.name
        for field in fields
        if field.name not in data
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    unknown = [name for name in data if name not in names]
    for word, wrong in (("has no", unknown), ("needs", missing)):
        if wrong:
            raise ValueError(
                f"{path or kind.__name__}: {word} {wrong[0]!r}; {names}"
            )
    values = {n: made(hints[n], data[n], _join(path, n)) for n in data}
    return kind(**values)


def _join(path: str, name: str | int) -> str:
    return f"{path}.{name}" if path else str(name)


def _word(hint: Any) -> str:
    """A type hint in a word: its name, or what it looks like."""
    if hint is type(None):
        return "null"
    return hint.__name__ if get_origin(hint) is None else str(hint)
