"""What a network calls on a picture, read by running it without data.

A network is copied to the meta device, which knows shapes and no values, and
run once. Its convolutions, poolings, sums, concatenations and interpolations
are written down in their order, and gathered into the stages of a drawing.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from atrous.arithmetic import Window, check_positive
from atrous.ops.copying import copy_network

LAYERS = {
    nn.Conv2d: "convolution",
    nn.MaxPool2d: "max",
    nn.AvgPool2d: "mean",
}
OPERATIONS = {
    "add": "sum",
    "add_": "sum",
    "cat": "concatenation",
    "concat": "concatenation",
    "interpolate": "interpolation",
}


class Call(NamedTuple):
    """One layer or operation that ran.

    Attributes:
        name: Dotted name of the module, the first if it has several; of an
            operation, that of the module whose forward calls it, and its
            kind.
        kind: A value of `LAYERS` or `OPERATIONS`; of an interpolation its
            mode.
        window: Its spatial structure, padding left out; None if it is an
            operation.
        reads: Channels and side of what it is given; of the first of several.
        makes: Channels and side of its output.
    """

    name: str
    kind: str
    window: Window | None
    reads: tuple[int, int]
    makes: tuple[int, int]

    @property
    def rate(self) -> int | None:
        """Dilation of a convolution; None if it has one tap, or is none."""
        if self.kind != "convolution" or self.window.kernel == 1:
            return None
        return self.window.dilation


class Stage(NamedTuple):
    """One row of a drawing: what runs one after another, or side by side.

    Attributes:
        branches: The calls of each branch; a single one as a rule.
        join: The operations that join several branches.
    """

    branches: tuple[tuple[Call, ...], ...]
    join: tuple[Call, ...] = ()

    @property
    def reads(self) -> tuple[int, int]:
        """Channels and side of the map that comes in."""
        return self.branches[0][0].reads

    @property
    def makes(self) -> tuple[int, int]:
        """Channels and side of the map that goes out."""
        return (self.join or self.branches[0])[-1].makes

    @property
    def units(self) -> tuple[str, ...]:
        """How the names of residual units, which add what they read, begin."""
        calls = [call for branch in self.branches for call in branch]
        sums = [call.name for call in calls if call.kind == "sum"]
        names = dict.fromkeys(name.removesuffix("sum") for name in sums)
        layers = [call.name for call in calls if call.window]
        return tuple(
            name for name in names if any(x.startswith(name) for x in layers)
        )

    def path(self, branch: int = 0) -> tuple[Call, ...]:
        """Calls of a branch on its longest way, without its shortcuts.

        A shortcut has a layer of its own where a unit changes the shape of
        its map: that layer reads another shape than the one before it made.
        """
        found = []
        for call in self.branches[branch]:
            beside = found and found[-1].makes != call.reads
            if call.name.startswith(self.units) and (
                call.kind == "sum" or beside
            ):
                continue
            found.append(call)
        return tuple(found)


def record_calls(
    network: nn.Module, size: int, *, channels: int = 3
) -> tuple[Call, ...]:
    """What a network calls on a square picture, in order.

    Args:
        network: Any network of one input, (B, C, size, size); it is copied,
            and runs as in evaluation.
        size: Side of the picture.
        channels: Channels C of the picture.

    Raises:
        ValueError: If a number is below 1, or a kernel, stride or dilation
            is not the same along both axes; names the layer.
    """
    check_positive(size=size, channels=channels)
    copied = copy_network(network).to("meta").eval()
    recorder = _Recorder()
    hooks = []
    for name, module in copied.named_modules():
        kind = next((k for c, k in LAYERS.items() if isinstance(module, c)), 0)
        hooks.append(module.register_forward_pre_hook(recorder.enter(name)))
        hooks.append(module.register_forward_hook(recorder.leave(name, kind)))
    parameter = next(copied.parameters(), torch.empty(0))
    picture = torch.empty(
        1, channels, size, size, dtype=parameter.dtype, device="meta"
    )
    with torch.no_grad(), recorder:
        copied(picture)
    return tuple(recorder.calls)


Prefixes = str | tuple[str, ...]


def stages(
    calls: Sequence[Call], rows: Mapping[str, Prefixes | list[Prefixes]]
) -> dict[str, Stage]:
    """Gather calls into the rows of a drawing.

    Args:
        calls: From `record_calls`.
        rows: By the title of each row, how the names of its calls begin: one
            beginning, or a tuple of several. A list of these stands for
            branches side by side; in it "branches.*" makes each child of
            that module a branch, and what has no layer joins them. The
            longest beginning that fits decides.

    Raises:
        ValueError: If a call is in no row, or a row has none: a drawing
            leaves nothing out.
    """
    beginnings = {}
    for title, branches in rows.items():
        for branch in branches if isinstance(branches, list) else [branches]:
            for prefix in (branch,) if isinstance(branch, str) else branch:
                beginnings[prefix.removesuffix("*")] = title, branch
    found: dict[str, dict] = {title: {} for title in rows}
    for call in calls:
        fitting = [p for p in beginnings if call.name.startswith(p)]
        if not fitting:
            raise ValueError(
                f"rows={[*rows]}: none holds {call.name!r}, a {call.kind}; "
                "name it or what it begins with"
            )
        prefix = max(fitting, key=len)
        title, branch = beginnings[prefix]
        if f"{prefix}*" == branch:
            branch = prefix + call.name[len(prefix) :].partition(".")[0]
        found[title].setdefault(branch, []).append(call)
    empty = [title for title, branches in found.items() if not branches]
    if empty:
        raise ValueError(f"rows={empty}: no call's name begins like that")
    return {title: _stage([*found[title].values()]) for title in rows}


def step_after(stage: Stage, kind: str) -> Stage:
    """A step that is no part of a network, on the map that a stage makes.

    Args:
        stage: What comes before it.
        kind: What the step does, in a word or two.
    """
    return Stage(((Call(kind, kind, None, stage.makes, stage.makes),),))


class _Recorder(TorchFunctionMode):
    """Writes down layers by hooks, and operations as torch sees them."""

    def __init__(self):
        super().__init__()
        self.calls: list[Call] = []
        self.running: list[str] = []  # names of modules, the innermost last

    def enter(self, name: str):
        def hook(module, inputs):
            self.running.append(name)

        return hook

    def leave(self, name: str, kind: str | None):
        def hook(module, inputs, output):
            self.running.pop()
            if kind:
                window = _window(name, module)
                shapes = _shape(inputs[0]), _shape(output)
                self.calls.append(Call(name, kind, window, *shapes))

        return hook

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        kind = OPERATIONS.get(getattr(func, "__name__", ""))
        given = args[0] if args and kind == "concatenation" else args
        maps = [x for x in given if isinstance(x, Tensor) and x.ndim == 4]
        if kind and len(maps) >= (1 if kind == "interpolation" else 2):
            name = ".".join(filter(None, (self.running[-1], kind)))
            if kind == "interpolation":
                kind = kwargs.get("mode", "nearest")
            shapes = _shape(maps[0]), _shape(result)
            self.calls.append(Call(name, kind, None, *shapes))
        return result


def _stage(branches: list[list[Call]]) -> Stage:
    layers = [b for b in branches if any(call.window for call in b)]
    joins = [call for b in branches if b not in layers for call in b]
    if not layers:  # a row of operations alone
        layers, joins = [joins], []
    return Stage(tuple(map(tuple, layers)), tuple(joins))


def _shape(x: Tensor) -> tuple[int, int]:
    return x.shape[1], x.shape[2]


def _window(name: str, module: nn.Module) -> Window:
    numbers = {}
    for option in ("kernel_size", "stride", "dilation"):
        value = getattr(module, option, 1)  # average pooling has no dilation
        pair = value if isinstance(value, tuple) else (value, value)
        if pair[0] != pair[1]:
            raise ValueError(
                f"network: {name!r} has {option}={value}; a drawing shows "
                "what is the same along both axes"
            )
        numbers[option.removesuffix("_size")] = pair[0]
    return Window(**numbers)
