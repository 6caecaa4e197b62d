"""Gridding in numbers, of kernels, of modules and of feature maps.

A convolution of rate r never mixes the r^2 phases of its input. Seen from
the side of frequency: it lets the r-grid, all multiples of 2 pi / r along
both axes, pass in full. `gains` says how much of the grid a kernel or a
module lets pass, `gridding_score` how much of a map is on it. Which phases
meet, as a graph, is `atrous.gridding.impulse_response.phase_graph`. All of
it holds along one axis and in volumes, too: `axes=1` and `axes=3`.
"""

import functools
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from atrous.gridding.impulse_response import (
    SHAPES,
    Module,
    check_axes,
    check_rate,
    impulse_response,
    phase_sums,
)


def gains(kernel: Tensor, rate: int, *, axes: int = 2) -> Tensor:
    """Gain of a kernel at the frequencies of the r-grid, (r, r).

    [j, k] = |K(2 pi j / r, 2 pi k / r)| / |K(0, 0)|, in radians per pixel,
    with K(v, u) = sum over y, x of kernel[y, x] exp(-i (v y + u x)). That is
    the discrete Fourier transform of the r^2 sums of the weights of each
    phase: a convolution of rate r has all its weights in one phase, hence
    gain 1 everywhere, and a kernel of equal sums has 0.

    Args:
        kernel: (..., h, w), dilation included: as it acts on the map.
            Further axes (channels, phases) are combined as root of the sum
            of squares, before the ratio.
        rate: Pixels between the points of the grid, r.
        axes: How many of the last dimensions are axes of the map; the
            result has as many.

    Raises:
        ValueError: If `kernel` has fewer axes or its gain at 0 is 0.
    """
    sums = phase_sums(kernel.double(), rate, axes=axes)
    power = torch.fft.fftn(sums, dim=(*range(-axes, 0),)).abs().square()
    power = power.reshape(-1, *(rate,) * axes).sum(0)
    constant = power.flatten()[0]
    if constant <= 1e-24 * kernel.double().square().sum():
        raise ValueError("kernel: sums to 0, so no gain is relative to that")
    return (power / constant).sqrt()


def gain(kernel: Tensor, rate: int, *, axes: int = 2) -> float:
    """Gain of a kernel at its grid frequency, 2 pi / r along an axis.

    The largest of the axes of `gains`: arguments and errors are its.
    1 passes the whole grid, 0 none of it.
    """
    table = gains(kernel, rate, axes=axes)
    places = torch.eye(axes, dtype=torch.long) % rate
    return max(table[tuple(place)].item() for place in places)


def module_gains(
    module: Module,
    rate: int,
    size: int,
    *,
    channels: int = 1,
    axes: int = 2,
) -> Tensor:
    """Gain of a whole module at the frequencies of the r-grid, (r, r).

    `gains` of its impulse responses at the r^2 pixels in the middle of the
    map, one of each phase: for a linear module, the amplitude of the output
    at a point of the grid over that at 0, where the input is white noise.
    The r^2 responses of a convolution differ by a shift alone; those of
    group interaction do not, and each counts.

    Args and errors as `impulse_response` and `gains`.
    """
    check_rate(rate)
    first = (size - rate) // 2
    middle = range(first, first + rate)
    responses = [
        impulse_response(module, size, channels=channels, at=at, axes=axes)
        for at in itertools.product(middle, repeat=axes)
    ]
    return gains(torch.cat(responses), rate, axes=axes)


