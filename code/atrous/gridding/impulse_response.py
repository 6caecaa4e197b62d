"""What reaches what in a module, measured by probing it.

One active pixel and what it turns into; the phases of a grid and which of
them meet. Nothing needs to know how a module is built: a module is measured
as a float64 copy in evaluation mode on its own device, a function is called
as it is, with float64 on the CPU. Both map (B, C, H, W) to (B, O, H', W'),
or with `axes=1` sequences (B, C, T), with `axes=3` volumes (B, C, D, H, W).
"""

import itertools
from collections.abc import Callable, Sequence
from numbers import Integral

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from atrous.ops.copying import copy_network

Module = nn.Module | Callable[[Tensor], Tensor]
SHAPES = {1: "(B, C, T)", 2: "(B, C, H, W)", 3: "(B, C, D, H, W)"}
ROUNDING = 64 * torch.finfo(torch.float64).eps


def impulse_response(
    module: Module,
    size: int,
    *,
    channels: int = 1,
    at: Sequence[int] | None = None,
    transposed: bool = False,
    axes: int = 2,
) -> Tensor:
    """What one active input pixel turns into, or what one output sees.

    h[c, o] = f(delta of channel c at the pixel)[o] - f(0)[o], and 0 where that
    may be rounding; transposed, h[o, c] = the gradient of output o by input c
    at the pixel, at an input of ones. It is all there is to know of a linear
    module, and has the right support where all weights are positive. Of max
    pooling only the first form sees all: its gradient follows one path.

    Args:
        module: What is measured.
        size: Side of the input, in pixels, along all axes.
        channels: Input channels C.
        at: Row and column of the pixel, of the input or (transposed) of the
            output; as many numbers as axes; the middle if None.
        transposed: Whether to look back from one output.
        axes: Of the maps: 1 of sequences, 2 of pictures, 3 of volumes.

    Returns:
        (C, O, H', W'); transposed (O, C, size, size).

    Raises:
        ValueError: If `at` is outside, or the response reaches the border,
            where more of it may be cut off; if the module gives something
            else than maps of so many axes.

    Source:
        Yu, Koltun & Funkhouser, CVPR 2017, "Degridding": the example of a
        single active pixel. Luo et al., arXiv:1701.04128, section 2, for
        the gradient.
    """
    check_axes(axes)
    function, device = _measurable(module)
    kind = {"dtype": torch.float64, "device": device}
    sides = (size,) * axes
    if transposed:
        ones = torch.ones(1, channels, *sides, **kind, requires_grad=True)
        out = _call(function, ones, axes)[0]
        pixel = _pixel(at, out.shape[1:])
        response = torch.cat(
            [
                torch.autograd.grad(channel[pixel], ones, retain_graph=True)[0]
                for channel in out
            ]
        )
    else:
        pixel = _pixel(at, sides)
        inputs = torch.zeros(channels + 1, channels, *sides, **kind)
        each = range(channels)
        inputs[each, each, *pixel] = 1.0
        with torch.no_grad():
            out = _call(function, inputs, axes)
        response = out[:-1] - out[-1]  # the last input is all zeros
        # Kernels may round one picture of a batch otherwise than another.
        response[response.abs() <= ROUNDING * out[-1].abs().max()] = 0
    if _ring(response, axes).any():
        raise ValueError(
            f"size={size}: the response reaches the border of the map"
        )
    return response


def support(response: Tensor, *, axes: int = 2) -> Tensor:
    """Pixels of its bounding field that a response touches, bool (h, w).

    Its shape is the field, its sum the pixels touched, its mean the
    coverage: `atrous.arithmetic.coverage`, but measured.

    Args:
        response: (..., H, W); a pixel counts if any map is non-zero there.
        axes: How many of the last dimensions are axes of the map.

    Raises:
        ValueError: If the response is zero everywhere, or has fewer axes.
    """
    _check_maps(response, axes, "response")
    touched = (response != 0).reshape(-1, *response.shape[-axes:]).any(0)
    places = touched.nonzero()
    if not len(places):
        raise ValueError("response: zero everywhere, so it has no support")
    ends = zip(places.amin(0), places.amax(0), strict=True)
    return touched[tuple(slice(first, last + 1) for first, last in ends)]


def phase_sums(maps: Tensor, rate: int, *, axes: int = 2) -> Tensor:
    """Sum over each of the r^2 phases of maps, (..., H, W) to (..., r, r).

    A pixel (y, x) is of phase (y mod r, x mod r), number
    (y mod r) r + (x mod r) where phases are counted. A convolution of rate r
    never mixes them, which is why neighbours can disagree (gridding).

    Args:
        maps: (..., H, W).
        rate: Phases along each axis, r.
        axes: How many of the last dimensions are axes of the map; there are
            r^axes phases.

    Raises:
        ValueError: If `rate` is below 1 or `maps` has fewer axes.
    """
    check_rate(rate)
    _check_maps(maps, axes, "maps")
    for axis in range(maps.ndim - axes, maps.ndim):
        behind = maps.ndim - 1 - axis
        missing = -maps.shape[axis] % rate
        maps = F.pad(maps, (0, 0) * behind + (0, missing))
        maps = maps.unflatten(axis, (-1, rate)).sum(axis)
    return maps


