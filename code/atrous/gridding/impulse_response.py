"""What reaches what in a module, measured by probing it.

One active pixel and what it turns into; the phases of a grid and which of
them meet. Nothing needs to know how a module is built: a module is measured
as a float64 copy in evaluation mode on its own device, a function is called
as it is, with float64 on the CPU. Both map (B, C, H, W) to (B, O, H', W').
"""

import itertools
from collections.abc import Callable
from numbers import Integral

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from atrous.ops.copying import copy_network

Module = nn.Module | Callable[[Tensor], Tensor]
ROUNDING = 64 * torch.finfo(torch.float64).eps


def impulse_response(
    module: Module,
    size: int,
    *,
    channels: int = 1,
    at: tuple[int, int] | None = None,
    transposed: bool = False,
) -> Tensor:
    """What one active input pixel turns into, or what one output sees.

    h[c, o] = f(delta of channel c at the pixel)[o] - f(0)[o], and 0 where that
    may be rounding; transposed, h[o, c] = the gradient of output o by input c
    at the pixel, at an input of ones. It is all there is to know of a linear
    module, and has the right support where all weights are positive. Of max
    pooling only the first form sees all: its gradient follows one path.

    Args:
        module: What is measured.
        size: Side of the square input, in pixels.
        channels: Input channels C.
        at: Row and column of the pixel, of the input or (transposed) of the
            output; the middle if None.
        transposed: Whether to look back from one output.

    Returns:
        (C, O, H', W'); transposed (O, C, size, size).

    Raises:
        ValueError: If `at` is outside, or the response reaches the border,
            where more of it may be cut off.

    Source:
        Yu, Koltun & Funkhouser, CVPR 2017, "Degridding": the example of a
        single active pixel. Luo et al., arXiv:1701.04128, section 2, for
        the gradient.
    """
    function, device = _measurable(module)
    kind = {"dtype": torch.float64, "device": device}
    if transposed:
        ones = torch.ones(1, channels, size, size, **kind, requires_grad=True)
        out = _call(function, ones)[0]
        y, x = _pixel(at, out.shape[1:])
        response = torch.cat(
            [
                torch.autograd.grad(channel[y, x], ones, retain_graph=True)[0]
                for channel in out
            ]
        )
    else:
        y, x = _pixel(at, (size, size))
        inputs = torch.zeros(channels + 1, channels, size, size, **kind)
        each = range(channels)
        inputs[each, each, y, x] = 1.0
        with torch.no_grad():
            out = _call(function, inputs)
        response = out[:-1] - out[-1]  # the last input is all zeros
        # Kernels may round one picture of a batch otherwise than another.
        response[response.abs() <= ROUNDING * out[-1].abs().max()] = 0
    if _ring(response).any():
        raise ValueError(
            f"size={size}: the response reaches the border of the map"
        )
    return response


def support(response: Tensor) -> Tensor:
    """Pixels of its bounding field that a response touches, bool (h, w).

    Its shape is the field, its sum the pixels touched, its mean the
    coverage: `atrous.arithmetic.coverage`, but measured.

    Args:
        response: (..., H, W); a pixel counts if any map is non-zero there.

    Raises:
        ValueError: If the response is zero everywhere.
    """
    touched = (response != 0).reshape(-1, *response.shape[-2:]).any(0)
    places = touched.nonzero()
    if not len(places):
        raise ValueError("response: zero everywhere, so it has no support")
    (top, left), (bottom, right) = places.amin(0), places.amax(0)
    return touched[top : bottom + 1, left : right + 1]


def phase_sums(maps: Tensor, rate: int) -> Tensor:
    """Sum over each of the r^2 phases of maps, (..., H, W) to (..., r, r).

    A pixel (y, x) is of phase (y mod r, x mod r), number
    (y mod r) r + (x mod r) where phases are counted. A convolution of rate r
    never mixes them, which is why neighbours can disagree (gridding).

    Raises:
        ValueError: If `rate` is below 1 or `maps` has under two axes.
    """
    check_rate(rate)
    if maps.ndim < 2:
        raise ValueError(f"maps of shape {tuple(maps.shape)}: (..., H, W)")
    height, width = maps.shape[-2:]
    whole = F.pad(maps, (0, -width % rate, 0, -height % rate))
    cells = whole.unflatten(-1, (-1, rate)).unflatten(-3, (-1, rate))
    return cells.sum((-4, -2))


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
        size: Side of the square input, in pixels.
        channels: Input channels C.
        border: Outputs left out along each edge, so that padding is not
            mistaken for mixing; a third of `size` if None. 0 counts all of
            them: for modules that see the whole map.
        probes: Random inputs; the graph is the union of their edges.
        tolerance: The smallest gradient that counts, relative to the
            largest of its output phase.
        generator: Source of the random numbers; torch's own if None.

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
    function, device = _measurable(module)
    graph = torch.zeros(rate**2, rate**2, dtype=torch.bool, device=device)

    def normal(shape):
        draw = torch.randn(shape, generator=generator, dtype=torch.float64)
        return draw.to(device)

    for _ in range(probes):
        x = normal((1, channels, size, size)).requires_grad_()
        y = _call(function, x)
        height, width = y.shape[2:]
        if min(height, width) - 2 * border < rate:
            raise ValueError(
                f"size={size}, border={border}: leaves less than "
                f"{rate} x {rate} of the {height} x {width} outputs"
            )
        inside = (
            ...,
            slice(border, height - border),
            slice(border, width - border),
        )
        inner = torch.zeros_like(y)
        inner[inside] = normal(y.shape)[inside]
        phases = itertools.product(range(rate), repeat=2)
        for phase, (v, u) in enumerate(phases):
            weights = torch.zeros_like(y)
            weights[..., v::rate, u::rate] = inner[..., v::rate, u::rate]
            (slope,) = torch.autograd.grad(y, x, weights, retain_graph=True)
            reached = slope.abs().sum((0, 1))
            least = tolerance * reached.max()
            if border and (_ring(reached) > least).any():
                raise ValueError(
                    f"size={size}, border={border}: the outputs left still "
                    "see the edge of the input"
                )
            graph[:, phase] |= (phase_sums(reached, rate) > least).flatten()
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


def _measurable(module: Module) -> tuple[Module, torch.device | None]:
    """What to call in place of the module, and where its inputs belong."""
    if not isinstance(module, nn.Module):
        return module, None
    # A copy, so that measuring leaves no trace in the module.
    module = copy_network(module).double().eval().requires_grad_(False)
    state = itertools.chain(module.parameters(), module.buffers())
    return module, next((tensor.device for tensor in state), None)


def _call(function: Module, x: Tensor) -> Tensor:
    out = function(x.clone())  # it may begin with an in-place ReLU
    if out.ndim != 4:
        raise ValueError(
            f"module: gave shape {tuple(out.shape)}, not (B, O, H', W')"
        )
    return out


def _pixel(at: tuple[int, int] | None, sides: tuple[int, int]):
    """Row and column of a pixel inside a map; of the middle if None."""
    y, x = at or (sides[0] // 2, sides[1] // 2)
    if not (0 <= y < sides[0] and 0 <= x < sides[1]):
        raise ValueError(f"at={at}: outside of {sides[0]} x {sides[1]} pixels")
    return y, x


def _ring(maps: Tensor) -> Tensor:
    """The outermost pixels of maps, in one line."""
    rows, columns = maps[..., [0, -1], :], maps[..., [0, -1]]
    return torch.cat([rows.flatten(), columns.flatten()])
