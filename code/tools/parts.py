"""Run several targets of make, whatever becomes of each, and sum up.

`python code/tools/parts.py lint book ...` runs one after the other, prints
how long each usually takes on this machine before it starts, and ends with
a line for each: passed or FAILED, and its time.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

# Beside what is installed: `make clean` forgets it, too.
TIMES = Path(sys.prefix) / "times-of-parts.json"
UNKNOWN = (
    "Not run on this machine before. On two cores all of `make test` takes "
    "from 12 to 40 minutes."
)


def clock(seconds: float) -> str:
    """A duration as minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s"


def usual(targets: list[str], before: dict[str, float]) -> str:
    """A sentence on how long these targets took the last time."""
    if not all(target in before for target in targets):
        return UNKNOWN
    parts = ", ".join(f"{t} {clock(before[t])}" for t in targets)
    return (
        f"Last time here: {clock(sum(before[t] for t in targets))} ({parts})."
    )


def main(targets: list[str], make: str, path: Path = TIMES) -> int:
    """Run the targets; 1 if any failed."""
    before = json.loads(path.read_text()) if path.exists() else {}
    print(f"make {' '.join(targets)}: {usual(targets, before)}", flush=True)
    failed, took = [], {}
    for target in targets:
        print(f"\n== make {target} ==", flush=True)
        start = time.monotonic()
        if subprocess.run([make, target], check=False).returncode:
            failed.append(target)
        took[target] = time.monotonic() - start
    path.write_text(json.dumps(before | took))
    print("\n== summary ==")
    for target in targets:
        word = "FAILED" if target in failed else "passed"
        print(f"{target:10}{word}  {clock(took[target])}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ.get("MAKE", "make")))
