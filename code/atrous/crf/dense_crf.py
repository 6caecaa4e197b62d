"""Mean-field inference in the fully connected conditional random field.

Every pair of pixels i, j is joined. The energy of labels x is

    sum_i -log P(x_i) + sum_{i<j} [x_i != x_j] (
        w1 exp(-|p_i - p_j|^2 / 2 sigma_alpha^2
               -|I_i - I_j|^2 / 2 sigma_beta^2)
        + w2 exp(-|p_i - p_j|^2 / 2 sigma_gamma^2))

with P the network's probabilities, p positions and I colours. Mean field
repeats Q = softmax(log P + sum over kernels of w K Q), where K Q is a
Gaussian filter: through the permutohedral lattice in `dense_crf`, by its
definition in `dense_crf_exact`.
"""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor

from atrous.crf.permutohedral import Lattice

EXACT_PIXELS = 4096  # beyond it N x N numbers take too much memory


def dense_crf(
    probabilities: Tensor,
    image: Tensor,
    *,
    w1: float,
    sigma_alpha: float,
    sigma_beta: float,
    w2: float = 3.0,
    sigma_gamma: float = 3.0,
    iterations: int = 10,
    logits: bool = False,
    kernel: Callable = Lattice,
) -> Tensor:
    """Refine a network's probabilities by the picture's positions and colours.

    Differentiable with respect to `probabilities`.

    Args:
        probabilities: (C, H, W) or (B, C, H, W), float32 or float64, of
            at least 2 classes; they sum to 1 over C. One below the smallest
            normal float counts as that float. One logit z a pixel, object
            against background, is `torch.stack([0 * z, z])`, with
            `logits=True`.
        image: The picture, (H, W, 3), (H, W, 1) or (H, W), with B before
            them if the probabilities have it; uint8, or floats from 0 to 1.
        w1: Weight of the kernel of position and colour; DeepLab searches
            3 to 6.
        sigma_alpha: Its width in position, pixels; DeepLab: 30 to 100.
        sigma_beta: Its width in colour, of 255 levels, also for float
            pictures; DeepLab: 3 to 6.
        w2: Weight of the kernel of position alone.
        sigma_gamma: Its width, pixels.
        iterations: Mean-field iterations; 0 returns the probabilities.
        logits: `probabilities` are logits instead: P is their softmax.
        kernel: Makes a Gaussian filter from points, such as `Lattice`.

    Returns:
        The mean field Q, in the shape and type of `probabilities`.

    Raises:
        ValueError: If shapes do not fit, a value is out of its range or not
            finite, probabilities do not sum to 1, or a sigma is too small
            for the picture's type.

    Source:
        Kraehenbuehl & Koltun, NIPS 2011, equations 2, 3 and 12; Chen et al.,
        arXiv:1606.00915, section 3.3, also for the defaults.
        Departs: each kernel K is normalised, K_ij / sqrt(n_i n_j) with n_i =
        sum_j K_ij, so that w weighs means and not sums over all pixels, as
        pydensecrf's NORMALIZE_SYMMETRIC does (DeepLab's own copy of the code
        divides outputs by n_i); and the term j = i stays in the sums, as
        filters compute them.
    """
    _check_numbers(
        iterations=iterations,
        w1=w1,
        sigma_alpha=sigma_alpha,
        sigma_beta=sigma_beta,
        w2=w2,
        sigma_gamma=sigma_gamma,
    )
    probabilities = torch.as_tensor(probabilities)
    log_p = _log_probabilities(probabilities, logits)
    pixels = _pixels(
        torch.as_tensor(image), log_p
    )  # (B, H, W, 1 or 3), 255 levels
    pictures = log_p.reshape(-1, *log_p.shape[-3:])
    rows, columns = (
        torch.arange(side, dtype=log_p.dtype, device=log_p.device)
        for side in log_p.shape[-2:]
    )
    grid = torch.meshgrid(columns, rows, indexing="xy")
    places = torch.stack(grid, -1).flatten(0, 1)  # (H W, 2)
    near = _normalised(kernel, places / sigma_gamma, w2)
    fields = []
    for one, colours in zip(
        pictures, pixels.flatten(1, 2) / sigma_beta, strict=True
    ):
        features = torch.cat([places / sigma_alpha, colours], 1)
        kernels = near + _normalised(kernel, features, w1)
        rows = one.movedim(0, -1).contiguous().flatten(0, 1)  # (N, C)
        field = mean_field(rows, kernels, iterations=iterations)
        fields.append(field.T.contiguous().view(one.shape))
    return torch.stack(fields).view(probabilities.shape)


def dense_crf_exact(
    probabilities: Tensor, image: Tensor, **options: float
) -> Tensor:
    """`dense_crf` without the lattice, in O(N^2), for small pictures.

    Arguments, result and errors as `dense_crf`; also a ValueError if the
    picture has more than 4,096 pixels.
    """
    if math.prod(probabilities.shape[-2:]) > EXACT_PIXELS:
        raise ValueError(
            f"probabilities of shape {tuple(probabilities.shape)}: at most "
            f"{EXACT_PIXELS} pixels are computed exactly; use dense_crf"
        )
    return dense_crf(probabilities, image, kernel=ExactKernel, **options)


