"""Measure what the book says of time, as ratios; chapters and pages show them.

`make bench` prints each section and stores it in chapters/bench.json. Ratios
are medians over rounds in which all rivals take turns, every other round
backwards, in one run.
"""

import argparse
import json
from pathlib import Path

import torch

from convolutions import cures, rates, separable
from runtimes import networks
from timing import machine

STORED = Path(__file__).parents[2] / "chapters" / "bench.json"
SECTIONS = {
    "rates": rates,
    "cures": cures,
    "separable": separable,
    "networks": networks,
}


def main() -> None:
    """Measure the sections that are asked for; print and store them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION")
    parser.add_argument("--print-only", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.sections or SECTIONS:
        print(f"{name}: {SECTIONS[name].__doc__.splitlines()[0]}", flush=True)
        found = SECTIONS[name]()
        section = {"machine": machine(name == "networks"), "found": found}
        print(json.dumps(section, indent=1), flush=True)
        stored = json.loads(STORED.read_text()) if STORED.exists() else {}
        stored[name] = section
        if not options.print_only:
            STORED.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
