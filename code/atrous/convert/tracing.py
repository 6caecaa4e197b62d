"""Networks read through torch.fx: each layer's kind, window and name.

A module, a function and a method that do the same have one kind, so that
`nn.Conv2d`, `F.conv2d` and a subclass that calls it read alike.
"""

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
from atrous.ops.copying import copy_network

_words = str.split
# Module classes that have a function's kind; others have their own name.
CLASSES = {
    nn.Conv2d: "conv2d",
    nn.MaxPool2d: "max_pool2d",
    nn.AvgPool2d: "avg_pool2d",
    nn.ConstantPad2d: "pad",
    nn.ReflectionPad2d: "pad",
    nn.ReplicationPad2d: "pad",
    nn.CircularPad2d: "pad",
    nn.BatchNorm2d: "batch_norm",
    nn.LayerNorm: "layer_norm",
    nn.Softmax: "softmax",
    nn.LogSoftmax: "log_softmax",
    nn.GLU: "glu",
    nn.Upsample: "interpolate",
    nn.ConvTranspose2d: "conv_transpose2d",
    nn.PixelShuffle: "pixel_shuffle",
    nn.PixelUnshuffle: "pixel_unshuffle",
    nn.LPPool2d: "lp_pool2d",
}
MODES = {  # of those that pad
    nn.ReflectionPad2d: "reflect",
    nn.ReplicationPad2d: "replicate",
    nn.CircularPad2d: "circular",
}
# Kinds that make a fixed number of places, or one, of all of a map.
GLOBAL = _words(
    "AdaptiveAvgPool2d AdaptiveMaxPool2d adaptive_avg_pool2d "
    "adaptive_max_pool2d"
)
# Parameters of the kinds whose options are read, in the function's order.
SIGNATURES = {
    "conv2d": "input weight bias stride padding dilation groups",
    "conv_transpose2d": "input weight bias stride",
    "max_pool2d": "input kernel_size stride padding dilation ceil_mode "
    "return_indices",
    "avg_pool2d": "input kernel_size stride padding ceil_mode "
    "count_include_pad divisor_override",
    "lp_pool2d": "input norm_type kernel_size stride",
    "interpolate": "input size scale_factor",
    "pixel_shuffle": "input upscale_factor",
    "pixel_unshuffle": "input downscale_factor",
    "pad": "input pad mode value",
    "batch_norm": "input running_mean",
    "layer_norm": "input normalized_shape",
    "permute": "input dims",
    "transpose": "input dim0 dim1",
    "swapaxes": "input dim0 dim1",
    "unsqueeze": "input dim",
    "squeeze": "input dim",
    "cat": "tensors dim",
    "concat": "tensors dim",
    "stack": "tensors dim",
    "unbind": "input dim",
    "chunk": "input chunks dim",
    "split": "input split_size dim",
    "tensor_split": "input sections dim",
    "glu": "input dim",
    "normalize": "input p dim",
    "getitem": "input index",
    "getattr": "input index",
    "size": "input index",
    "norm": "input p dim keepdim",
    **dict.fromkeys(GLOBAL, "input output_size"),
    **dict.fromkeys(("softmax", "log_softmax"), "input dim"),
    **dict.fromkeys(
        ("std", "var", "std_mean", "var_mean"), "input dim unbiased keepdim"
    ),
    **dict.fromkeys(
        _words(
            "all amax amin any argmax argmin logsumexp max mean min prod sum"
        ),
        "input dim keepdim",
    ),
}
WINDOWS = ("conv2d", "max_pool2d", "avg_pool2d")
# Kinds that act on each place alone.
_POINTWISE = """
AlphaDropout CELU ChannelShuffle Dropout Dropout2d ELU
FeatureAlphaDropout GELU Hardshrink Hardsigmoid Hardswish Hardtanh Identity
LeakyReLU LocalResponseNorm LogSigmoid Mish PReLU ReLU ReLU6 RReLU SELU SiLU
Sigmoid Softmax2d Softplus Softshrink Softsign SyncBatchNorm Tanh Tanhshrink
Threshold

abs absolute add add_ addcdiv addcmul alpha_dropout and_ atan bernoulli
bernoulli_ bfloat16 bool ceil celu celu_ channel_shuffle clamp clamp_
clamp_max clamp_min clip clip_ clone contiguous copysign cos detach div div_
divide double dropout dropout2d elu elu_ eq erf exp expm1 feature_alpha_dropout
feature_dropout float floor floor_divide floordiv fmod ge gelu greater
greater_equal gt half hardshrink hardsigmoid hardswish hardswish_ hardtanh
hardtanh_ iadd imul int invert isfinite isinf isnan isub itruediv le
leaky_relu leaky_relu_ lerp less less_equal local_response_norm log log10 log1p
log2 log_sigmoid logical_and logical_not logical_or logical_xor logit
logsigmoid long lt masked_fill masked_fill_ maximum minimum mish mod mul mul_
multiply nan_to_num native_channel_shuffle ne neg negative not_equal ones_like
or_ pos positive pow prelu rand_like randn_like reciprocal relu relu6 relu_
remainder round rrelu rsqrt rsub selu selu_ sigmoid sigmoid_ sign silu sin
softplus softshrink softsign sqrt square sub sub_ subtract tan tanh tanh_
tanhshrink threshold threshold_ to true_divide truediv trunc type_as where xor
zeros_like

torchvision.ops.stochastic_depth.stochastic_depth
"""
POINTWISE = frozenset(_words(_POINTWISE))
# Those that act along the channels, dimension 1.
OF_CHANNELS = _words(
    "ChannelShuffle LocalResponseNorm PReLU Softmax2d channel_shuffle "
    "local_response_norm native_channel_shuffle prelu"
)
# Kinds that act along the dimension they are given, and their default.
ALONG = {
    "cat": 0,
    "concat": 0,
    "chunk": 0,
    "split": 0,
    "tensor_split": 0,
    "unbind": 0,
    "softmax": 1,
    "log_softmax": 1,
    "normalize": 1,
    "glu": -1,
}
# Kinds that give several maps of one grid.
PARTS = _words("chunk max min split std_mean tensor_split unbind var_mean")
# Kinds that make one number of the dimensions they are given, or of all.
REDUCTIONS = _words(
    "all amax amin any argmax argmin logsumexp max mean min norm prod std "
    "std_mean sum var var_mean"
)
# Kinds that keep a grid, and cannot once it is denser.
STATISTICS = _words(
    "GroupNorm InstanceNorm2d batch_norm group_norm instance_norm layer_norm"
)
# Kinds with a stride, or one of 1 / n, and no dilated form here: the option
# that holds it.
SCALED = {
    "conv_transpose2d": "stride",
    "interpolate": "scale_factor",
    "lp_pool2d": "stride",
    "pixel_shuffle": "upscale_factor",
    "pixel_unshuffle": "downscale_factor",
}
# Kinds that give nothing that depends on places, and such attributes.
NO_MAPS = _words(
    "dim is_floating_point ndimension new_empty new_full new_ones new_tensor "
    "new_zeros"
)
ATTRIBUTES = _words("device dtype is_cuda layout ndim requires_grad")
# Kinds of layers of other than two dimensions.
OTHER_DIMENSIONS = [
    kind + suffix
    for suffix in ("1d", "3d")
    for kind in _words(
        "AdaptiveAvgPool AdaptiveMaxPool AvgPool BatchNorm Conv ConvTranspose "
        "InstanceNorm MaxPool adaptive_avg_pool adaptive_max_pool avg_pool "
        "conv conv_transpose max_pool"
    )
]
# Why other kinds could not be exact.
REASONS = {
    "would take its statistics over a denser grid": STATISTICS,
    "would see a denser grid's places in other positions": _words(
        "Flatten Linear Unfold einsum flatten linear matmul reshape unfold "
        "view"
    ),
    "would enlarge a grid that is denser already": _words(
        "conv_transpose2d interpolate pixel_shuffle"
    ),
    "has no dilated form here": _words("pixel_unshuffle lp_pool2d"),
    "would take a part of a denser grid": _words("getitem"),
    "would act along height or width of a denser grid": [
        *ALONG,
        *REDUCTIONS,
        "stack",
    ],
    "would read the size of a denser grid": _words("getattr size"),
}
WHY = {kind: why for why, kinds in REASONS.items() for kind in kinds}
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
            self.refuse(
                "has a geometry that is computed as it runs",
                "make it of constants",
            )
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


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """Height and width of an option that may be one number for both."""
    if isinstance(value, Integral):
        return value, value
    return (*value, *value)[:2]


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
        if kind == "conv2d":
            weight = constant(options["weight"])
            kernel = None if weight is None else weight.shape[2:]
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
