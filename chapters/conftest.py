"""What `pytest --nbval chapters` checks beyond plain nbval.

Text: words and integers exactly, decimals within a tolerance. Pictures: by
root-mean-square difference, as a whole and tile by tile. Cells that were
never run, warnings, stored errors and hidden outputs fail. So does the
session when a notebook exceeds its budget of time or memory.
"""

import base64
import contextlib
import difflib
import io
import json
import math
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from nbval.plugin import (
    IPyNbCell,
    IPyNbFile,
    comment_markers,
    metadata_tags,
)
from PIL import Image

BUDGET_SECONDS = 120.0
BUDGET_GIB = 4.0
RTOL = Decimal("1e-3")
# One unit of colour rounding everywhere is 1/255 = 0.004. Small tiles keep
# a single digit visible: any two of 7-point type at 72 dpi differ by 0.058
# in some tile; a curve moved by a tenth of a pixel, by 0.03.
RMS = 0.005
TILE = 8
TILE_FACTOR = 8

ALLOWED = {
    "stdout",
    "text/plain",
    "text/html",
    "text/markdown",
    "text/latex",
    "image/png",
}
# The blanks before a decimal go with it, because its width may change. A
# version such as 2.13.0 is a word.
DECIMAL = re.compile(
    r"[ \t]*(?<![\w.])"
    r"([-+]?(?:\d*\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+))"
    r"(?!\.?\d)"
)
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def close(stored, new, atol=0.0):
    """Whether two decimals, as printed, agree."""
    a, b = Decimal(stored), Decimal(new)
    unit = Decimal((0, (1,), a.as_tuple().exponent))
    return abs(a - b) <= max(RTOL * abs(a), unit, Decimal(str(atol)))


def same_line(stored, new, atol=0.0):
    # split() alternates words with what the pattern captures, the decimals
    a, b = DECIMAL.split(stored), DECIMAL.split(new)
    words, new_words = (
        [re.sub(r"[ \t]+", " ", word) for word in line[::2]] for line in (a, b)
    )
    return words == new_words and all(
        map(close, a[1::2], b[1::2], [atol] * len(a))
    )


def text_difference(stored, new, atol=0.0):
    """What differs between two texts, or an empty string."""
    # A column's last cell is padded to the widest, which may have changed.
    a, b = (
        [line.rstrip() for line in ANSI.sub("", text).splitlines()]
        for text in (stored, new)
    )
    if len(a) == len(b) and all(map(same_line, a, b, [atol] * len(a))):
        return ""
    return "\n".join(difflib.unified_diff(a, b, "stored", "now", n=0))


def decode(png):
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    flat = Image.alpha_composite(white, picture).convert("RGB")
    return np.asarray(flat, dtype=float) / 255


def picture_difference(stored, new, rms=RMS):
    """What differs between two pictures, or an empty string."""
    a, b = decode(stored), decode(new)
    if a.shape != b.shape:
        return f"the picture was {a.shape[1::-1]} pixels, is {b.shape[1::-1]}"
    square = ((a - b) ** 2).mean(axis=-1)
    height, width = square.shape
    tiles = (
        np.pad(square, ((0, -height % TILE), (0, -width % TILE)))
        .reshape(math.ceil(height / TILE), TILE, -1, TILE)
        .mean(axis=(1, 3))
    )
    whole, worst = np.sqrt([square.mean(), tiles.max()])
    if whole <= rms and worst <= TILE_FACTOR * rms:
        return ""
    y, x = TILE * np.array(np.unravel_index(tiles.argmax(), tiles.shape))
    return (
        f"the picture differs by {whole:.4f} (at most {rms:g}), and by "
        f"{worst:.4f} (at most {TILE_FACTOR * rms:g}) near pixel ({x}, {y})"
    )


def flatten(outputs):
    for output in outputs:
        if output.output_type == "stream":
            yield output.name, output.text
        elif output.output_type == "error":
            yield "error", f"{output.ename}: {output.evalue}"
        else:
            yield from sorted(output.data.items())


def differences(stored, new, atol=0.0, rms=RMS):
    """Yield what differs between the stored and the new outputs of a cell."""
    stored, new = list(flatten(stored)), list(flatten(new))
    before, now = ([kind for kind, _ in side] for side in (stored, new))
    if before != now:
        yield f"the outputs were {before}, are {now}"
        yield from (text for kind, text in new if kind in ("stderr", "error"))
        return
    for (kind, a), (_, b) in zip(stored, new, strict=True):
        if kind == "image/png":
            difference = picture_difference(a, b, rms)
        else:
            difference = text_difference(a, b, atol)
        if difference:
            yield f"{kind}: {difference}"


def bad_numbers(declared, allowed):
    """Yield what is wrong with a metadata mapping of names to numbers."""
    if not isinstance(declared, dict):
        yield f"metadata {declared!r} is not a mapping"
        return
    for name, value in declared.items():
        number = isinstance(value, int | float) and value is not True
        if name not in allowed or not number or not 0 < value < math.inf:
            yield (
                f"metadata {name}: {value!r}; "
                f"want {' or '.join(allowed)} and a positive number"
            )


