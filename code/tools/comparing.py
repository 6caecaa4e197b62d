"""Compare a cell's new outputs with its stored ones, and measure how far off.

Text: words and integers exactly; decimals within one unit of the last digit
printed, or within the `atol` that the cell declares. A decimal that the
code typed is no result, and is compared exactly. Pictures: by
root-mean-square difference, as a whole and tile by tile.
"""

import ast
import base64
import difflib
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from PIL import Image

# One unit of colour rounding everywhere is 1/255 = 0.004. Small tiles keep
# a single digit visible: any two of 7-point type at 72 dpi differ by 0.058
# in some tile; a curve moved by a tenth of a pixel, by 0.03.
RMS = 0.005
TILE = 8
TILE_FACTOR = 8
# Fewer digits, as of 0.5, are also those of a result by chance.
TYPED_DIGITS = 3

# The blanks before a decimal go with it, because its width may change. A
# version such as 2.13.0 is a word.
DECIMAL = re.compile(
    r"[ \t]*(?<![\w.])"
    r"([-+]?(?:\d*\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+))"
    r"(?!\.?\d)"
)
# A figure on light pages and what dark ones lay over it.
PICTURES = {"image/png", "image/vnd.dark+png"}
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass
class Allowed:
    """How far outputs may differ, and which decimals not at all."""

    atol: float = 0.0
    rms: float = RMS
    typed: frozenset[Decimal] = frozenset()


@dataclass(frozen=True)
class Difference:
    """What differs, in words, and the tolerance under which it would not.

    `atol` and `rms` are 0 where no tolerance is needed, and infinite where
    none helps: other words, another typed decimal, another size.
    """

    says: str = ""
    atol: float = 0.0
    rms: float = 0.0


def typed(source: str) -> frozenset[Decimal]:
    """Absolute values of the decimals in a cell's code, in its texts, too.

    Those with fewer than three digits are left out, and so are those of a
    cell that is no plain Python: it fails by itself, or is a magic.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return frozenset()
    found = set()
    for node in ast.walk(tree):
        value = getattr(node, "value", None)
        if not isinstance(node, ast.Constant):
            continue
        if isinstance(value, float) and math.isfinite(value):
            found.add(Decimal(repr(value)))
        elif isinstance(value, str):
            found.update(map(Decimal, DECIMAL.findall(value)))
    return frozenset(
        abs(value)
        for value in found
        if len(value.normalize().as_tuple().digits) >= TYPED_DIGITS
    )


def constants(cells: Iterable) -> Iterator[frozenset[Decimal]]:
    """Which decimals are exact in each code cell of a notebook, in order.

    All that were typed so far. Where a cell declares an `atol`, those that it
    types itself: among trained results another turns up by chance.
    """
    before = frozenset()
    for cell in cells:
        own = typed(cell.source)
        before |= own
        declared = cell.metadata.get("nbval")
        tolerant = isinstance(declared, Mapping) and "atol" in declared
        yield own if tolerant else before


def needed(stored: str, new: str, typed: frozenset[Decimal]) -> float:
    """The `atol` that two decimals, as printed, need to agree."""
    a, b = Decimal(stored), Decimal(new)
    if a == b:
        return 0.0
    if {abs(a), abs(b)} & typed:
        return math.inf
    unit = Decimal((0, (1,), a.as_tuple().exponent))
    return 0.0 if abs(a - b) <= unit else float(abs(a - b))


def needed_of_lines(stored: str, new: str, typed: frozenset[Decimal]) -> float:
    """The same for two lines; infinite if their words differ."""
    # split() alternates words with what the pattern captures, the decimals
    a, b = DECIMAL.split(stored), DECIMAL.split(new)
    words, new_words = (
        [re.sub(r"[ \t]+", " ", word) for word in line[::2]] for line in (a, b)
    )
    if words != new_words:
        return math.inf
    pairs = zip(a[1::2], b[1::2], strict=True)
    return max((needed(*pair, typed) for pair in pairs), default=0.0)


def compare_texts(stored: str, new: str, allowed: Allowed) -> Difference:
    """What differs between two texts."""
    # A column's last cell is padded to the widest, which may have changed.
    a, b = (
        [line.rstrip() for line in ANSI.sub("", text).splitlines()]
        for text in (stored, new)
    )
    atol = math.inf
    if len(a) == len(b):
        pairs = zip(a, b, strict=True)
        atol = max(
            (needed_of_lines(*pair, allowed.typed) for pair in pairs),
            default=0.0,
        )
    if atol <= allowed.atol:
        return Difference(atol=atol)
    lines = difflib.unified_diff(a, b, "stored", "now", n=0)
    return Difference("\n".join(lines) or "blank lines differ", atol)


def decode(png: str) -> np.ndarray:
    """Pixels of a base64-encoded PNG on white, (H, W, 3) from 0 to 1."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    flat = Image.alpha_composite(white, picture).convert("RGB")
    return np.asarray(flat, dtype=float) / 255


def compare_pictures(stored: str, new: str, allowed: Allowed) -> Difference:
    """What differs between two pictures."""
    a, b = decode(stored), decode(new)
    if a.shape != b.shape:
        return Difference(
            f"the picture was {a.shape[1::-1]} pixels, is {b.shape[1::-1]}",
            rms=math.inf,
        )
    square = ((a - b) ** 2).mean(axis=-1)
    height, width = square.shape
    tiles = (
        np.pad(square, ((0, -height % TILE), (0, -width % TILE)))
        .reshape(math.ceil(height / TILE), TILE, -1, TILE)
        .mean(axis=(1, 3))
    )
    whole, worst = np.sqrt([square.mean(), tiles.max()]).tolist()
    rms = max(whole, worst / TILE_FACTOR)
    if rms <= allowed.rms:
        return Difference(rms=rms if rms > RMS else 0.0)
    y, x = TILE * np.array(np.unravel_index(tiles.argmax(), tiles.shape))
    return Difference(
        f"the picture differs by {whole:.4f} (at most {allowed.rms:g}), and "
        f"by {worst:.4f} (at most {TILE_FACTOR * allowed.rms:g}) near pixel "
        f"({x}, {y})",
        rms=rms,
    )


def flatten(outputs: Iterable) -> Iterator[tuple[str, str]]:
    """Yield kind and content of each part of a cell's outputs."""
    for output in outputs:
        if output.output_type == "stream":
            yield output.name, output.text
        elif output.output_type == "error":
            yield "error", f"{output.ename}: {output.evalue}"
        else:
            yield from sorted(output.data.items())


def compare(
    stored: Iterable, new: Iterable, allowed: Allowed
) -> list[Difference]:
    """Each part of a cell's outputs compared; one entry a part.

    If the parts are not of the same kinds, one entry says so.
    """
    stored, new = list(flatten(stored)), list(flatten(new))
    before, now = ([kind for kind, _ in side] for side in (stored, new))
    if before != now:
        says = [f"the outputs were {before}, are {now}"]
        says += [text for kind, text in new if kind in ("stderr", "error")]
        return [Difference("\n".join(says), math.inf, math.inf)]
    found = []
    for (kind, a), (_, b) in zip(stored, new, strict=True):
        picture = kind in PICTURES
        one = (compare_pictures if picture else compare_texts)(a, b, allowed)
        says = one.says and f"{kind}: {one.says}"
        found.append(Difference(says, one.atol, one.rms))
    return found
