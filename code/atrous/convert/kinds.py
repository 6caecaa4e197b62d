"""Kinds of layers, by torch's names of functions and of modules.

A module, a function and a method that do the same have one kind, so that
`nn.Conv2d`, `F.conv2d` and a subclass that calls it read alike. Layers of
sequences, pictures and volumes differ in the number of axes, the digit in
their names.
"""

from torch import nn

_words = str.split
AXES = (1, 2, 3)


def _each(words: str) -> list[str]:
    """Names with the digit of each number of axes in place of {}."""
    return [word.format(axes) for word in words.split() for axes in AXES]


# Module classes that have a function's kind; others have their own name.
CLASSES = {
    **{
        getattr(nn, name.format(axes)): kind.format(axes)
        for name, kind in (
            ("Conv{}d", "conv{}d"),
            ("MaxPool{}d", "max_pool{}d"),
            ("AvgPool{}d", "avg_pool{}d"),
            ("ConvTranspose{}d", "conv_transpose{}d"),
            ("LPPool{}d", "lp_pool{}d"),
            ("ConstantPad{}d", "pad"),
            ("ReflectionPad{}d", "pad"),
            ("ReplicationPad{}d", "pad"),
            ("CircularPad{}d", "pad"),
            ("BatchNorm{}d", "batch_norm"),
        )
        for axes in AXES
    },
    nn.LayerNorm: "layer_norm",
    nn.Softmax: "softmax",
    nn.LogSoftmax: "log_softmax",
    nn.GLU: "glu",
    nn.Upsample: "interpolate",
    nn.PixelShuffle: "pixel_shuffle",
    nn.PixelUnshuffle: "pixel_unshuffle",
}
MODES = {  # of those that pad
    getattr(nn, f"{name}Pad{axes}d"): mode
    for name, mode in (
        ("Reflection", "reflect"),
        ("Replication", "replicate"),
        ("Circular", "circular"),
    )
    for axes in AXES
}
# Kinds that make a fixed number of places, or one, of all of a map.
GLOBAL = _each(
    "AdaptiveAvgPool{}d AdaptiveMaxPool{}d adaptive_avg_pool{}d "
    "adaptive_max_pool{}d"
)
CONVOLUTIONS = _each("conv{}d")
MAX_POOLINGS = _each("max_pool{}d")
AVG_POOLINGS = _each("avg_pool{}d")
# Parameters of the kinds whose options are read, in the function's order.
SIGNATURES = {
    **dict.fromkeys(
        CONVOLUTIONS, "input weight bias stride padding dilation groups"
    ),
    **dict.fromkeys(_each("conv_transpose{}d"), "input weight bias stride"),
    **dict.fromkeys(
        MAX_POOLINGS,
        "input kernel_size stride padding dilation ceil_mode return_indices",
    ),
    **dict.fromkeys(
        AVG_POOLINGS,
        "input kernel_size stride padding ceil_mode count_include_pad "
        "divisor_override",
    ),
    **dict.fromkeys(_each("lp_pool{}d"), "input norm_type kernel_size stride"),
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
WINDOWS = (*CONVOLUTIONS, *MAX_POOLINGS, *AVG_POOLINGS)
# Kinds that act on each place alone.
_POINTWISE = """
AlphaDropout CELU ChannelShuffle Dropout Dropout1d Dropout2d Dropout3d ELU
FeatureAlphaDropout GELU Hardshrink Hardsigmoid Hardswish Hardtanh Identity
LeakyReLU LocalResponseNorm LogSigmoid Mish PReLU ReLU ReLU6 RReLU SELU SiLU
Sigmoid Softmax2d Softplus Softshrink Softsign SyncBatchNorm Tanh Tanhshrink
Threshold

abs absolute add add_ addcdiv addcmul alpha_dropout and_ atan bernoulli
bernoulli_ bfloat16 bool ceil celu celu_ channel_shuffle clamp clamp_ clamp_max
clamp_min clip clip_ clone contiguous copysign cos detach div div_ divide
double dropout dropout1d dropout2d dropout3d elu elu_ eq erf exp expm1
feature_alpha_dropout feature_dropout float floor floor_divide floordiv fmod ge
gelu greater greater_equal gt half hardshrink hardsigmoid hardswish hardswish_
hardtanh hardtanh_ iadd imul int invert isfinite isinf isnan isub itruediv le
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
STATISTICS = [
    *_each("InstanceNorm{}d"),
    *_words("GroupNorm batch_norm group_norm instance_norm layer_norm"),
]
# Kinds with a stride, or one of 1 / n, and no dilated form here: the option
# that holds it.
SCALED = {
    **dict.fromkeys(_each("conv_transpose{}d lp_pool{}d"), "stride"),
    "interpolate": "scale_factor",
    "pixel_shuffle": "upscale_factor",
    "pixel_unshuffle": "downscale_factor",
}
# Kinds that give nothing that depends on places, and such attributes.
NO_MAPS = _words(
    "dim is_floating_point ndimension new_empty new_full new_ones new_tensor "
    "new_zeros"
)
ATTRIBUTES = _words("device dtype is_cuda layout ndim requires_grad")
# How many axes the maps have that a kind takes, where its name says so; the
# last two reorder the pixels of pictures.
OF_AXES = {
    kind: axes
    for axes in AXES
    for kind in (*WINDOWS, *GLOBAL, *SCALED, *STATISTICS)
    if kind.endswith(f"{axes}d")
} | {"pixel_shuffle": 2, "pixel_unshuffle": 2}
# Why other kinds could not be exact.
REASONS = {
    "would take its statistics over a denser grid": STATISTICS,
    "would see a denser grid's places in other positions": _words(
        "Flatten Linear Unfold einsum flatten linear matmul reshape unfold "
        "view"
    ),
    "would enlarge a grid that is denser already": [
        *_each("conv_transpose{}d"),
        *_words("interpolate pixel_shuffle"),
    ],
    "has no dilated form here": ["pixel_unshuffle", *_each("lp_pool{}d")],
    "would take a part of a denser grid": _words("getitem"),
    "would act along an axis of a denser grid": [
        *ALONG,
        *REDUCTIONS,
        "stack",
    ],
    "would read the size of a denser grid": _words("getattr size"),
}
WHY = {kind: why for why, kinds in REASONS.items() for kind in kinds}
