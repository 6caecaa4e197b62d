"""Time the fast atrous convolution against torch's own, as ratios.

Run `make bench`. Ratios are medians over alternating pairs in one run, every
conversion included; above 1 the book's is faster. Maps are (1, C, S, S),
filters 3x3 to 256 channels at rate r, padded to keep the size, float32.
"""

import argparse
import itertools
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from atrous import fastconv
from atrous.fastconv import WAYS, atrous_conv2d
from atrous.inference import prepare
from atrous.resnet import ResNet

TARGETS = (  # size, rate, at least so many times as fast; 2048 channels
    (33, 12, 1.5),
    (33, 24, 2.5),
    (33, 36, 5.0),
    (65, 24, 1.6),
    (65, 36, 2.2),
)
SIZES, CHANNELS = (17, 33, 65, 129), (64, 256, 512, 2048)
RATES = (1, 2, 4, 6, 8, 12, 18, 24, 30, 36)
FLOOR = 0.95
LEAST, MOST, SECONDS = 4, 40, 2.0  # rounds; seconds that are enough


def compare(ours: Callable, *theirs: Callable) -> list[float]:
    """For each of theirs, the median of its time over ours.

    Every other round runs backwards: who comes second may find its weights
    in the cache.
    """
    functions = [ours, *theirs]
    for function in functions:
        function()
    rounds, began = [], time.perf_counter()
    while len(rounds) < MOST and (
        len(rounds) < LEAST or time.perf_counter() - began < SECONDS
    ):
        times = {}
        for function in functions:
            start = time.perf_counter()
            function()
            times[function] = time.perf_counter() - start
        rounds.append(times)
        functions.reverse()
    return [
        statistics.median(times[other] / times[ours] for times in rounds)
        for other in theirs
    ]


def convolution(channels: int, size: int, rate: int) -> list:
    """Ratios to torch's own, to its faster layout, and the way chosen."""
    x = torch.randn(1, channels, size, size)
    weight = torch.randn(256, channels, 3, 3)
    call = fastconv.Call(x, weight, None, (rate, rate), (rate, rate))
    with torch.no_grad():
        plain, other = compare(
            lambda: atrous_conv2d(x, weight, padding=rate, dilation=rate),
            lambda: F.conv2d(x, weight, padding=rate, dilation=rate),
            lambda: fastconv.compute(call, "layout"),
        )
        return [plain, min(plain, other), fastconv.fastest(call)]


def cpu() -> str:
    """Name of the processor, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line for line in lines if line.startswith("model name")]
    return names[0].partition(": ")[2] if names else platform.processor()


def main() -> None:
    """Print what runs where, then the three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--skip-grid", action="store_true")
    options = parser.parse_args()
    print(f"{cpu()}, {torch.backends.cpu.get_cpu_capability()}")
    print(f"python {platform.python_version()}, torch {torch.__version__}")
    for threads in options.threads:
        torch.set_num_threads(threads)
        print(f"\n{threads} thread(s)\n\nC=2048: S, r, ratio, target, way")
        for size, rate, target in TARGETS:
            plain, _, way = convolution(2048, size, rate)
            verdict = "" if plain >= target else "  missed"
            print(f"{size:4}{rate:4}{plain:7.2f}{target:6}  {way}{verdict}")
        networks()
        if not options.skip_grid:
            grid()


def grid() -> None:
    """Ratios to torch's faster layout; after each the way chosen."""
    print("\nratio to torch's faster layout, and how the way begins")
    print(f"    S    C  r={'':3}" + "".join(f"{rate:<8}" for rate in RATES))
    below = []
    for size, channels in itertools.product(SIZES, CHANNELS):
        row = []
        for rate in RATES:
            _, faster, way = convolution(channels, size, rate)
            row.append(f"{faster:4.2f} {way[:2]}")
            if faster < FLOOR:
                below.append((size, channels, rate, round(faster, 2)))
        print(f"{size:5}{channels:5}    " + " ".join(row), flush=True)
    print(f"below {FLOOR}: {below or 'none'}; ways: {', '.join(WAYS)}")


def networks() -> None:
    """ResNet-101 prepared, against the plain module under no_grad."""
    print("\nResNet-101 at 513x513: output stride, ratio of prepare(model)")
    x = torch.randn(1, 3, 513, 513)
    for output_stride in (16, 8):
        model = ResNet(101, output_stride=output_stride).eval()
        prepared = prepare(model)
        with torch.no_grad():
            (ratio,) = compare(
                lambda network=prepared: network(x),
                lambda network=model: network(x),
            )
        print(f"{output_stride:4}{ratio:7.2f}", flush=True)


if __name__ == "__main__":
    main()