def grid_energy(
    maps: Tensor, rate: int, *, halfwidth: float = 0.25, axes: int = 2
) -> tuple[Tensor, Tensor]:
    """Energy of feature maps on the r-grid, and all of it, each (B, C).

    P = |DFT of w (x - m)|^2, w a Hann window along both axes and m the mean
    under w. The first sums P over the squares |v - 2 pi j / r| and
    |u - 2 pi k / r| <= halfwidth 2 pi / r about every point (j, k) of the
    grid but (0, 0), the second over all frequencies. A frequency of the DFT
    stands for the cell around it, and counts by the share of it inside.

    Args:
        maps: (B, C, H, W).
        rate: Pixels of the period that is looked for, r.
        halfwidth: Of a square, in steps of the grid, 0 <= halfwidth < 0.5.
            0 counts the points alone, without a window: then the share is
            the variance between the r^2 phases over the whole variance.
        axes: Of the maps: 1 of sequences, 2 of pictures, 3 of volumes.

    Raises:
        ValueError: If the maps are not (B, C, H, W), a number is out of
            range, or a side is below 1.5 rate / halfwidth (a square would
            be narrower than the window's own spectrum), or at halfwidth 0
            no multiple of the rate.
    """
    check_rate(rate)
    check_axes(axes)
    if maps.ndim != axes + 2:
        raise ValueError(
            f"maps of shape {tuple(maps.shape)}: with axes={axes} they must "
            f"be {SHAPES[axes]}"
        )
    if not 0 <= halfwidth < 0.5:
        raise ValueError(f"halfwidth={halfwidth}: must be in [0, 0.5)")
    near, middle, tapers = [], [], []
    for side in maps.shape[2:]:
        bins = halfwidth * side / rate
        if bins < 1.5 if halfwidth else side % rate:
            least = 1.5 * rate / halfwidth if halfwidth else rate
            raise ValueError(
                f"maps of shape {tuple(maps.shape)}, rate={rate}, halfwidth="
                f"{halfwidth}: sides must be "
                + ("at least" if halfwidth else "multiples of")
                + f" {least:g}"
            )
        place = rate * torch.arange(side)  # in steps of the grid / side
        point = (2 * place + side) // (2 * side)  # the nearest one
        distance = (place - point * side).abs().double() / rate  # in bins
        inside = (max(bins, 0.5) + 0.5 - distance).clamp(0, 1)
        near.append(inside)
        middle.append(inside * (point % rate == 0))
        taper = torch.hann_window(side, dtype=torch.float64)
        tapers.append(taper if halfwidth else torch.ones_like(taper))
    squares = _outer(near) - _outer(middle)
    window, squares = (t.to(maps.device) for t in (_outer(tapers), squares))
    dims = (*range(2, 2 + axes),)
    x = maps.double()
    mean = (x * window).sum(dims, keepdim=True) / window.sum()
    x = (x - mean) * window
    # What is left of a constant map is rounding, not energy.
    flat = x.square().mean(dims) <= (1e-13 * maps.abs().amax(dims)) ** 2
    power = torch.fft.fftn(x, dim=dims).abs().square()
    power = power.masked_fill(flat[(..., *(None,) * axes)], 0.0)
    return (power * squares).sum(dims), power.sum(dims)


def gridding_score(
    maps: Tensor, rate: int, *, halfwidth: float = 0.25, axes: int = 2
) -> Tensor:
    """Share of the energy of feature maps that lies on the r-grid, (B,).

    The two sums of `grid_energy` over all channels, and their ratio: a
    channel counts by its energy. One score a channel is the ratio before
    summing, one score a batch the ratio of the sums over the batch. 0 for
    maps without any energy, which are constant. Arguments and errors are
    those of `grid_energy`.

    A checkerboard has 1 at r = 2; white noise (1 - 1 / r^2)
    (2 halfwidth)^2, the area of the squares; r^2 unrelated smooth maps
    interleaved 1 - 1 / r^2, since their mean is smooth. With other axes
    than two their number stands in place of 2 in each exponent.

    Source:
        Yu, Koltun & Funkhouser, CVPR 2017, "Degridding", for what gridding
        is; the score is this book's.
    """
    on_grid, total = (
        energy.sum(1)
        for energy in grid_energy(maps, rate, halfwidth=halfwidth, axes=axes)
    )
    return torch.where(total == 0, 0.0, on_grid / total)


def _outer(lines: Sequence[Tensor]) -> Tensor:
    """The outer product of as many vectors as there are axes."""
    return functools.reduce(lambda whole, line: whole[..., None] * line, lines)
