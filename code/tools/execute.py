"""Run chapters in fresh kernels and store their outputs beside the text.

`python code/tools/execute.py [NAME ...]` runs chapters/NAME.md, by default
every chapter, and writes chapters/NAME.ipynb. A chapter in which a cell
raises or writes to stderr is not stored. What `spread.py` measured stays in
the notebook as long as its results do.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import jupytext
import nbformat
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, NbvalKernelspecManager

from comparing import Allowed, compare
from notebooks import edition

CHAPTERS = Path(__file__).resolve().parents[2] / "chapters"


def chapters(folder: Path) -> list[str]:
    """Names of the files in `folder` that jupytext knows as MyST notebooks."""
    names = []
    for path in sorted(folder.glob("*.md")):
        header = jupytext.read(path).metadata.get("jupytext", {})
        text = header.get("text_representation", {})
        if text.get("format_name") == "myst":
            names.append(path.stem)
    return names


def run(
    notebook: nbformat.NotebookNode,
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Fill in the outputs of a notebook, in place, by a new kernel.

    The kernel is of this environment, as nbval's is, and runs in `folder`,
    with further environment variables if any are given. What changes from
    run to run or between machines is left out.

    Raises:
        RuntimeError: If a cell without the tag raises-exception raises, or
            if a cell writes to stderr; names the cell.
    """
    manager = AsyncKernelManager(
        kernel_name=CURRENT_ENV_KERNEL_NAME,
        kernel_spec_manager=NbvalKernelspecManager(),
    )
    client = NotebookClient(
        notebook,
        km=manager,
        resources={"metadata": {"path": str(folder)}},
        coalesce_streams=True,
        record_timing=False,
    )
    environment = {
        "OMP_NUM_THREADS": "1",
        **os.environ,
        **(environment or {}),
        "TQDM_DISABLE": "1",
    }
    with contextlib.suppress(CellExecutionError):  # its cell is named below
        # The kernel's own log goes to stderr, what cells write does not.
        client.execute(
            cleanup_kc=True, env=environment, stderr=subprocess.DEVNULL
        )
    notebook.metadata.pop("language_info", None)
    for cell in notebook.cells:
        allowed = "raises-exception" in cell.metadata.get("tags", ())
        for output in cell.get("outputs", ()):
            if output.output_type == "error":
                message = f"{output.ename}: {output.evalue}"
                if not allowed:
                    raise RuntimeError(f"{cell.id}: {message}\n{cell.source}")
                # The rest of a traceback names this machine's files.
                output.traceback = [message]
            elif output.get("name") == "stderr":
                raise RuntimeError(
                    f"{cell.id}: stderr: {output.text}\n{cell.source}"
                )


def tolerant(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Cells of a notebook that declare a tolerance."""
    return [cell for cell in notebook.cells if "nbval" in cell.metadata]


def keep_spread(
    notebook: nbformat.NotebookNode, before: nbformat.NotebookNode
) -> None:
    """Take over what `spread.py` measured, if all results still agree.

    Results that moved by more than their tolerance are others, and how far
    those move has not been measured.
    """
    new, old = tolerant(notebook), tolerant(before)
    if len(new) != len(old) or any(
        difference.says
        for a, b in zip(old, new, strict=True)
        for difference in compare(
            a.outputs, b.outputs, Allowed(**b.metadata["nbval"])
        )
    ):
        return
    for a, b in ((before, notebook), *zip(old, new, strict=True)):
        if "spread" in a.metadata:
            b.metadata["spread"] = a.metadata["spread"]


def execute(name: str, folder: Path = CHAPTERS) -> None:
    """Write `folder`/NAME.ipynb from NAME.md; on an error, leave it alone.

    Raises:
        RuntimeError: As `run` does.
    """
    path = folder / f"{name}.ipynb"
    notebook = edition(name, jupytext.read(folder / f"{name}.md"))
    run(notebook, folder)
    if path.exists():
        keep_spread(notebook, nbformat.read(path, as_version=4))
    nbformat.write(notebook, path)


def main() -> int:
    """Run the chapters named on the command line; 1 if any was not stored."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    names = parser.parse_args().names or chapters(CHAPTERS)
    status = 0
    for name in names:
        start = time.perf_counter()
        try:
            execute(name)
        except RuntimeError as error:
            print(f"{name}: not stored: {error}", file=sys.stderr)
            status = 1
        else:
            print(f"{name}: {time.perf_counter() - start:.1f} s", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
