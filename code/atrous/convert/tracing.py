"""Networks read through torch.fx: each layer's kind, window and name.

A module, a function and a method that do the same have one kind, so that
`nn.Conv2d`, `F.conv2d` and a subclass that calls it read alike.
"""

import copy
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import torch
import torch.nn.functional as F
from torch import fx, nn

from atrous.arithmetic import effective_kernel

# Module classes that have a function's kind; others have their own name.
CLASSES = {
    nn.Conv2d: "conv2d",
    nn.MaxPool2d: "max_pool2d",
    nn.AvgPool2d: "avg_pool2d",
    nn.ConstantPad2d: "pad",
    nn.BatchNorm2d: "batch_norm",
    nn.Softmax: "softmax",
    nn.LogSoftmax: "log_softmax",
}
# Parameters of the kinds whose options are read, in the function's order.
SIGNATURES = {
    "conv2d": "input weight bias stride padding dilation groups",
    "max_pool2d": "input kernel_size stride padding dilation ceil_mode "
    "return_indices",
    "avg_pool2d": "input kernel_size stride padding ceil_mode "
    "count_include_pad divisor_override",
    "pad": "input pad mode value",
    "batch_norm": "input running_mean",
    "cat": "tensors dim",
    "concat": "tensors dim",
    "softmax": "input dim",
    "log_softmax": "input dim",
    "chunk": "input chunks dim",
    "split": "input split_size dim",
    "getitem": "input index",
    "getattr": "input index",
    "size": "input index",
}
WINDOWS = ("conv2d", "max_pool2d", "avg_pool2d")
# Kinds that act on each place alone.
_POINTWISE = """
AlphaDropout CELU ChannelShuffle Dropout Dropout2d ELU
FeatureAlphaDropout GELU Hardsigmoid Hardswish Hardtanh Identity LeakyReLU
LocalResponseNorm LogSigmoid Mish PReLU ReLU ReLU6 RReLU SELU SiLU Sigmoid
Softmax2d Softplus Softshrink Softsign SyncBatchNorm Tanh Tanhshrink
Threshold

abs add add_ celu clamp clamp_ clone contiguous detach div div_
dropout dropout2d elu exp float gelu hardsigmoid hardswish hardtanh iadd
imul isub itruediv leaky_relu log logsigmoid maximum minimum mish mul mul_
neg ones_like pow prelu relu relu6 relu_ rsqrt selu sigmoid sigmoid_ silu
softplus softsign sqrt square sub sub_ tanh tanh_ to truediv zeros_like
"""
POINTWISE = frozenset(_POINTWISE.split())
# Kinds that act along the dimension they are given.
ALONG = ("cat", "concat", "softmax", "log_softmax", "chunk", "split")
# Kinds that keep a grid, and cannot once it is denser.
STATISTICS = (
    "GroupNorm InstanceNorm2d LayerNorm batch_norm group_norm instance_norm "
    "layer_norm"
)
# Why other kinds could not be exact.
REASONS = {
    "would pool over a denser grid": (
        "AdaptiveAvgPool2d AdaptiveMaxPool2d adaptive_avg_pool2d "
        "adaptive_max_pool2d amax mean sum"
    ),
    "would take its statistics over a denser grid": STATISTICS,
    "would see a denser grid's places in other positions": (
        "Flatten Linear Unfold flatten linear reshape unfold view"
    ),
    "would enlarge a grid that is denser already": (
        "ConvTranspose2d PixelShuffle Upsample UpsamplingBilinear2d "
        "UpsamplingNearest2d conv_transpose2d interpolate pixel_shuffle"
    ),
    "would take a part of a denser grid": "getitem",
    "would act along height or width of a denser grid": " ".join(ALONG),
    "would read the size of a denser grid": "getattr size",
}
WHY = {kind: why for why, kinds in REASONS.items() for kind in kinds.split()}
LIBRARIES = (torch, F, operator)


