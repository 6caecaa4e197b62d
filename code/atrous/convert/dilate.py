"""Any convolutional network at a smaller stride: strides become dilations.

The network is traced by torch.fx. Every map on its way is followed with its
stride and with the dilation that is pending for the strides left out; a table
of rules says what each kind of layer has to change. A kind without a rule
is refused by name as soon as a dilation is pending.
"""

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from atrous.convert.dilation_rules import DilationRewriter
from atrous.convert.grids import Grid
from atrous.convert.tracing import TracedOp, axes_of, trace
from atrous.ops.copying import copy_network

STATE = (
    "training",
    "_parameters",
    "_buffers",
    "_non_persistent_buffers_set",
)


def dilate(
    model: nn.Module, output_stride: int, *, inexact: str = "refuse"
) -> fx.GraphModule:
    """Copy a network with its last strides turned into dilations.

    Strides are kept up to `output_stride`; each one left out multiplies the
    dilation and the padding of all that follows it, and no weight changes.
    With step = old output stride / new output stride,

        dilate(model, output_stride)(x)[..., ::step, ::step] == model(x)

    up to rounding, at every input size and borders included, and so along
    the one axis of sequences and the three of volumes: a tap of the coarse
    grid falls on padding exactly where it did before. That holds for
    padding by a constant, even or uneven, as numbers, "same" or "valid",
    and for poolings with `ceil_mode`. What is made of a whole map, as in
    squeeze and excitation, is made of the coarse grid's places. In training
    mode batch normalisation takes its statistics over the denser grid, so
    outputs differ.

    Some layers cannot be exact: padding by reflection, replication or
    wrapping around is so only where the side of the map, less 1 in the
    first two cases, is a multiple of the dilation; group and instance
    normalisation take their statistics over the denser grid; interpolation
    starts from it. Where a dilation is pending, they are refused.

    Args:
        model: A network on pictures (B, C, H, W), sequences (B, C, T) or
            volumes (B, C, D, H, W). It is left untouched.
        output_stride: Input pixels per output pixel wanted.
        inexact: "refuse", or "allow" to keep such layers, with a warning
            that names them; `deviations` measures what they cause.

    Returns:
        A network with a copy of the tensors, the same keys in the same
        order in its state dict, and each part in the same mode. Whatever a
        `forward` of the model read from `self.training` is fixed. It can
        only be called as a whole: its parts have no forward of their own.

    Raises:
        ValueError: If the strides do not reach `output_stride`, naming those
            that they reach; if torch.fx cannot trace the model; if what it
            gives is no map, or one of unknown stride; or, naming the layer,
            if one could not be exact: a layer without a rule, one that
            joins maps of different dilations, a convolution that is called
            twice and would have to change in two ways.

    Source:
        Chen et al., arXiv:1606.00915, section 3.1: the last poolings'
        strides removed, the convolutions after them dilated.
        Departs: poolings, paddings and branches are changed as well.
    """
    dilated, rewriter = _dilate(model, output_stride, inexact)
    if rewriter.inexact:
        layers = "; ".join(why for why, _ in rewriter.inexact.values())
        warnings.warn(f"dilate is not exact: {layers}", stacklevel=2)
    return dilated


@torch.no_grad()
def deviations(
    model: nn.Module, output_stride: int, x: Tensor
) -> dict[str, float]:
    """How far `dilate(..., inexact="allow")` is from the network.

    Each inexact layer is measured alone: its own output on the coarse grid
    is compared with what the layer of the old network makes of the same
    input's coarse grid.

    Args:
        model: As for `dilate`; measured in evaluation mode.
        output_stride: As for `dilate`.
        x: Input of the network.

    Returns:
        Largest absolute difference, relative to the largest value, of each
        inexact layer by its name in the graph, and last of the "output".
    """
    model = copy_network(model).eval()
    dilated, rewriter = _dilate(model, output_stride, "allow")
    measured = _Measured(dilated, rewriter)
    found, expected = measured.run(x), model(x)
    (last,) = (n for n in dilated.graph.nodes if n.op == "output")
    grids = fx.map_arg(last.args[0], rewriter.grids.get)
    pairs = zip(
        tree_leaves(found),
        tree_leaves(expected),
        tree_leaves(grids, is_leaf=lambda g: isinstance(g, Grid)),
        strict=True,
    )
    total = max(_error(y[g.old] if g else y, z) for y, z, g in pairs)
    return measured.deviations | {"output": total}


