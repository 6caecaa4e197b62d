"""What each kind of layer changes when strides become dilations."""

import operator
from typing import NamedTuple

import torch.nn.functional as F
from torch import fx, nn

from atrous.convert import tracing
from atrous.convert.tracing import TracedOp, constant, dynamic, pair
from atrous.ops.pooling import crop, dilated_avg_pool2d, dilated_max_pool2d

POOLINGS = {"max_pool2d": dilated_max_pool2d, "avg_pool2d": dilated_avg_pool2d}


class Grid(NamedTuple):
    """What is known of a map in the new network.

    Attributes:
        stride: Input pixels between its places; None after a layer without
            a rule, which is allowed while no dilation is pending.
        dilation: The pending dilation: places to one of the old network's.
        size: A node, and how many rows and columns more than its output.
    """

    stride: int | None
    dilation: int
    size: tuple[fx.Node, int, int]

    def grown(self, rows: int, columns: int) -> "Grid":
        """The same grid with that many more rows and columns."""
        node, down, across = self.size
        return self._replace(size=(node, down + rows, across + columns))


class DilationRewriter:
    """Follows a network's layers in order and changes them on the way.

    Functions change in the graph at once. What convolution modules have to
    change is gathered in `edits`; pooling and padding modules whose calls
    were replaced by functions are in `replaced`.

    Args:
        network: The network, for its constants.
        output_stride: The stride up to which strides are kept.
    """

    def __init__(self, network: nn.Module, output_stride: int):
        self.network = network
        self.output_stride = output_stride
        self.edits: dict[nn.Module, dict] = {}
        self.replaced: set[str] = set()
        self.grids: dict[fx.Node, Grid | None] = {}  # None: not a map

    def follow(self, layer: TracedOp) -> None:
        """Change a layer and find its output's grid.

        Raises:
            ValueError: If it could not be exact.
        """
        node, grid = layer.node, None
        inputs = [n for n in node.all_input_nodes if self.grids[n]]
        if node.op == "placeholder":
            grid = Grid(1, 1, (node, 0, 0))
        elif inputs and node.op != "output":
            rule = RULES.get(layer.kind, DilationRewriter.unknown)
            grid = rule(self, layer, self.join(layer, inputs))
        self.grids[node] = grid

    def join(self, layer: TracedOp, inputs: list[fx.Node]) -> Grid:
        """The common grid of the maps that a layer takes in."""
        grids = [self.grids[n] for n in inputs]
        pending = sorted({g.dilation for g in grids})
        strides = sorted({g.stride for g in grids} - {None})
        if len(pending) > 1 or len(strides) > 1:
            layer.refuse(f"joins strides {strides} and dilations {pending}")
        grid = next((g for g in grids if g.stride), grids[0])
        if pending == [1] or len({g.size for g in grids}) == 1:
            return grid
        # Equal sizes before may differ now, beyond the last coarse place.
        graph = layer.node.graph
        with graph.inserting_before(layer.node):
            step = {"dilation": grid.dilation}
            cropped = graph.call_function(crop, tuple(inputs), step)
            for i, x in enumerate(inputs):
                part = graph.call_function(operator.getitem, (cropped, i))
                layer.node.replace_input_with(x, part)
        return grid._replace(size=(cropped, 0, 0))

    def slide(self, layer: TracedOp, grid: Grid) -> Grid:
        """The grid after a window, whose stride is kept or else pending."""
        stride, pending = layer.stride, grid.dilation
        if stride > 1:
            if grid.stride is None:
                layer.refuse(f"has a stride, after {grid.size[0].name!r}")
            reached = grid.stride * stride
            if reached <= self.output_stride:
                return Grid(reached, 1, (layer.node, 0, 0))
            if grid.stride < self.output_stride:
                layer.refuse(
                    f"goes from stride {grid.stride} to {reached} at once, "
                    f"past output_stride={self.output_stride}"
                )
        grid = grid._replace(dilation=pending * stride)
        if layer.kernel is None:
            return grid._replace(size=(layer.node, 0, 0))
        left, right, top, bottom = layer.sides
        (below, beside), (height, width) = layer.excess, layer.spans
        return grid.grown(
            pending * (top + bottom + below - height + 1),
            pending * (left + right + beside - width + 1),
        )

    def convolution(self, layer: TracedOp, grid: Grid) -> Grid:
        """Dilation and padding are multiplied by the pending dilation."""
        node, options, pending = layer.node, layer.options, grid.dilation
        after = self.slide(layer, grid)
        edit = {"stride": (1, 1)} if after.dilation > pending else {}
        if pending > 1:
            self.check(layer)
            edit["dilation"] = _times(pending, layer.dilation)
            left, right, top, bottom = sides = _times(pending, layer.sides)
            edit["padding"] = (top, left)
            if (left, top) != (right, bottom):
                edit["padding"], x = (0, 0), options["input"]
                with node.graph.inserting_before(node):
                    padded = node.graph.call_function(F.pad, (x, sides))
                node.replace_input_with(x, padded)
                options["input"] = padded
        if layer.module is None:
            node.args = (options.pop("input"), options.pop("weight"))
            node.kwargs = options | edit
        elif self.edits.setdefault(layer.module, edit) != edit:
            layer.refuse("is called twice and would change in two ways")
        return after

    def check(self, layer: TracedOp) -> None:
        """Refuse the convolutions that no dilation keeps exact."""
        options = layer.options
        others = {*layer.node.all_input_nodes} - {options["input"]}
        if any(self.grids[n] for n in others):
            layer.refuse("takes its weights from a map")
        if layer.kernel is None and options.get("padding") == "same":
            layer.refuse("pads by 'same', with weights of unknown size")
        mode = getattr(layer.module, "padding_mode", "zeros")
        if mode != "zeros" and any(layer.sides):
            layer.refuse(f"pads by {mode!r}, exact at some sizes only")

    def pooling(self, layer: TracedOp, grid: Grid) -> Grid:
        """A pooling is replaced by its dilated form."""
        pending, options = grid.dilation, layer.options
        after = self.slide(layer, grid)
        if after.dilation == 1:
            return after
        if options.get("return_indices"):
            layer.refuse("returns indices, which would be of another map")
        counts = ("count_include_pad", "divisor_override")
        self.replace(
            layer,
            POOLINGS[layer.kind],
            layer.kernel,
            dilation=_times(pending, layer.dilation),
            padding=_times(pending, pair(options.get("padding", 0))),
            excess=_times(pending, layer.excess),
            **{name: options[name] for name in counts if name in options},
        )
        return after

    def padding(self, layer: TracedOp, grid: Grid) -> Grid:
        """Padding of height and width, multiplied by the pending dilation."""
        options, pending = layer.options, grid.dilation
        mode, sides = options.get("mode", "constant"), options["pad"]
        if dynamic(sides):
            return self.unknown(layer, grid)
        sides = (*_times(pending, tuple(sides[:4])), *sides[4:])
        if pending > 1:
            if mode != "constant":
                layer.refuse(f"pads by {mode!r}, exact at some sizes only")
            self.replace(layer, F.pad, sides, value=options.get("value"))
        left, right, top, bottom = (*sides, 0, 0)[:4]
        return grid.grown(top + bottom, left + right)

    def replace(self, layer: TracedOp, function, *args, **kwargs) -> None:
        """Turn a layer into the call of a function on the same input."""
        node = layer.node
        if layer.module is not None:
            self.replaced.add(node.target)
        node.op, node.target = "call_function", function
        node.args, node.kwargs = (layer.options["input"], *args), kwargs

    def pointwise(self, layer: TracedOp, grid: Grid) -> Grid:
        """A pointwise layer stays, unless a constant has the old size."""
        for node in layer.node.all_input_nodes:
            if node.op == "get_attr" and grid.dilation > 1:
                shape = constant(node, self.network).shape
                if len(shape) > 1 and shape[-2:].numel() > 1:
                    layer.refuse(f"joins {node.target!r}: {[*shape]}")
        return grid

    def normalisation(self, layer: TracedOp, grid: Grid) -> Grid:
        """A normalisation stays if its statistics are those of training."""
        if layer.options.get("running_mean") is None:
            return self.unknown(layer, grid)
        return grid

    def along_dim(self, layer: TracedOp, grid: Grid) -> Grid:
        """A layer that acts along the batch or the channels stays."""
        if layer.options.get("dim") in (None, 0, 1, -3, -4):
            return grid
        return self.unknown(layer, grid)

    def index(self, layer: TracedOp, grid: Grid) -> Grid:
        """Taking a chunk, or some of the channels, stays as it is."""
        whole, index = layer.node.args
        index = index if isinstance(index, tuple) else (index,)
        parts = getattr(whole.target, "__name__", whole.target)
        channels = len(index) < 3 and all(isinstance(i, slice) for i in index)
        if parts in ("chunk", "split") or channels:
            return grid
        return self.unknown(layer, grid)

    def shape_query(self, layer: TracedOp, grid: Grid) -> Grid | None:
        """A size query is allowed only if its value cannot change.

        What it gives is no map, so it has no grid.
        """
        wanted, users = layer.options.get("index", "shape"), layer.node.users
        same = grid.dilation == 1 or all(
            n.target is operator.getitem and n.args[1] in (0, 1) for n in users
        )
        if wanted in ("dtype", "device", 0, 1):
            return None
        if same and wanted in ("shape", 2, 3, -1, -2):
            return None
        return self.unknown(layer, grid)

    def unknown(self, layer: TracedOp, grid: Grid) -> Grid:
        """A layer without a rule is allowed only while none is pending."""
        if grid.dilation > 1:
            why = tracing.WHY.get(
                layer.kind, "has no rule and might mix places"
            )
            layer.refuse(f"{why}: remove it, or cut the model before it")
        keeps = layer.kind in tracing.STATISTICS.split()
        return Grid(grid.stride if keeps else None, 1, (layer.node, 0, 0))


RULES = {
    **dict.fromkeys(tracing.POINTWISE, DilationRewriter.pointwise),
    **dict.fromkeys(tracing.ALONG, DilationRewriter.along_dim),
    "conv2d": DilationRewriter.convolution,
    "max_pool2d": DilationRewriter.pooling,
    "avg_pool2d": DilationRewriter.pooling,
    "pad": DilationRewriter.padding,
    "batch_norm": DilationRewriter.normalisation,
    "getitem": DilationRewriter.index,
    "getattr": DilationRewriter.shape_query,
    "size": DilationRewriter.shape_query,
}


def _times(factor: int, numbers: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(factor * n for n in numbers)
