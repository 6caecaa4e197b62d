"""What `pytest --nbval chapters` checks beyond plain nbval.

`code/tools/comparing.py` compares the outputs. Cells that were never run,
warnings, stored errors and hidden outputs fail, and so does the session when
a notebook exceeds its budget of memory. Time is reported and fails nothing.
"""

import contextlib
import json
import math
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest
from nbval.plugin import (
    IPyNbCell,
    IPyNbFile,
    comment_markers,
    metadata_tags,
)

from comparing import PICTURES, Allowed, compare, constants, flatten

BUDGET_SECONDS = 120.0
BUDGET_GIB = 4.0

ALLOWED = {
    "stdout",
    "text/plain",
    "text/html",
    "text/markdown",
    "text/latex",
    *PICTURES,
}


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
        allowed = Allowed(**declared, typed=self.typed)
        found = compare(ref, test, allowed)
        self.comparison_traceback = [one.says for one in found if one.says]
        return not self.comparison_traceback


class Chapter(IPyNbFile):
    def collect(self):
        items = list(super().collect())
        exact = constants(item.cell for item in items)
        for item, typed in zip(items, exact, strict=True):
            cell = Cell.from_parent(
                self,
                name=item.name,
                cell_num=item.cell_num,
                cell=item.cell,
                options=item.options,
            )
            cell.typed = typed
            yield cell
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

    cells: int = 0

    def is_slow(self):
        return self.seconds > self.budget

    def is_large(self):
        return self.gib > BUDGET_GIB


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
        cost.cells += report.when == "call"
        vars(cost).update(report.user_properties)


class Progress:
    """Says which chapters run, as soon as their first cells do."""

    def __init__(self, config):
        self.plugins = config.pluginmanager
        self.seen = set()

    def pytest_runtest_logstart(self, nodeid):
        notebook = nodeid.partition("::")[0]
        if notebook.endswith(".ipynb") and notebook not in self.seen:
            self.seen.add(notebook)
            reporter = self.plugins.get_plugin("terminalreporter")
            reporter.ensure_newline()
            reporter.write_line(f"{notebook}: running")


def pytest_configure(config):
    if not hasattr(config, "workerinput"):  # not in a worker of xdist
        config.pluginmanager.register(Progress(config))


def pytest_sessionfinish(session):
    if session.exitstatus == 0 and any(c.is_large() for c in costs.values()):
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
        elif cost.is_large():
            memory += "  OVER BUDGET"
        terminalreporter.line(
            f"{notebook}: {cost.cells} cells, {cost.seconds:.1f} of "
            f"{cost.budget:g} s{' (slow)' * cost.is_slow()}, {memory}"
        )
