"""What each kind of layer changes when strides become dilations."""

import operator
from fractions import Fraction
from typing import Any

import torch.nn.functional as F
from torch import fx, nn

from atrous.convert import kinds
from atrous.convert.grids import LETTERS, Grid, several
from atrous.convert.kept_layers import RESHAPES, GridKeeper
from atrous.convert.tracing import STRIDE, TracedOp, dynamic
from atrous.ops.pooling import crop, dilated_avg_pool, dilated_max_pool

POOLINGS = {
    **dict.fromkeys(kinds.MAX_POOLINGS, dilated_max_pool),
    **dict.fromkeys(kinds.AVG_POOLINGS, dilated_avg_pool),
}


class DilationRewriter(GridKeeper):
    """Follows a network's layers in order and changes them on the way.

    Functions change in the graph at once. What convolution modules have to
    change is gathered in `edits`; pooling and padding modules whose calls
    were replaced by functions are in `replaced`.

    Args:
        axes: As in `GridKeeper`.
        output_stride: As in `GridKeeper`; without it nothing changes.
        options: As in `GridKeeper`.
    """

    def __init__(self, axes: int, *output_stride: int, **options: bool):
        super().__init__(axes, *output_stride, **options)
        self.edits: dict[nn.Module, dict] = {}
        self.replaced: set[str] = set()

    def follow(self, layer: TracedOp) -> None:
        """Change a layer and find its output's grid.

        Raises:
            ValueError: If it could not be exact.
        """
        node, grid = layer.node, None
        inputs = [n for n in node.all_input_nodes if self.grids[n]]
        self.follow_sizes(layer)
        if node.op == "placeholder":
            grid = Grid.of(node, self.axes)
        elif inputs and node.op != "output":
            grid = self.join(layer, inputs)
            if grid.stride is not None:
                self.check_axes(layer)
                rule = RULES.get(layer.kind, DilationRewriter.unknown)
                grid = rule(self, layer, grid)
            elif layer.kind in kinds.SCALED or layer.stride > 1:
                layer.refuse(f"has a stride, after {grid.size[0].name!r}")
        self.grids[node] = grid

    def check_axes(self, layer: TracedOp) -> None:
        """Raise ValueError if a layer is made for maps of other axes."""
        axes = kinds.OF_AXES.get(layer.kind, self.axes)
        if axes != self.axes:
            layer.refuse(
                f"takes maps of {axes}, and those of this network have "
                f"{self.axes} (axes)"
            )

    def join(self, layer: TracedOp, inputs: list[fx.Node]) -> Grid:
        """The common grid of the maps that a layer takes in."""
        grids = [self.grids[n] for n in inputs]
        pending = sorted({g.dilation for g in grids})
        strides = sorted({g.stride for g in grids} - {None})
        if len(pending) > 1 or len(strides) > 1:
            layer.refuse(
                f"joins strides {strides} and dilations {pending}",
                STRIDE,
            )
        grid = max(grids, key=lambda g: (g.stride is not None, len(g.layout)))
        if pending == [1] or len(grids) == 1:
            return grid
        if len({g.from_the_end for g in grids}) > 1:
            layouts = sorted({g.layout for g in grids})
            layer.refuse(f"joins maps of the layouts {layouts}")
        if len({g.size for g in grids}) == 1:
            return grid
        if not grid.axes_are_last:
            layer.refuse("joins maps of two sizes whose axes are not last")
        # Equal sizes before may differ now, beyond the last coarse place.
        graph = layer.node.graph
        with graph.inserting_before(layer.node):
            step = {"dilation": grid.dilation, "axes": self.axes}
            cropped = graph.call_function(crop, tuple(inputs), step)
            for i, x in enumerate(inputs):
                part = graph.call_function(operator.getitem, (cropped, i))
                self.grids[part] = self.grids[x]
                layer.node.replace_input_with(x, part)
        return grid.sized(cropped)

    def slide(self, layer: TracedOp, grid: Grid) -> Grid:
        """The grid after a window, whose stride is kept or else pending."""
        pending = grid.dilation
        after = self.stepped(layer, grid, layer.stride)
        if after.dilation == pending * layer.stride and layer.kernel:
            parts = zip(layer.ends, layer.excess, layer.spans, strict=True)
            more = (sum(ends) + over - span + 1 for ends, over, span in parts)
            return after.grown(*(pending * n for n in more))
        return after.sized(layer.node)

    def convolution(self, layer: TracedOp, grid: Grid) -> Grid:
        """Dilation and padding are multiplied by the pending dilation."""
        if not grid.axes_are_last:
            return self.unknown(layer, grid)
        node, options, pending = layer.node, layer.options, grid.dilation
        after = self.slide(layer, grid)
        edit = {}
        if after.dilation > pending:
            edit["stride"] = (1,) * self.axes
        if pending > 1:
            mode = self.check(layer)
            edit["dilation"] = _times(pending, layer.dilation)
            before, behind = zip(*layer.ends, strict=True)
            edit["padding"] = _times(pending, before)
            if mode != "constant" or before != behind:
                edit["padding"] = (0,) * self.axes
                sides = _times(pending, layer.sides)
                x, kwargs = options["input"], {"mode": mode}
                with node.graph.inserting_before(node):
                    call = F.pad, (x, sides), kwargs
                    padded = node.graph.call_function(*call)
                self.grids[padded] = grid
                node.replace_input_with(x, padded)
                options = options | {"input": padded}
            if mode != "constant":
                edit["padding_mode"] = "zeros"
                why = f"pads by {mode!r}, exact at some sizes only"
                self.deviates(layer, why, padded, layer.sides, mode)
        if layer.module is None:
            node.args = (options["input"], options["weight"])
            rest = {k: options[k] for k in ("bias", "groups") if k in options}
            old = {"stride": 1, "padding": 0, "dilation": 1}
            old = {k: options.get(k, v) for k, v in old.items()}
            node.kwargs = rest | old | edit
        elif self.edits.setdefault(layer.module, edit) != edit:
            layer.refuse(
                "is called twice and would change in two ways",
                "give each call a module of its own",
            )
        return after

    def check(self, layer: TracedOp) -> str:
        """The padding mode; refuse convolutions that nothing keeps exact."""
        options = layer.options
        others = {*layer.node.all_input_nodes} - {options["input"]}
        if any(self.grids[n] for n in others):
            layer.refuse("takes its weights from a map")
        if layer.kernel is None and options.get("padding") == "same":
            layer.refuse("pads by 'same', with weights of unknown size")
        mode = getattr(layer.module, "padding_mode", "zeros")
        return "constant" if mode == "zeros" or not any(layer.sides) else mode

    def pooling(self, layer: TracedOp, grid: Grid) -> Grid:
        """A pooling is replaced by its dilated form."""
        if not grid.axes_are_last:
            return self.unknown(layer, grid)
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
            padding=_times(pending, layer.spread("padding", 0)),
            excess=_times(pending, layer.excess),
            **{name: options[name] for name in counts if name in options},
        )
        return after

    def padding(self, layer: TracedOp, grid: Grid) -> Grid:
        """Padding of the axes, multiplied by the pending dilation."""
        options, pending = layer.options, grid.dilation
        mode, sides = options.get("mode", "constant"), options["pad"]
        old = sides
        if dynamic(sides):
            return self.unknown(layer, grid)
        ends = [tuple(sides[i : i + 2]) for i in range(0, len(sides), 2)]
        more = {}
        for i, end in enumerate(ends):  # the last dimension's come first
            if letter := grid.spatial([-1 - i]):
                ends[i] = _times(pending, end)
                more |= dict.fromkeys(letter, sum(ends[i]))
        if pending > 1:
            if mode != "constant":
                why = f"pads by {mode!r}, exact at some sizes only"
                self.deviates(layer, why, None, old, mode)
            sides = tuple(side for end in ends for side in end)
            value = options.get("value") or 0
            self.replace(layer, F.pad, sides, mode=mode, value=value)
        return grid.grown(*(more.get(d, 0) for d in grid.axes))

    def replace(self, layer: TracedOp, function, *args, **kwargs) -> None:
        """Turn a layer into the call of a function on the same input."""
        node = layer.node
        if layer.module is not None:
            self.replaced.add(node.target)
        node.op, node.target = "call_function", function
        node.args, node.kwargs = (layer.options["input"], *args), kwargs

    def normalisation(self, layer: TracedOp, grid: Grid) -> Grid:
        """A normalisation stays if its statistics are those of training."""
        if layer.options.get("running_mean") is None:
            return self.statistics(layer, grid)
        return grid if not grid.spatial([1]) else self.unknown(layer, grid)

    def scaled(self, layer: TracedOp, grid: Grid) -> Grid:
        """A layer whose stride is known and which has no dilated form."""
        options, kind = layer.options, layer.kind
        if not grid.axes_are_last:
            return self.unknown(layer, grid)
        if kind == "interpolate" and options.get("scale_factor") is None:
            return self.resized(layer, grid)
        factor = options.get(kinds.SCALED[kind])
        factor = factor or options.get("kernel_size", 1)
        factors = {*factor} if isinstance(factor, tuple | list) else {factor}
        factor = factors.pop()
        if factors or dynamic(factor):
            return self.unknown(layer, grid)
        if grid.dilation > 1:
            if kind != "interpolate":
                return self.unknown(layer, grid)
            self.deviates(layer, kinds.WHY[kind])
        grows = kind not in ("pixel_unshuffle", "lp_pool2d")
        stride = grid.stride * (1 / Fraction(factor) if grows else factor)
        if stride > self.output_stride:
            layer.refuse(
                f"goes to stride {stride}, past output_stride="
                f"{self.output_stride}, and {kinds.WHY[kind]}",
                STRIDE,
            )
        stride = int(stride) if stride == int(stride) else stride
        return grid._replace(stride=stride).sized(layer.node)

    def resized(self, layer: TracedOp, grid: Grid) -> Grid:
        """A map that is brought to a size; the stride is another map's."""
        other = self.size_of(layer.options.get("size"))
        if other is None:
            return self.unknown(layer, grid)
        if grid.dilation > 1:
            self.deviates(layer, kinds.WHY[layer.kind])
        return other._replace(layout=grid.layout)

    def size_of(self, value: Any) -> Grid | None:
        """The grid whose sides a value is, if it is any's."""
        sizes = [self.sizes.get(n) for n in several(value) if dynamic(n)]
        letters = LETTERS[self.axes]
        if None in sizes or "".join(s.letters for s in sizes) != letters:
            return None
        return sizes[0].grid


