"""Files that a reader names: they are there, and they are written whole."""

import contextlib
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image


def need_file(argument: str, file: Path | None) -> None:
    """Make sure that a file is there, before time is spent on others.

    Args:
        argument: What the reader calls it, for the error.
        file: None, which is fine, where it may be left out.

    Raises:
        FileNotFoundError: If there is no such file, or a folder.
    """
    if file is not None and not file.is_file():
        found = "is a folder" if file.is_dir() else "there is no such file"
        raise FileNotFoundError(f"{argument}={file}: {found}; name a file")


def need_folder(argument: str, folder: Path) -> None:
    """Make a folder, and make sure that it can be written to.

    Args:
        argument: What the reader calls it, for the error.
        folder: Made with those around it if it is not there.

    Raises:
        OSError: If not; says why.
    """
    reason = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        reason = "is a file"
    except OSError as error:
        reason = f"cannot be made: {error.strerror}"
    if reason is None and not os.access(folder, os.W_OK):
        reason = "cannot be written to"
    if reason is not None:
        raise OSError(f"{argument}={folder}: {reason}; name another folder")


def write_whole(file: Path, content: str | bytes) -> None:
    """Write a file that is whole at every moment, the old one or the new.

    Raises:
        OSError: If it cannot be written; what was there before stays.
    """
    content = content.encode() if isinstance(content, str) else content
    new = file.with_name(f"{file.name}.unfinished")
    try:
        new.write_bytes(content)
        os.replace(new, file)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise unwritten(file, error) from error


def unwritten(file: Path, error: OSError) -> OSError:
    """What to raise where a file cannot be written."""
    return OSError(
        f"{file}: cannot be written: {error.strerror or error}; what was "
        "there before is kept"
    )


def png(picture: Image.Image | np.ndarray) -> bytes:
    """What a PNG file of a picture holds; of uint8 (H, W) or (H, W, 3)."""
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