class TracedOp(NamedTuple):
    """One step of a traced network.

    Attributes:
        node: Its node in the graph.
        module: The module called, or None for functions and methods.
        kind: What it does: torch's name of the function, or of the module's
            class if that is not among `CLASSES`.
        options: Arguments by their name in `SIGNATURES`; those left to
            their default may be missing.
        kernel: Taps along height and width, None if not known.
    """

    node: fx.Node
    module: nn.Module | None
    kind: str
    options: dict[str, Any]
    kernel: tuple[int, int] | None

    @property
    def stride(self) -> int:
        """Stride of a convolution or pooling along both axes, else 1.

        Raises:
            ValueError: If the axes differ, or it is not a constant.
        """
        if self.kind not in WINDOWS:
            return 1
        geometry = ("kernel_size", "stride", "padding", "dilation")
        if any(dynamic(self.options.get(name)) for name in geometry):
            self.refuse("has a geometry that is computed as it runs")
        default = 1 if self.kind == "conv2d" else self.kernel
        height, width = pair(self.options.get("stride") or default)
        if height != width:
            self.refuse(f"has two different strides, {height} and {width}")
        return height

    @property
    def dilation(self) -> tuple[int, int]:
        """Dilation along height and width."""
        return pair(self.options.get("dilation", 1))

    @property
    def spans(self) -> tuple[int, int]:
        """Effective kernels along height and width."""
        (height, width), (down, across) = self.kernel, self.dilation
        return effective_kernel(height, down), effective_kernel(width, across)

    @property
    def sides(self) -> tuple[int, int, int, int]:
        """Padding at the left, right, top and bottom, as in `F.pad`."""
        padding = self.options.get("padding", 0)
        if padding == "same":
            height, width = (span - 1 for span in self.spans)
            return (width // 2, -(-width // 2), height // 2, -(-height // 2))
        height, width = (0, 0) if padding == "valid" else pair(padding)
        return (width, width, height, height)

    @property
    def excess(self) -> tuple[int, int]:
        """Pixels that `ceil_mode` adds at the bottom and at the right.

        Rounding up admits a last window that reaches over the border, if it
        begins before the padding of the bottom or right.
        """
        if not self.options.get("ceil_mode"):
            return (0, 0)
        _, right, _, bottom = self.sides
        height, width = self.spans
        last = self.stride - 1
        return min(last, height - bottom - 1), min(last, width - right - 1)

    def refuse(self, why: str) -> NoReturn:
        """Raise a ValueError that names the layer and says why."""
        name, kind, place = self.node.name, self.kind, ""
        if self.module is not None:
            name, kind = self.node.target, type(self.module).__name__
        elif stack := [*self.node.meta.get("nn_module_stack", ())]:
            place = f" in {stack[-1]!r}"
        raise ValueError(
            f"model: {kind} {name!r} (node {self.node.name!r}{place}) {why}"
        )


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
    network, tracer = copy.deepcopy(model), tracer or fx.Tracer()
    try:
        graph = tracer.trace(network)
    except Exception as error:
        raise ValueError(
            f"model={type(model).__name__}: torch.fx cannot trace it: {error}"
        ) from error
    return network, [_read(node, network) for node in graph.nodes]


def constant(node: fx.Node, network: nn.Module) -> torch.Tensor:
    """The tensor of the network that a node of the graph stands for."""
    return operator.attrgetter(node.target)(network)


def dynamic(value: Any) -> bool:
    """Whether an option is, or holds, the output of another node."""
    if isinstance(value, tuple | list):
        return any(map(dynamic, value))
    return isinstance(value, fx.Node)


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """Height and width of an option that may be one number for both."""
    if isinstance(value, int):
        return value, value
    return (*value, *value)[:2]


def _read(node: fx.Node, network: nn.Module) -> TracedOp:
    if node.op == "call_module":
        module = network.get_submodule(node.target)
        kinds = (k for c, k in CLASSES.items() if isinstance(module, c))
        kind = next(kinds, type(module).__name__)
        names = SIGNATURES.get(kind, "").split()
        options = {n: getattr(module, n) for n in names if hasattr(module, n)}
        if kind == "pad":
            options["pad"] = module.padding
        options["input"] = next(iter(node.all_input_nodes), None)
        kernel = getattr(module, "kernel_size", None)
    else:
        module, kind = None, _kind(node)
        names = SIGNATURES.get(kind, "").split()
        options = dict(zip(names, node.args, strict=False)) | node.kwargs
        kernel = options.get("kernel_size")
        if kind == "conv2d" and options["weight"].op == "get_attr":
            kernel = constant(options["weight"], network).shape[2:]
    known = kind in WINDOWS and kernel is not None and not dynamic(kernel)
    return TracedOp(
        node, module, kind, options, pair(kernel) if known else None
    )


def _kind(node: fx.Node) -> str:
    """Name of a function of torch or operator, or of a method."""
    if node.op != "call_function":
        return node.target if node.op == "call_method" else node.op
    name = getattr(node.target, "__name__", "")
    torchs = [getattr(library, name, None) for library in LIBRARIES]
    if node.target in torchs or node.target is getattr:
        return name
    return f"{node.target.__module__}.{name}"
