"""Ratios of times in one run, and the machine that they were taken on."""

import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

ROUNDS = 7


def medians(
    rivals: Mapping[str, Callable[[], object]], rounds: int = ROUNDS
) -> dict[str, float]:
    """Median time of each rival over that of the first, round by round.

    A round before the first warms up. Every other one runs backwards: who
    comes second may find its weights in the cache.
    """
    names, ratios = [*rivals], {name: [] for name in rivals}
    for number in range(rounds + 1):
        took = {}
        for name in names[:: (-1) ** number]:
            start = time.perf_counter()
            rivals[name]()
            took[name] = time.perf_counter() - start
        for name in names if number else ():
            ratios[name].append(took[name] / took[names[0]])
    return {name: statistics.median(found) for name, found in ratios.items()}


def machine() -> dict[str, str]:
    """Processor, its instructions as torch uses them, and versions."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    named = re.search(r"^model name\s*: (.*)", text, re.M)
    return {
        "processor": named[1] if named else platform.processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__.partition("+")[0],
        "python": platform.python_version(),
    }
