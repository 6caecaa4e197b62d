"""The dilated convolution, as fast as a CPU allows at any rate.

Three ways to the same result compete: torch's own convolution; the same in
the other memory layout; and the sum over valid taps of `atrous.taps`, which
spares what falls on padding. Which one is fastest depends on the rate, the
sizes, the processor and torch's version, so it is measured.
"""

import functools
import math
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atrous.taps import CHANNELS_LAST, CONTIGUOUS, layout, reaches, valid_taps

WAYS = ("torch", "layout", "taps")
# With fewer multiply-adds than this a call is over before a choice pays.
SMALLEST = 10_000_000
# A race takes so many rounds and seconds at least; a way that is so many
# times slower than the best drops out; torch's own is kept unless another
# way takes less than this share of its time.
ROUNDS, SECONDS, SLOWER, MARGIN = 3, 0.03, 1.3, 0.97

# The thread's own seconds, so that other programs do not count; Windows
# counts these too coarsely.
CLOCK = time.perf_counter if sys.platform == "win32" else time.thread_time

_fastest: dict[tuple, str] = {}
# The way of calls that looked the same: the next one has less to read, and
# nothing if it is torch's, which is never wrong. So many, then forgotten.
_ways: dict[tuple, str] = {}
MOST = 4096


def atrous_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] | str = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Tensor:
    """`torch.nn.functional.conv2d`, in the fastest of three ways.

    Arguments, values, gradients and errors are those of torch's function.
    Where there is a choice it is that of `fastest`, which the first call of
    a kind has to wait for. Torch's own is called where there is none: off
    the CPU, whose library stays in charge; for types other than float32 and
    float64; under autocast, compilation, tracing and `torch.func`; if
    deterministic algorithms are wanted, since the ways round differently;
    with strides or groups; for less than ten million multiply-adds; and for
    anything unusual or wrong, which torch then refuses.

    Source:
        Chen et al., arXiv:1706.05587, Figure 4: what need not be multiplied.
    """
    look = _look(input, weight, padding, dilation)
    way = _ways.get(look)
    if way != "torch":
        call = _read(input, weight, bias, stride, padding, dilation, groups)
        if call is not None:
            if way is None:
                way = fastest(call)
                if len(_ways) >= MOST:
                    _ways.clear()
                if look is not None:
                    _ways[look] = way
            if way != "torch":
                return compute(call, way)
    return F.conv2d(input, weight, bias, stride, padding, dilation, groups)


class Call(NamedTuple):
    """A convolution for which there is a choice of ways: its arguments.

    Stride 1, one group; `padding` and `dilation` along height and width.
    """

    input: Tensor
    weight: Tensor
    bias: Tensor | None
    padding: tuple[int, int]
    dilation: tuple[int, int]


def compute(call: Call, way: str) -> Tensor:
    """Its result in one of the `WAYS`, (B, O, H', W')."""
    x, weight, bias, padding, dilation = call
    if way == "taps":
        return valid_taps(x, weight, bias, padding=padding, dilation=dilation)
    form = layout(x, weight)
    if way == "layout":
        other = CONTIGUOUS if form is CHANNELS_LAST else CHANNELS_LAST
        x = x.contiguous(memory_format=other)
        weight = weight.contiguous(memory_format=other)
    out = F.conv2d(x, weight, bias, 1, padding, dilation)
    return out.contiguous(memory_format=form)


def fastest(call: Call) -> str:
    """The fastest of the `WAYS` on this machine, measured once a kind.

    The first call of a kind runs all three on its own tensors. Calls are of
    one kind if they agree in types, channels, batch, rate, layouts and the
    number of threads, if as many taps are valid and if their sides round up
    to the same multiple of 4: not every size of picture is measured.

    No formula stands in its place: torch's own time has cliffs that depend
    on its version and the processor, see code/benchmarks/atrous_conv2d.py.
    """
    x, weight, _, padding, dilation = call
    key = (
        x.dtype,
        weight.shape,
        _kind(x.shape, weight.shape, padding, dilation),
        (layout(x), x.is_contiguous(), layout(weight)),
        torch.get_num_threads(),
    )
    if key not in _fastest:
        plain = Call(x.detach(), weight.detach(), None, padding, dilation)
        with torch.no_grad():
            _fastest[key] = race(
                {way: functools.partial(compute, plain, way) for way in WAYS}
            )
    return _fastest[key]


