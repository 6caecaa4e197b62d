"""How far the chapters' results move where numbers are rounded otherwise.

`python code/tools/spread.py [NAME ...]` runs chapters again, by default
all, under each of NUMERICS, and compares with what is stored. Beside each
cell that declares a tolerance it stores the smallest one that would have
done in every run, in the metadata "spread". It never lowers what another
machine stored. A test wants a tolerance to be twice that.

A chapter in which anything else differs, a verdict or an integer, loses all
that was stored of it, and the differences are printed.
"""

import argparse
import copy
import itertools
import math
import platform
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell

from comparing import Allowed, compare, constants
from execute import CHAPTERS, chapters, run, tolerant

NUMERICS = {  # name: environment
    "SSE4.1": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
    },
    "AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_CBWR": "AVX2",
    },
    # The machine's own instructions, and first weights moved by one part in
    # a million.
    "two threads, other first weights": {
        "OMP_NUM_THREADS": "2",
        "OMP_WAIT_POLICY": "PASSIVE",  # other jobs want the cores
        "PERTURB": "1",
    },
}
# An interval and its verdict in a row of a table.
DECIDED = re.compile(r"([+-]\d+\.\d+) to ([+-]\d+\.\d+) \| (gain|loss) \|")
# Runs before the first cell: every network is moved before it is trained.
PERTURB = """\
def perturbed(fit):
    import os
    import torch

    def fit_perturbed(model, *arguments, **options):
        generator = torch.Generator().manual_seed(int(os.environ["PERTURB"]))
        with torch.no_grad():
            for parameter in model.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.mul_(1 + 1e-6 * noise.to(parameter))
        return fit(model, *arguments, **options)

    return fit_perturbed if "PERTURB" in os.environ else fit

from atrous.experiments import training
training.fit = perturbed(training.fit)
del perturbed, training"""


def measure(path: Path, numerics: str) -> tuple[list[dict], list[str]]:
    """Run a chapter once: tolerances that were needed, and what differs.

    Returns:
        "atol" and "rms", each if it is above 0, for each cell that declares
        a tolerance; and sentences on what no tolerance would have covered.
    """
    stored = nbformat.read(path, as_version=4)
    again = copy.deepcopy(stored)
    again.cells.insert(0, new_code_cell(PERTURB))
    try:
        run(again, path.parent, NUMERICS[numerics])
    except RuntimeError as error:
        return [], [str(error)]
    needs, faults = [], []
    pairs = [
        (number, a, b)
        for number, (a, b) in enumerate(
            zip(stored.cells, again.cells[1:], strict=True), start=1
        )
        if a.cell_type == "code"
    ]
    exact = constants(a for _, a, _ in pairs)
    for (number, a, b), typed in zip(pairs, exact, strict=True):
        declared = a.metadata.get("nbval", {})
        # Without limits first: what is needed is told, not what is allowed.
        found = compare(a.outputs, b.outputs, Allowed(typed=typed))
        need = {
            key: max(getattr(one, key) for one in found)
            for key in declared
            if found
        }
        covered = Allowed(
            **{k: v for k, v in need.items() if 0 < v < math.inf},
            typed=typed,
        )
        faults += [
            f"cell {number}: {one.says}"
            for one in compare(a.outputs, b.outputs, covered)
            if one.says
        ]
        if declared:
            needs.append({k: v for k, v in need.items() if v > 0})
    return needs, faults


def processor() -> str:
    """What the system says of its first processor, or nothing."""
    try:
        return Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return ""


def machine() -> str:
    """This machine's processor and its widest instructions, in words."""
    named = re.search(r"^model name\s*: (.*)", processor(), re.M)
    wide = re.findall(r"\b(avx512f|avx2)\b", processor())
    return ", ".join([named[1] if named else platform.machine(), *wide])


def store(path: Path, needs: Sequence[Sequence[dict]], runs: set[str]) -> None:
    """Write the largest tolerances needed beside the cells."""
    notebook = nbformat.read(path, as_version=4)
    for cell, *found in zip(tolerant(notebook), *needs, strict=True):
        before = cell.metadata.get("spread", {})
        cell.metadata["spread"] = {
            key: max(
                before.get(key, 0.0),
                *(round(one.get(key, 0.0), 5) for one in found),
            )
            for key in cell.metadata["nbval"]
        }
    known = set(notebook.metadata.get("spread", ()))
    notebook.metadata["spread"] = sorted(known | runs)
    nbformat.write(notebook, path)


def forget(path: Path) -> None:
    """Drop what was stored of a chapter."""
    notebook = nbformat.read(path, as_version=4)
    for part in (notebook, *notebook.cells):
        part.metadata.pop("spread", None)
    nbformat.write(notebook, path)


def close_calls(cell: nbformat.NotebookNode) -> list[str]:
    """Rows whose interval ends closer to 0 than the cell's numbers moved.

    Their verdict held in every run so far, but may not on the next machine.
    """
    seen = cell.metadata["spread"].get("atol", 0)
    tables = (o.get("data", {}).get("text/markdown", "") for o in cell.outputs)
    return [
        row
        for row in "\n".join(tables).splitlines()
        for ends in DECIDED.findall(row)
        if min(abs(float(end)) for end in ends[:2]) <= seen
    ]


def report(path: Path) -> None:
    """Print tolerances below twice what was needed, and close verdicts."""
    notebook = nbformat.read(path, as_version=4)
    for cell in tolerant(notebook):
        for key, seen in cell.metadata["spread"].items():
            declared = cell.metadata["nbval"][key]
            if declared < 2 * seen:
                line = cell.source.strip().splitlines()[0]
                print(
                    f"  {path.stem}: {key} {declared} declared, {seen} "
                    f"seen: declare {2 * seen:.2g} or more\n    {line}"
                )
        for row in close_calls(cell):
            print(
                f"  {path.stem}: decided by less than numbers moved; take "
                f"more seeds, or print it as close\n    {row}"
            )


def main() -> int:
    """Measure the chapters named on the command line; 1 if any differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--only", choices=NUMERICS, help="one of the numerics, not all"
    )
    options = parser.parse_args()
    names = options.names or chapters(CHAPTERS)
    found = {name: {} for name in names}
    wanted = [options.only] if options.only else [*NUMERICS]
    if not options.only and "avx512f" not in processor():
        wanted.remove("AVX2")  # what this machine uses anyway
    with ProcessPoolExecutor(options.jobs) as pool:
        jobs = {
            pool.submit(measure, CHAPTERS / f"{name}.ipynb", numerics): (
                name,
                numerics,
            )
            for name, numerics in itertools.product(names, wanted)
        }
        for done, job in enumerate(as_completed(jobs), start=1):
            name, numerics = jobs[job]
            found[name][numerics] = job.result()
            faults = found[name][numerics][1]
            words = f"{len(faults)} differences" if faults else "agrees"
            print(f"{done}/{len(jobs)} {name}, {numerics}: {words}")
            for fault in faults:
                print(f"  {fault}", flush=True)
    status = 0
    for name, runs in found.items():
        path = CHAPTERS / f"{name}.ipynb"
        if any(faults for _, faults in runs.values()):
            forget(path)
            status = 1
            continue
        here = {f"{numerics} on {machine()}" for numerics in runs}
        store(path, [needs for needs, _ in runs.values()], here)
        report(path)
    return status


if __name__ == "__main__":
    sys.exit(main())
