"""Networks read through torch.fx: each layer's kind, window and name."""

import operator
import traceback
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
import torch.nn.functional as F
from torch import fx, nn

from atrous.arithmetic import effective_kernel
from atrous.convert.kinds import (
    CLASSES,
    CONVOLUTIONS,
    MODES,
    OF_AXES,
    SIGNATURES,
    WINDOWS,
)
from atrous.ops.copying import copy_network

LIBRARIES = (torch, F, operator)
NUMPYS_NAMES = {"axis": "dim", "keepdims": "keepdim"}


# What helps where a layer is refused.
CUT = "remove it, or cut the model before it"
STRIDE = "take another output_stride, or cut the model before it"


class TracedOp(NamedTuple):
    """One step of a traced network.

    Attributes:
        node: Its node in the graph.
        module: The module called, or None for functions and methods.
        kind: What it does: torch's name of the function, or of the module's
            class if that is not among `CLASSES`.
        options: Arguments by their name in `SIGNATURES`; those left to
            their default may be missing.
        kernel: Taps along each axis, None if not known.
    """

    node: fx.Node
    module: nn.Module | None
    kind: str
    options: dict[str, Any]
    kernel: tuple[int, ...] | None

    def spread(self, name: str, default: Any) -> tuple[int, ...]:
        """An option of a window that may be one number for all axes."""
        return spread(self.options.get(name, default), OF_AXES[self.kind])

    @property
    def stride(self) -> int:
        """Stride of a convolution or pooling along all axes, else 1.

        Raises:
            ValueError: If the axes differ, or it is not a constant.
        """
        if self.kind not in WINDOWS:
            return 1
        geometry = ("kernel_size", "stride", "padding", "dilation")
        if any(dynamic(self.options.get(name)) for name in geometry):
            self.refuse(
                "has a geometry that is computed as it runs",
                "make it of constants",
            )
        default = 1 if self.kind in CONVOLUTIONS else self.kernel
        stride = self.options.get("stride") or default
        strides = spread(stride, OF_AXES[self.kind])
        if len({*strides}) > 1:
            listed = " and ".join(map(str, strides))
            self.refuse(f"has different strides, {listed}")
        return strides[0]

    @property
    def dilation(self) -> tuple[int, ...]:
        """Dilation along each axis."""
        return self.spread("dilation", 1)

    @property
    def spans(self) -> tuple[int, ...]:
        """Effective kernels along each axis."""
        windows = zip(self.kernel, self.dilation, strict=True)
        return tuple(effective_kernel(k, r) for k, r in windows)

    @property
    def ends(self) -> tuple[tuple[int, int], ...]:
        """Padding before the first and behind the last place of each axis."""
        padding = self.options.get("padding", 0)
        if padding == "same":
            whole = (span - 1 for span in self.spans)
            return tuple((n // 2, -(-n // 2)) for n in whole)
        if padding == "valid":
            padding = 0
        return tuple((n, n) for n in spread(padding, OF_AXES[self.kind]))

    @property
    def sides(self) -> tuple[int, ...]:
        """The same in the order of `F.pad`: the last axis comes first."""
        return tuple(end for ends in self.ends[::-1] for end in ends)

    @property
    def excess(self) -> tuple[int, ...]:
        """Pixels that `ceil_mode` adds behind the last place of each axis.

        Rounding up admits a last window that reaches over the border, if it
        begins before the padding there.
        """
        if not self.options.get("ceil_mode"):
            return (0,) * len(self.ends)
        last, ends = self.stride - 1, zip(self.spans, self.ends, strict=True)
        return tuple(min(last, span - end - 1) for span, (_, end) in ends)

    def refuse(self, why: str, way_out: str = CUT) -> NoReturn:
        """Raise a ValueError that names the layer, says why and a way out."""
        raise ValueError(f"model: {self.title} {why}: {way_out}")

    @property
    def title(self) -> str:
        """What to call the layer in a message."""
        name, kind, place = self.node.name, self.kind, ""
        if self.module is not None:
            name, kind = self.node.target, type(self.module).__name__
        elif stack := [*self.node.meta.get("nn_module_stack", ())]:
            place = f" in {stack[-1]!r}"
        return f"{kind} {name!r} (node {self.node.name!r}{place})"


def trace(
    model: nn.Module, *, tracer: fx.Tracer | None = None
) -> tuple[nn.Module, list[TracedOp]]:
    """A copy of a network, and its layers in the order of their calls.

    Args:
        model: Any network.
        tracer: What follows its calls; torch.fx's plain one if None.

    Raises:
        ValueError: If torch.fx cannot trace it, with its reason.
    """
    network, tracer = copy_network(model), tracer or fx.Tracer()
    try:
        graph = tracer.trace(network)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if "torch" not in Path(f.filename).parts]
        *_, last = own or frames
        raise ValueError(
            f"model={type(model).__name__}: torch.fx cannot trace it: {error},"
            f" in {last.name} (line {last.lineno} of "
            f"{Path(last.filename).name}: {last.line}); a forward must not "
            "decide by what it is given"
        ) from error
    with torch.no_grad():  # torch.fx runs what a forward does to buffers
        for own, original in zip(
            network.buffers(), model.buffers(), strict=True
        ):
            own.copy_(original)
    return network, [_read(node, network) for node in graph.nodes]


def constant(node: fx.Node) -> Any:
    """What a node gives if it follows from the network's tensors alone.

    None if it depends on what the network is given.
    """
    return node.meta["constant"]


def dynamic(value: Any) -> bool:
    """Whether an option is, or holds, the output of another node."""
    if isinstance(value, slice):
        return any(map(dynamic, (value.start, value.stop, value.step)))
    if isinstance(value, tuple | list):
        return any(map(dynamic, value))
    return isinstance(value, fx.Node)


def spread(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """An option that may be one number for all axes."""
    if isinstance(value, Integral):
        return (value,) * axes
    return (*value,) if len(value) == axes else (*value,) * axes


def axes_of(layers: Sequence[TracedOp]) -> int:
    """How many axes a network's maps have, by its first layer that says so.

    2 if none does.
    """
    return next((OF_AXES[o.kind] for o in layers if o.kind in OF_AXES), 2)


def _constant(node: fx.Node, network: nn.Module) -> Any:
    if node.op == "get_attr":
        return operator.attrgetter(node.target)(network)
    inputs = {n: constant(n) for n in node.all_input_nodes}
    calls = node.op in ("call_function", "call_method")
    if not (calls and inputs) or any(v is None for v in inputs.values()):
        return None
    name = _kind(node)
    if name.endswith("_"):  # would change the network
        return None
    args, kwargs = fx.map_arg((node.args, node.kwargs), inputs.get)
    if node.op == "call_function":
        return node.target(*args, **kwargs)
    return getattr(args[0], node.target)(*args[1:], **kwargs)


@torch.no_grad()
def _read(node: fx.Node, network: nn.Module) -> TracedOp:
    node.meta["constant"] = _constant(node, network)
    if node.op == "call_module":
        module = network.get_submodule(node.target)
        kinds = (k for c, k in CLASSES.items() if isinstance(module, c))
        kind = next(kinds, type(module).__name__)
        names = SIGNATURES.get(kind, "").split()
        options = {n: getattr(module, n) for n in names if hasattr(module, n)}
        if kind == "pad":
            modes = (m for c, m in MODES.items() if isinstance(module, c))
            options["pad"] = module.padding
            options["mode"] = next(modes, "constant")
        options["input"] = next(iter(node.all_input_nodes), None)
        kernel = getattr(module, "kernel_size", None)
    else:
        module, kind = None, _kind(node)
        names = SIGNATURES.get(kind, "input").split()
        options = dict(zip(names, node.args, strict=False)) | {
            NUMPYS_NAMES.get(name, name): value
            for name, value in node.kwargs.items()
        }
        kernel = options.get("kernel_size")
        if kind in CONVOLUTIONS:
            weight = constant(options["weight"])
            kernel = None if weight is None else weight.shape[2:]
    known = kind in WINDOWS and kernel is not None and not dynamic(kernel)
    kernel = spread(kernel, OF_AXES[kind]) if known else None
    return TracedOp(node, module, kind, options, kernel)


def _kind(node: fx.Node) -> str:
    """Name of a function of torch or operator, or of a method."""
    if node.op != "call_function":
        return node.target if node.op == "call_method" else node.op
    name = getattr(node.target, "__name__", "")
    torchs = [getattr(library, name, None) for library in LIBRARIES]
    if node.target in torchs or node.target is getattr:
        return name
    return f"{node.target.__module__}.{name}"
