"""Ratios of times in one run, and the machine that they were taken on."""

import importlib.util
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from scipy import stats

ROUNDS = 7


def medians(
    rivals: Mapping[str, Callable[[], object]], rounds: int = ROUNDS
) -> dict[str, float]:
    """Median time of each rival over that of the first, round by round."""
    return {
        name: statistics.median(found)
        for name, found in turns(rivals, rounds).items()
    }


def interval(ratios: Sequence[float]) -> tuple[float, float, float]:
    """Geometric mean of ratios, and its 95 % interval by Student's t."""
    logs = np.log(ratios)
    half = stats.t.ppf(0.975, len(logs) - 1) * stats.sem(logs)
    return tuple(np.exp(np.mean(logs) + np.array([0, -half, half])).tolist())


def turns(
    rivals: Mapping[str, Callable[[], object]], rounds: int = ROUNDS
) -> dict[str, list[float]]:
    """Time of each rival over that of the first, in each round.

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
    return ratios


def processor() -> str:
    """What Linux says of its processors; nothing elsewhere."""
    info = Path("/proc/cpuinfo")
    return info.read_text() if info.exists() else ""


def has_bfloat16() -> bool:
    """Whether the processor is known to multiply in bfloat16."""
    return bool(re.search(r"\b(avx512|amx)_bf16\b", processor()))


def machine(peers: bool = False) -> dict[str, str]:
    """Processor, the instructions that torch uses, and versions."""
    named = re.search(r"^model name\s*: (.*)", processor(), re.M)
    half = "with" if has_bfloat16() else "without"
    found = {
        "processor": named[1] if named else platform.processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": f"{half} instructions for bfloat16",
        "python": f"Python {platform.python_version()}",
    }
    for package in ("torch", *(("onnxruntime", "openvino") if peers else ())):
        if importlib.util.find_spec(package):
            version = metadata.version(package).partition("+")[0]
            found[package] = f"{package} {version}"
    return found
