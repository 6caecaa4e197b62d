"""Time and compare `dense_crf` with pydensecrf2, the usual package in C++.

Run `python code/benchmarks/crf.py`: the whole job, kernels and 10
iterations, on a photograph of 500x375 and 21 labels, in alternation: here at
one thread and at two, the package at one, which is all that it uses. It is an
optional extra.
"""

import statistics
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from skimage import data, transform

from atrous.crf.dense_crf import dense_crf

try:
    from pydensecrf import densecrf
except ImportError:
    sys.exit("pydensecrf2 is not installed: pip install -e '.[crf]'")

HEIGHT, WIDTH, LABELS, ROUNDS = 375, 500, 21, 7
THREADS = (1, 2)
SETTINGS = (  # w1, sigma_alpha, sigma_beta
    (4, 50, 4),  # in the ranges that DeepLab searches
    (10, 80, 13),  # pydensecrf's own example
)


def soft_scores() -> torch.Tensor:
    """Random smooth probabilities, (C, H, W)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, LABELS, 13, 17, generator=generator)
    fine = F.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic")
    return (2 * fine[0]).softmax(0)


def theirs(p, image, *, w1, sigma_alpha, sigma_beta) -> np.ndarray:
    """The same mean field by pydensecrf2, (C, H, W)."""
    field = densecrf.DenseCRF2D(WIDTH, HEIGHT, LABELS)
    field.setUnaryEnergy(-np.log(p).reshape(LABELS, -1))
    field.addPairwiseGaussian(sxy=3, compat=3)
    field.addPairwiseBilateral(
        sxy=sigma_alpha, srgb=sigma_beta, rgbim=image, compat=w1
    )
    return np.array(field.inference(10)).reshape(p.shape)


def ours(p, image, *, threads, **options) -> torch.Tensor:
    """`dense_crf` at a number of threads, (C, H, W)."""
    torch.set_num_threads(threads)
    return dense_crf(torch.from_numpy(p), torch.from_numpy(image), **options)


def timed(function, *args, **options):
    """Seconds that a call takes, and its result."""
    start = time.perf_counter()
    result = function(*args, **options)
    return time.perf_counter() - start, result


def main() -> None:
    """Print seconds, their ratios and how far results differ."""
    picture = transform.resize(
        data.astronaut(), (HEIGHT, WIDTH), anti_aliasing=True
    )
    image = (picture * 255).round().astype(np.uint8)
    p = soft_scores()
    for w1, alpha, beta in SETTINGS:
        options = {"w1": w1, "sigma_alpha": alpha, "sigma_beta": beta}
        print(options)
        ratios = {threads: [] for threads in THREADS}
        for number in range(ROUNDS + 1):
            b, reference = timed(theirs, p.numpy(), image, **options)
            parts = [f"pydensecrf2 {b:.3f} s"]
            for threads in THREADS:
                a, q = timed(
                    ours, p.numpy(), image, threads=threads, **options
                )
                ratios[threads].append(a / b)
                parts.append(f"{threads} thread(s) {a:.3f} s, {a / b:.2f}")
            if number:  # the first warms up
                print("  " + "; ".join(parts))
        for threads, found in ratios.items():
            median = statistics.median(found[1:])
            print(f"  {threads} thread(s): median ratio {median:.2f}")
        reference = torch.from_numpy(reference)
        agreement = (q.argmax(0) == reference.argmax(0)).double().mean()
        changed = (q.argmax(0) != p.argmax(0)).double().mean()
        print(
            f"  same label {agreement:.5f}, max |dQ| "
            f"{(q - reference).abs().max():.1e}, labels changed by the field "
            f"{changed:.3f}"
        )


if __name__ == "__main__":
    main()