def faults(cell):
    """Yield what is wrong with a stored cell, whatever a new run gives."""
    tags = set(cell.metadata.get("tags", ()))
    markers = {name for name in comment_markers if name in cell.source}
    markers |= tags & (metadata_tags.keys() - {"raises-exception"})
    for name in sorted(markers):
        yield f"the marker {name} is not allowed"
    yield from bad_numbers(cell.metadata.get("nbval", {}), ("atol", "rms"))
    if cell.source.strip() and cell.execution_count is None:
        yield "the cell was never run"
    allowed = ALLOWED | ({"error"} if "raises-exception" in tags else set())
    for kind, content in flatten(cell.outputs):
        if kind not in allowed:
            yield f"a stored {kind} is not allowed: {content}"


class Cell(IPyNbCell):
    def runtest(self):
        found = list(faults(self.cell))
        # A faulty cell runs too: the cells below it need its names.
        tags = self.cell.metadata.get("tags", ())
        self.options = {
            "check": not found,
            "check_exception": "raises-exception" in tags,
            "skip": False,
        }
        try:
            super().runtest()
        finally:
            self.user_properties += [
                ("budget", self.parent.budget),
                ("gib", self.parent.peak_gib()),
            ]
        if found:
            self.raise_cell_error("\n".join(found))

    def compare_outputs(self, test, ref, skip_compare=None):
        declared = self.cell.metadata.get("nbval", {})
        self.comparison_traceback = list(differences(ref, test, **declared))
        return not self.comparison_traceback


class Chapter(IPyNbFile):
    def collect(self):
        for item in super().collect():
            yield Cell.from_parent(
                self,
                name=item.name,
                cell_num=item.cell_num,
                cell=item.cell,
                options=item.options,
            )
        book = self.nb.metadata.get("book", {})
        if found := list(bad_numbers(book, ("budget_seconds",))):
            raise self.CollectError(f"{self.path.name}: {found[0]}")
        self.budget = book.get("budget_seconds", BUDGET_SECONDS)

    def setup(self):
        threads = os.environ.get("OMP_NUM_THREADS", "1")
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("OMP_NUM_THREADS", threads)
            environment.setenv("TQDM_DISABLE", "1")
            # Where this is set, ipykernel misses what C code prints.
            environment.delenv("PYTEST_CURRENT_TEST", raising=False)
            super().setup()
        self.pid = self.kernel.km.provisioner.pid

    def peak_gib(self):
        """Peak resident memory of the kernel, nan where it cannot be read."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return math.nan
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        return int(peak[1]) / 2**20 if peak else math.nan


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    collectors = yield
    return [
        Chapter.from_parent(parent, path=file_path)
        if isinstance(collector, IPyNbFile)
        else collector
        for collector in collectors
    ]


@dataclass
class Cost:
    seconds: float = 0.0
    gib: float = 0.0
    budget: float = BUDGET_SECONDS

    def is_over(self):
        return self.seconds > self.budget or self.gib > BUDGET_GIB


costs = defaultdict(Cost)


def pytest_addoption(parser):
    parser.addoption(
        "--store-costs",
        action="store_true",
        help="write what the chapters took to chapters/costs.json",
    )


def device():
    """CPU or GPU, as the chapters choose it, and the machine's name."""
    import torch  # seconds, which other runs need not spend

    found = torch.accelerator.current_accelerator(check_available=True)
    if found is not None and found.type == "cuda":
        return "GPU", torch.cuda.get_device_name()
    model = "one CPU"
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
        if named := re.search(r"^model name\s*: (.*)", text, re.M):
            model = named[1]
    return "CPU", f"one of {os.cpu_count()} cores, {model}"


def store(path):
    """Add this run's costs to those of other chapters and devices.

    Raises:
        OSError: If this machine does not tell what memory was used.
    """
    if any(math.isnan(cost.gib) for cost in costs.values()):
        raise OSError("memory: not told by this machine, nothing stored")
    stored = json.loads(path.read_text()) if path.exists() else {}
    kind, machine = device()
    for notebook, cost in costs.items():
        stored.setdefault(kind, {})[Path(notebook).stem] = {
            "seconds": round(cost.seconds),
            "gib": round(cost.gib, 1),
            "machine": machine,
        }
    path.write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n")


# Under pytest-xdist, only reports reach the process that sums them up.
def pytest_runtest_logreport(report):
    notebook = report.nodeid.partition("::")[0]
    if notebook.endswith(".ipynb"):
        cost = costs[notebook]
        cost.seconds += report.duration
        vars(cost).update(report.user_properties)


def pytest_sessionfinish(session):
    if session.exitstatus == 0 and any(c.is_over() for c in costs.values()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    if config.getoption("--store-costs") and exitstatus == 0:
        store(Path(__file__).with_name("costs.json"))
    if costs:
        terminalreporter.section("time and memory")
    for notebook, cost in sorted(costs.items()):
        memory = f"{cost.gib:.2f} of {BUDGET_GIB:g} GiB"
        if math.isnan(cost.gib):
            memory = "MEMORY NOT MEASURED"
        terminalreporter.line(
            f"{notebook}: {cost.seconds:.1f} of {cost.budget:g} s, {memory}"
            f"{'  OVER BUDGET' if cost.is_over() else ''}"
        )
