"""Any convolutional network at a smaller stride: strides become dilations.

The network is traced by torch.fx. Every map on its way is followed with its
stride and with the dilation that is pending for the strides left out; a table
of rules says what each kind of layer has to change. A kind without a rule
is refused by name as soon as a dilation is pending.
"""

from torch import Tensor, fx, nn

from atrous.convert.dilation_rules import DilationRewriter
from atrous.convert.tracing import TracedOp, trace

STATE = (
    "training",
    "_parameters",
    "_buffers",
    "_non_persistent_buffers_set",
)


def dilate(model: nn.Module, output_stride: int) -> fx.GraphModule:
    """Copy a network with its last strides turned into dilations.

    Strides are kept up to `output_stride`; each one left out multiplies the
    dilation and the padding of all that follows it, and no weight changes.
    With step = old output stride / new output stride,

        dilate(model, output_stride)(x)[..., ::step, ::step] == model(x)

    up to rounding, at every input size and borders included: a tap of the
    coarse grid falls on padding exactly where it did before. That holds for
    padding by a constant, even or uneven, as numbers, "same" or "valid",
    and for poolings with `ceil_mode`. Padding by reflection, replication or
    wrapping around is refused where a dilation is pending: it is exact
    only where the side of the map, less 1 in the first two cases, is a
    multiple of the dilation. In training mode batch normalisation takes its
    statistics over the denser grid, so outputs differ.

    Args:
        model: A network of 2-d convolutions and poolings on (B, C, H, W).
            It is left untouched.
        output_stride: Input pixels per output pixel wanted.

    Returns:
        A network with a copy of the tensors, the same keys in the same
        order in its state dict, and the same mode. Whatever a `forward`
        of the model read from `self.training` is fixed. It can only be
        called as a whole: its parts have no forward of their own.

    Raises:
        ValueError: If the strides do not reach `output_stride`, naming those
            that they reach; if torch.fx cannot trace the model; or, naming
            the layer, if one could not be exact: a layer without a rule,
            one that joins maps of different dilations, a convolution that
            is called twice and would have to change in two ways.

    Source:
        Chen et al., arXiv:1606.00915, section 3.1: the last poolings'
        strides removed, the convolutions after them dilated.
        Departs: poolings, paddings and branches are changed as well.
    """
    network, layers = trace(model)
    reachable = _reachable(layers)
    if output_stride not in reachable:
        raise ValueError(
            f"output_stride={output_stride}: the strides of "
            f"{type(model).__name__} reach {reachable}"
        )
    rewriter = DilationRewriter(network, output_stride)
    for layer in layers:
        rewriter.follow(layer)
    for module, edit in rewriter.edits.items():
        vars(module).update(edit)
    dilated = _hollow(network, fx.GraphModule(nn.Module(), fx.Graph()))
    dilated.graph = layers[0].node.graph
    called = {n.target for n in dilated.graph.nodes if n.op == "call_module"}
    for name in rewriter.replaced - called:
        dilated.delete_submodule(name)  # it would show what is not done
    return dilated


def _reachable(layers: list[TracedOp]) -> list[int]:
    """The strides that the maps of a network have."""
    strides = {}
    for layer in layers:
        before = (strides[n] for n in layer.node.all_input_nodes)
        strides[layer.node] = max(before, default=1) * layer.stride
    return sorted({*strides.values()})


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