class _Measured(fx.Interpreter):
    """Runs a dilated network, and each inexact layer also as it was."""

    def __init__(self, dilated: fx.GraphModule, rewriter: DilationRewriter):
        super().__init__(dilated, garbage_collect_values=False)
        self.rewriter = rewriter
        self.deviations: dict[str, float] = {}

    def run_node(self, n: fx.Node) -> Any:
        new = super().run_node(n)
        if n in self.rewriter.inexact:
            _, padding = self.rewriter.inexact[n]
            args, kwargs = fx.map_arg((n.args, n.kwargs), self.coarse)
            if padding:
                old = F.pad(args[0], *padding)
            else:
                old = getattr(self, n.op)(n.target, args, kwargs)
            at = self.rewriter.grids[n].old
            self.deviations[n.name] = _error(new[at], old)
        return new

    def coarse(self, n: fx.Node) -> Any:
        """What a node gave, on the old network's grid."""
        grid = self.rewriter.grids.get(n)
        return self.env[n][grid.old] if grid else self.env[n]


def _error(found: Tensor, expected: Tensor) -> float:
    """Of the places that both have: enlarged maps may lack the last."""
    shapes = zip(found.shape, expected.shape, strict=True)
    both = tuple(slice(min(sides)) for sides in shapes)
    found, expected = found[both], expected[both]
    return ((found - expected).abs().max() / expected.abs().max()).item()


def _dilate(
    model: nn.Module, output_stride: int, inexact: str
) -> tuple[fx.GraphModule, DilationRewriter]:
    """The dilated network, and what is known of its graph."""
    if inexact not in ("refuse", "allow"):
        raise ValueError(f"inexact={inexact!r}: must be 'refuse' or 'allow'")
    network, layers = trace(model)
    axes = axes_of(layers)
    as_it_is = DilationRewriter(axes)
    for layer in layers:
        as_it_is.follow(layer)
    strides = {g.stride for g in as_it_is.grids.values() if g} - {None}
    reachable = sorted(s for s in strides if s == int(s))
    if output_stride not in reachable:
        raise ValueError(
            f"output_stride={output_stride}: the strides of "
            f"{type(model).__name__} reach {reachable}"
        )
    allow = inexact == "allow"
    rewriter = DilationRewriter(axes, output_stride, allow_inexact=allow)
    for layer in layers:
        rewriter.follow(layer)
    _check_output(model, layers[-1], rewriter)
    for module, edit in rewriter.edits.items():
        vars(module).update(edit)
    dilated = _hollow(network, fx.GraphModule(nn.Module(), fx.Graph()))
    dilated.graph = layers[0].node.graph
    called = {n.target for n in dilated.graph.nodes if n.op == "call_module"}
    for name in rewriter.replaced - called:
        dilated.delete_submodule(name)  # it would show what is not done
    return dilated, rewriter


def _check_output(
    model: nn.Module, output: TracedOp, rewriter: DilationRewriter
) -> None:
    """Raise ValueError unless a network's output is a map of known stride."""
    grids = [rewriter.grids[n] for n in output.node.all_input_nodes]
    if not any(grids):
        whole = rewriter.whole
        why = f": {whole.title} takes all of a map" if whole else ""
        raise ValueError(
            f"model: {type(model).__name__} gives no map{why}; cut the model "
            "before it"
        )
    for grid in grids:
        if grid and grid.stride is None:
            raise ValueError(
                f"model: {type(model).__name__} has no known output stride: "
                f"{grid.size[0].name!r} has no rule and might have a stride; "
                "cut the model before it"
            )


def _hollow(module: nn.Module, shell: nn.Module) -> nn.Module:
    """Move a module's content into a shell, its containers without forward.

    A graph module made from its root keeps neither what the graph does not
    use nor the order of the state dict.
    """
    tracer = fx.Tracer()
    for name, value in vars(module).items():
        if name in STATE or isinstance(value, Tensor):
            vars(shell)[name] = value
    vars(shell)["_modules"] = {
        name: child
        if child is None or tracer.is_leaf_module(child, name)
        else _hollow(child, nn.Module())
        for name, child in module._modules.items()
    }
    return shell