class ExactKernel:
    """The Gaussian of all pairs of points (N, d), with a lattice's filter."""

    def __init__(self, features: Tensor):
        plain = "donot_use_mm_for_euclid_dist"  # the other way loses digits
        distance = torch.cdist(features, features, compute_mode=plain)
        self.kernel = (distance.square() / -2).exp()

    def filter(self, values: Tensor) -> Tensor:
        """Gaussian-weighted sums of values (N, C) at every point, (N, C)."""
        return self.kernel @ values

    def scaled(self, scale: Tensor) -> "ExactKernel":
        """The kernel diag(scale) K diag(scale), for a scale of (N,)."""
        other = copy.copy(self)
        other.kernel = scale[:, None] * self.kernel * scale
        return other


def mean_field(log_p: Tensor, kernels: list, *, iterations: int) -> Tensor:
    """Iterate Q = softmax(log P + sum over kernels of K Q), (N, C).

    Args:
        log_p: Logarithms of probabilities, (N, C).
        kernels: Objects whose `filter` maps (N, C) to (N, C), weights and
            normalisation included.
        iterations: Iterations from Q = P.

    Source:
        Kraehenbuehl & Koltun, NIPS 2011, algorithm 1. The Potts model's
        -(sum of K Q - K Q[label]) differs from K Q[label] by a constant
        over labels, which the softmax removes.
    """
    q = log_p.softmax(1)
    for _ in range(iterations):
        energy = log_p
        for kernel in kernels:
            energy = kernel.filter(q).add_(energy)
        q = energy.softmax(1)
    return q


def _normalised(kernel: Callable, features: Tensor, weight: float) -> list:
    """The kernel of features, weighed and normalised; none if it weighs 0."""
    if not weight:
        return []
    plain = kernel(features)
    norm = plain.filter(torch.ones_like(features[:, :1]))[:, 0]
    return [plain.scaled((weight / norm).sqrt())]


def _check_numbers(*, iterations: int, **options: float) -> None:
    if iterations < 0:
        raise ValueError(f"iterations={iterations}: must not be negative")
    for name, value in options.items():
        if name.startswith("w"):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}={value}: must be at least 0")
        elif not 0 < value < math.inf:
            raise ValueError(f"{name}={value}: must be positive")


def _log_probabilities(probabilities: Tensor, logits: bool) -> Tensor:
    shape, dtype = tuple(probabilities.shape), probabilities.dtype
    known = dtype in (torch.float32, torch.float64)
    if probabilities.ndim not in (3, 4) or 0 in shape or not known:
        raise ValueError(
            f"probabilities of shape {shape} and {dtype}: must be float32 or "
            f"float64, (C, H, W) or (B, C, H, W), none of them 0"
        )
    if shape[-3] == 1:
        raise ValueError(
            f"probabilities of shape {shape}: one class leaves no choice; "
            "for one logit z a pixel give torch.stack([0 * z, z]) and "
            "logits=True"
        )
    if logits:
        if not probabilities.isfinite().all():
            raise ValueError("probabilities hold nan or inf: must be finite")
        return probabilities.log_softmax(-3)
    lowest = probabilities.min()
    if not lowest >= 0:  # nan as well
        raise ValueError(
            f"probabilities hold {lowest:.4g}: must not be negative; give "
            f"logits with logits=True"
        )
    off = (probabilities.sum(-3) - 1).abs().max()
    if not off <= 1e-3:
        raise ValueError(
            f"probabilities sum to 1 within {off:.4g} over C: must be within "
            f"0.001; give logits with logits=True"
        )
    return probabilities.clamp(min=torch.finfo(dtype).tiny).log()


def _pixels(image: Tensor, log_p: Tensor) -> Tensor:
    """The picture as (B, H, W, 1 or 3) of 255 levels, in log_p's type."""
    batch, size = log_p.shape[:-3], log_p.shape[-2:]
    plain = (*batch, *size)
    if image.shape not in (plain, (*plain, 1), (*plain, 3)):
        raise ValueError(
            f"image of shape {tuple(image.shape)}: must be {plain}, with 1 "
            f"or 3 channels last or none"
        )
    if image.dtype != torch.uint8:
        if not image.is_floating_point():
            raise ValueError(f"image of {image.dtype}: must be uint8 or float")
        low, high = image.min().item(), image.max().item()
        if not 0 <= low <= high <= 1:  # nan as well
            raise ValueError(
                f"image of floats from {low:.4g} to {high:.4g}: must be "
                f"within 0 to 1"
            )
        image = image * 255
    channels = image.shape[len(plain) :].numel()
    return image.detach().to(log_p.dtype).reshape(-1, *size, channels)