def race(ways: dict[str, Callable[[], object]]) -> str:
    """The name of the fastest function, or the first if that is close.

    They run in turn, as the constants say; smallest times are compared.
    """
    first = next(iter(ways))
    best = dict.fromkeys(ways, math.inf)
    running, rounds, began = [*ways], 0, CLOCK()
    while len(running) > 1:
        for name in running:
            start = CLOCK()
            ways[name]()
            best[name] = min(best[name], CLOCK() - start)
        rounds += 1
        if CLOCK() - began > SECONDS:
            if rounds >= ROUNDS:
                break
            limit = SLOWER * min(best.values())
            running = [name for name in running if best[name] < limit]
    winner = min(best, key=best.get)
    return winner if best[winner] < MARGIN * best[first] else first


class AtrousConv2d(nn.Conv2d):
    """`torch.nn.Conv2d`, computed by `atrous_conv2d`."""

    def _conv_forward(self, input, weight, bias):
        if self.padding_mode != "zeros":
            return super()._conv_forward(input, weight, bias)
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        return atrous_conv2d(input, weight, bias, *geometry)


def convert_(model: nn.Module) -> nn.Module:
    """Make the convolutions of a network fast, in place; returns it.

    Each `torch.nn.Conv2d` becomes an `AtrousConv2d`: the same object, with
    its parameters, hooks and keys in the state dict. Subclasses stay what
    they are, for they may compute something else.
    """
    for module in model.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = AtrousConv2d  # as torch's lazy modules do
    return model


def _look(input, weight, padding, dilation) -> tuple | None:
    """What decides how fast a call is; None if that cannot be looked up."""
    if torch.compiler.is_compiling() or not isinstance(input, Tensor):
        return None
    try:
        sizes = (input.shape, input.stride(), weight.shape, weight.stride())
        threads = torch.get_num_threads()
        look = (*sizes, input.dtype, padding, dilation, threads)
        hash(look)
        return look
    except (AttributeError, TypeError, RuntimeError):
        return None


def _read(input, weight, bias, stride, padding, dilation, groups):
    """The call, or None where torch's own is the only way."""
    tensors = (input, weight) if bias is None else (input, weight, bias)
    for t in tensors:
        if (
            type(t) not in (Tensor, nn.Parameter)
            or t.dtype not in (torch.float32, torch.float64)
            or t.dtype != input.dtype
            or t.device.type != "cpu"
            or t.layout != torch.strided
        ):
            return None
    if (
        torch.is_autocast_enabled("cpu")
        or torch.are_deterministic_algorithms_enabled()
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or not input.ndim == weight.ndim == 4
        or input.shape[1] != weight.shape[1]
        or (bias is not None and bias.shape != weight.shape[:1])
        or type(groups) is not int
        or groups != 1
        or _pair(stride) != (1, 1)
        or not input.numel()
        or input.numel() * weight.numel() < SMALLEST * input.shape[1]
    ):
        return None
    dilation = _pair(dilation)
    if dilation is None or min(dilation) < 1:
        return None
    padding = _sides(padding, weight.shape[2:], dilation)
    if padding is None or min(padding) < 0:
        return None
    kind = _kind(input.shape, weight.shape, padding, dilation)
    return kind and Call(input, weight, bias, padding, dilation)


@functools.lru_cache(4096)
def _kind(size, kernel, padding, dilation) -> tuple | None:
    """What calls share that share a choice; None if no tap is valid."""
    axes = zip(size[2:], kernel[2:], padding, dilation, strict=True)
    valid = tuple((-(-axis[0] // 4), len(reaches(*axis))) for axis in axes)
    if not all(taps for _, taps in valid):
        return None
    return (*size[:2], *valid, *padding, *dilation)


def _sides(padding, kernel, dilation) -> tuple[int, int] | None:
    """Padding in pixels; None if the sides differ or it makes no sense."""
    if padding == "valid":
        return (0, 0)
    if padding == "same":
        spare = [(k - 1) * r for k, r in zip(kernel, dilation, strict=True)]
        if any(pixels % 2 for pixels in spare):
            return None
        return (spare[0] // 2, spare[1] // 2)
    return _pair(padding)


def _pair(value) -> tuple[int, int] | None:
    """Height and width of an option; None if it makes no sense."""
    values = value if isinstance(value, tuple | list) else (value,)
    if len(values) not in (1, 2) or any(type(v) is not int for v in values):
        return None
    return (values[0], values[-1])