RULES = {
    **dict.fromkeys(kinds.POINTWISE, DilationRewriter.pointwise),
    **dict.fromkeys(kinds.ALONG, DilationRewriter.along_dim),
    **dict.fromkeys(kinds.REDUCTIONS, DilationRewriter.reduction),
    **dict.fromkeys(kinds.GLOBAL, DilationRewriter.of_old_places),
    **dict.fromkeys(kinds.STATISTICS, DilationRewriter.statistics),
    **dict.fromkeys(kinds.SCALED, DilationRewriter.scaled),
    **dict.fromkeys(kinds.NO_MAPS, DilationRewriter.question),
    **dict.fromkeys(kinds.CONVOLUTIONS, DilationRewriter.convolution),
    **dict.fromkeys(POOLINGS, DilationRewriter.pooling),
    "pad": DilationRewriter.padding,
    "batch_norm": DilationRewriter.normalisation,
    "layer_norm": DilationRewriter.layer_norm,
    "Linear": DilationRewriter.linear,
    "linear": DilationRewriter.linear,
    "permute": DilationRewriter.permutation,
    "transpose": DilationRewriter.permutation,
    "swapaxes": DilationRewriter.permutation,
    "unsqueeze": DilationRewriter.extra_dim,
    "stack": DilationRewriter.extra_dim,
    "squeeze": DilationRewriter.squeeze,
    "getitem": DilationRewriter.index,
    **dict.fromkeys(RESHAPES, DilationRewriter.reshaped),
    "getattr": DilationRewriter.shape_query,
    "size": DilationRewriter.shape_query,
}


def _times(factor: int, numbers: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(factor * n for n in numbers)