def phase_graph(
    module: Module,
    rate: int,
    size: int,
    *,
    channels: int = 1,
    border: int | None = None,
    probes: int = 2,
    tolerance: float = 1e-12,
    generator: Generator | None = None,
    axes: int = 2,
) -> Tensor:
    """Which input phases reach which output phases, bool (r^2, r^2).

    [i, j] is true if any pixel of input phase i has a gradient in the sum
    of all outputs of phase j. The sum has random weights, so that nothing
    cancels, and the inputs are normal, so that most ReLUs are alive at some
    pixel; a path that is dead at all of them does not count.
    The identity, r^2 edges, for a 3x3 convolution of rate r; all r^4 edges
    for one of rate 1, if r is at most 3.

    Args:
        module: What is measured, its weights as they are.
        rate: Phases along each axis, r.
        size: Side of the input, in pixels, along all axes.
        channels: Input channels C.
        border: Outputs left out along each edge, so that padding is not
            mistaken for mixing; a third of `size` if None. 0 counts all of
            them: for modules that see the whole map.
        probes: Random inputs; the graph is the union of their edges.
        tolerance: The smallest gradient that counts, relative to the
            largest of its output phase.
        generator: Source of the random numbers; torch's own if None.
        axes: Of the maps; there are r^axes phases on each side.

    Raises:
        ValueError: If a number is out of range, if fewer than `rate`
            outputs are left, or if they still see the edge of the input.

    Source:
        Wang & Ji, KDD 2018: the decomposition of a dilated convolution into
        r^2 groups, and the graph of their interaction.
    """
    check_rate(rate)
    border = size // 3 if border is None else border
    if border < 0 or probes < 1:
        raise ValueError(
            f"border={border}, probes={probes}: at least 0 and at least 1"
        )
    check_axes(axes)
    function, device = _measurable(module)
    graph = torch.zeros((rate**axes,) * 2, dtype=torch.bool, device=device)

    def normal(shape):
        draw = torch.randn(shape, generator=generator, dtype=torch.float64)
        return draw.to(device)

    for _ in range(probes):
        x = normal((1, channels, *(size,) * axes)).requires_grad_()
        y = _call(function, x, axes)
        sides = y.shape[2:]
        if min(sides) - 2 * border < rate:
            raise ValueError(
                f"size={size}, border={border}: leaves less than "
                f"{_product((rate,) * axes)} of the {_product(sides)} outputs"
            )
        inside = (..., *(slice(border, side - border) for side in sides))
        inner = torch.zeros_like(y)
        inner[inside] = normal(y.shape)[inside]
        for phase, starts in enumerate(
            itertools.product(range(rate), repeat=axes)
        ):
            own = (..., *(slice(start, None, rate) for start in starts))
            weights = torch.zeros_like(y)
            weights[own] = inner[own]
            (slope,) = torch.autograd.grad(y, x, weights, retain_graph=True)
            reached = slope.abs().sum((0, 1))
            least = tolerance * reached.max()
            if border and (_ring(reached, axes) > least).any():
                raise ValueError(
                    f"size={size}, border={border}: the outputs left still "
                    "see the edge of the input"
                )
            sums = phase_sums(reached, rate, axes=axes)
            graph[:, phase] |= (sums > least).flatten()
    return graph


def components(graph: Tensor) -> int:
    """Sets of phases that never meet: connected components of the graph.

    Inputs and outputs are its two sides; phases without an edge are left
    out. r^2 for a dilated convolution, 1 where gridding is cured. The number
    of edges is `graph.sum()`.
    """
    joined = (graph.double() @ graph.double().T) > 0  # share an output
    for _ in range(len(graph).bit_length()):  # paths of twice the length
        joined = (joined.double() @ joined.double()) > 0
    return len(joined[graph.any(1)].unique(dim=0))


def check_rate(rate: int) -> None:
    """Raise ValueError unless `rate` is an integer and at least 1."""
    if not isinstance(rate, Integral) or rate < 1:
        raise ValueError(f"rate={rate}: must be an integer, at least 1")


def check_axes(axes: int) -> None:
    """Raise ValueError unless there are one to three axes."""
    if axes not in SHAPES:
        raise ValueError(f"axes={axes}: must be 1, 2 or 3")


def _measurable(module: Module) -> tuple[Module, torch.device | None]:
    """What to call in place of the module, and where its inputs belong."""
    if not isinstance(module, nn.Module):
        return module, None
    # A copy, so that measuring leaves no trace in the module.
    module = copy_network(module).double().eval().requires_grad_(False)
    state = itertools.chain(module.parameters(), module.buffers())
    return module, next((tensor.device for tensor in state), None)


def _call(function: Module, x: Tensor, axes: int) -> Tensor:
    try:
        out = function(x.clone())  # it may begin with an in-place ReLU
    except RuntimeError as error:
        error.add_note(f"The module was given {SHAPES[axes]}: axes={axes}.")
        raise
    if out.ndim != axes + 2:
        raise ValueError(
            f"module: gave shape {tuple(out.shape)}, not {SHAPES[axes]}; "
            "axes= says how many axes its maps have"
        )
    return out


def _check_maps(maps: Tensor, axes: int, name: str) -> None:
    check_axes(axes)
    if maps.ndim < axes:
        raise ValueError(
            f"{name} of shape {tuple(maps.shape)}: needs {axes} axes or more"
        )


def _pixel(at: Sequence[int] | None, sides: Sequence[int]) -> tuple[int, ...]:
    """A pixel inside a map, such as its row and column; or the middle."""
    pixel = tuple(side // 2 for side in sides) if at is None else (*at,)
    inside = len(pixel) == len(sides) and all(
        0 <= place < side for place, side in zip(pixel, sides, strict=True)
    )
    if not inside:
        raise ValueError(f"at={at}: outside of {_product(sides)} pixels")
    return pixel


def _product(sides: Sequence[int]) -> str:
    return " x ".join(map(str, sides))


def _ring(maps: Tensor, axes: int) -> Tensor:
    """The outermost pixels of maps, in one line."""
    return torch.cat(
        [maps.movedim(axis, 0)[[0, -1]].flatten() for axis in range(-axes, 0)]
    )
