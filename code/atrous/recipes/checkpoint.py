"""The state of a run in a file that is whole at every moment.

It is written under another name, brought to the disk and then renamed, which
takes the place of the old one in one step. The one before stays beside it.
"""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

LAST, BEFORE, UNFINISHED = "last.pt", "before_last.pt", "unfinished.pt"


def save(folder: Path, state: Mapping[str, Any]) -> Path:
    """Write the state of a run; gives the file.

    If the disk is full, or the process is killed, the last whole state stays
    as it is.

    Raises:
        OSError: If it cannot be written; says which one is kept.
    """
    new, last = folder / UNFINISHED, folder / LAST
    try:
        with new.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        if last.exists():
            os.replace(last, folder / BEFORE)
        os.replace(new, last)
        _sync(folder)
    except (OSError, RuntimeError) as error:
        new.unlink(missing_ok=True)
        kept = [name for name in (LAST, BEFORE) if (folder / name).exists()]
        raise OSError(
            f"{new}: cannot be written: {_cause(error)}; kept: "
            f"{kept or 'nothing, there was none before'}"
        ) from error
    return last


def load(file: Path) -> dict[str, Any]:
    """Read the state of a run.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not whole, or something else; names the one
            before it, if there is one.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise ValueError(f"{file}: is not whole{_advice(file)}") from error
    if not isinstance(state, dict) or "iteration" not in state:
        raise ValueError(f"{file}: is no state of a run{_advice(file)}")
    return state


def find(folder: Path) -> Path | None:
    """The last state in a folder; None if there is none.

    Between the two renamings only the one before has its name.
    """
    for name in (LAST, BEFORE):
        if (folder / name).exists():
            return folder / name
    return None


def _advice(file: Path) -> str:
    before = file.with_name(BEFORE)
    if file.name == LAST and before.exists():
        return f"; --resume {before} goes on from the one before"
    return ""


def _cause(error: BaseException) -> str:
    """What the system says: torch hides it behind its own error."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return os.strerror(error.errno) if error and error.errno else "no reason"


def _sync(folder: Path) -> None:
    """Bring the names in a folder to the disk, where systems know that."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
