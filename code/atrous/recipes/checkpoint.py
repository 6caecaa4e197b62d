"""The state of a run in a file that is whole at every moment.

It is written under another name, brought to the disk and then renamed, which
takes the place of the old one in one step. The one before stays beside it.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from atrous.recipes.files import need_folder
from atrous.recipes.plain_data import differences
from atrous.recipes.recipe import Recipe, from_json

try:
    import fcntl
except ImportError:  # on Windows, where two runs are not told apart
    fcntl = None

LOCK = "lock"
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
    except Exception as error:  # torch has many for what is cut off
        raise ValueError(f"{file}: is not whole{_advice(file)}") from error
    if not isinstance(state, dict) or "iteration" not in state:
        raise ValueError(f"{file}: is no state of a run{_advice(file)}")
    return state


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep a folder for this process, while it lasts.

    Two runs in one folder would write over each other's states: by mistake,
    or where torchrun was killed and its processes have not noticed yet. The
    system takes the claim back when the process ends, in whatever way.

    Raises:
        BlockingIOError: If another process has it.
        OSError: If the folder cannot be made or written to.
    """
    need_folder("out", folder)
    with (folder / LOCK).open("a") as file:
        try:
            if fcntl:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # Some file systems have no locks: there, too, runs are not told
            # apart.
            if isinstance(error, BlockingIOError | PermissionError):
                raise BlockingIOError(
                    f"{folder}: another run is writing to it; wait until it "
                    "has ended, or take another folder by --out"
                ) from error
        yield


def find(folder: Path) -> Path | None:
    """The last state in a folder; None if there is none.

    Between the two renamings only the one before has its name.
    """
    for name in (LAST, BEFORE):
        if (folder / name).exists():
            return folder / name
    return None


def check(
    state: Mapping[str, Any], file: Path, recipe: Recipe, seed: int, items: int
) -> None:
    """Refuse the state of a run that would not go on as it began.

    Args:
        state: As it was loaded.
        file: Where it is from, for the error.
        recipe: What is to be trained.
        seed: Of the run.
        items: Pictures in its data set.

    Raises:
        ValueError: If one of these was another; says which, and both values.
    """
    found = from_json(state["recipe"])
    about = {
        "recipe": differences(dict(found.values()), dict(recipe.values())),
        "seed": differences(state["seed"], seed),
        "pictures": differences(state["items"], items),
    }
    for what, different in about.items():
        if different:
            raise ValueError(
                f"{file}: was saved with another {what}, {different[:3]}; "
                "take another folder by --out, or what was trained as "
                "initial weights by --init"
            )


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
