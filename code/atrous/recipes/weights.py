"""The command `weights`: which files are released, and getting one of them."""

import argparse
import hashlib
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from atrous.recipes.files import need_folder
from atrous.recipes.released import RELEASED, Released, released

HELP = "list released weights, or get a file of them"
DESCRIPTION = """Without a word: list the files that the authors have released,
with the network that each is for. `weights get NAME` downloads one. Addresses
are as printed by their authors, and were not tried for this book."""
BLOCK = 1 << 16  # bytes read at a time
SECONDS = 30  # without an answer


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = DESCRIPTION
    add = parser.add_argument
    add("action", nargs="?", choices=["list", "get"], default="list")
    add("name", nargs="?", help="of a file, for get")
    add("--out", type=Path, default=Path(), help="folder (default: this one)")


def run(given: argparse.Namespace) -> None:
    """List the files, or get one.

    Raises:
        ValueError: If the name is unknown or missing, or the file is not the
            one that its name says.
        OSError: If it cannot be had, or written; what was had stays.
    """
    if given.action == "list":
        sys.stdout.write("\n\n".join(map(about, RELEASED)) + "\n")
        return
    if given.name is None:
        raise ValueError(f"name: must be one of {[*RELEASED]}")
    sys.stdout.write(about(given.name) + "\n")
    file, digest = get(released(given.name), given.out)
    sys.stdout.write(f"{file}: {file.stat().st_size:,} bytes, {digest}\n")


def about(name: str) -> str:
    """What is known of a released file, in lines."""
    found = released(name)
    options = "".join(f", {k}={v!r}" for k, v in found.options.items())
    hashed = (
        f"sha256 begins with {found.digest}" if found.digest else "no hash"
    )
    size = f"{found.size:,} bytes" if found.size else "size not known"
    reads = "" if found.readable else "; this package cannot read its format"
    return "\n  ".join(
        [
            f"{name}: build({found.network!r}{options}){reads}",
            found.address,
            f"{size}, {hashed}, licence {found.licence or 'not stated'}",
            f"published: {found.score or 'no score with the file'}",
        ]
    )


def get(chosen: Released, folder: Path) -> tuple[Path, str]:
    """Download a file, or what is missing of it, and check its hash.

    It grows under its name with .part behind it, and has its own once it is
    whole and right. A file that is there already is only checked.

    Args:
        chosen: Which.
        folder: Where to put it; made if it is not there.

    Returns:
        The file, and its SHA-256.

    Raises:
        ValueError: If its SHA-256 does not begin as its name says; it is
            taken away, so that the next try begins anew.
        OSError: If the server cannot be reached or breaks off. What has come
            stays, and the next try goes on from there.
    """
    need_folder("out", folder)
    file = folder / chosen.file
    part = file.with_name(f"{file.name}.part")
    if not file.exists():
        _fetch(chosen.address, part)
    found = _sha256(file if file.exists() else part)
    if not found.startswith(chosen.digest):
        (file if file.exists() else part).unlink()
        raise ValueError(
            f"{chosen.address}: sha256 is {found}, and should begin with "
            f"{chosen.digest}; the file was removed"
        )
    if not file.exists():
        part.replace(file)
    return file, found


def _fetch(address: str, part: Path) -> None:
    """Append to a file what it lacks of an address."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address)
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            on = answer.status == 206  # else it starts anew
            rest = answer.headers.get("Content-Length")
            total = int(rest) + (have if on else 0) if rest else None
            have = have if on else 0
            with part.open("ab" if on else "wb") as file:
                _copy(answer, file, have, total)
    except urllib.error.HTTPError as error:
        if have and error.code == 416:  # nothing is missing
            return
        raise OSError(f"{address}: {error}") from error
    except OSError as error:
        raise OSError(f"{address}: {error}; {part} is kept") from error
    if total is not None and part.stat().st_size < total:
        raise OSError(
            f"{address}: broke off after {part.stat().st_size:,} of {total:,} "
            f"bytes; {part} is kept, and the next try goes on from there"
        )


def _copy(answer, file, have: int, total: int | None) -> None:
    with tqdm(
        total=total, initial=have, unit="B", unit_scale=True, disable=None
    ) as bar:
        while block := answer.read(BLOCK):
            file.write(block)
            bar.update(len(block))


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
