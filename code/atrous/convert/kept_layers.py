"""Layers that keep the grid of a map, or refuse to: what they act along."""

import math
import operator
from typing import Any

from torch import fx

from atrous.convert import kinds
from atrous.convert.grids import (
    SPATIAL,
    Bounds,
    Grid,
    Size,
    bounds,
    several,
    spelt_out,
    without,
)
from atrous.convert.tracing import STRIDE, TracedOp, constant, dynamic

RESHAPES = ("reshape", "view")
# What may stand in the index of a map.
PARTS = (int, list, slice, Bounds, type(None))


class GridKeeper:
    """Follows maps through layers that keep their places.

    Args:
        axes: How many axes the maps have.
        output_stride: The stride up to which strides are kept.
        allow_inexact: Whether to keep layers that are not exact on a denser
            grid, not to refuse them. They are in `inexact`, with the reason
            and with the sides and the mode that a padding had.
    """

    def __init__(
        self,
        axes: int,
        output_stride: float = math.inf,
        *,
        allow_inexact: bool = False,
    ):
        self.axes = axes
        self.output_stride = output_stride
        self.allow_inexact = allow_inexact
        self.inexact: dict[fx.Node, tuple[str, tuple]] = {}
        self.grids: dict[fx.Node, Grid | None] = {}  # None: not a map
        self.sizes: dict[fx.Node, Size] = {}
        self.several: set[fx.Node] = set()  # that give several maps
        self.whole: TracedOp | None = None  # the last that takes a whole map

    def follow_sizes(self, layer: TracedOp) -> None:
        """Follow what holds the sides of a map.

        Raises:
            ValueError: If the map is denser now, and the size has another
                use than to keep the places as they are.
        """
        node, kind = layer.node, layer.kind
        first = next(iter(node.args), None)
        for asked in node.all_input_nodes:
            size = self.sizes.get(asked)
            if size is None:
                continue
            part = layer.options.get("index")
            if kind == "getitem" and asked is first and not dynamic(part):
                letters = size.letters[part]
                if SPATIAL & {*letters}:
                    self.sizes[node] = size._replace(letters=letters)
                continue
            keeps = kind in RESHAPES and self.grids.get(first)
            if size.grid.dilation > 1 and not keeps:
                self.unknown(size.layer, size.grid)

    def stepped(self, layer: TracedOp, grid: Grid, stride: int) -> Grid:
        """The grid after a stride, which is kept or else pending."""
        if stride == 1:
            return grid
        reached = grid.stride * stride
        if reached <= self.output_stride:
            return grid._replace(stride=reached).sized(layer.node)
        if grid.stride < self.output_stride:
            layer.refuse(
                f"goes from stride {grid.stride} to {reached} at once, "
                f"past output_stride={self.output_stride}",
                STRIDE,
            )
        return grid._replace(dilation=grid.dilation * stride)

    def unknown(self, layer: TracedOp, grid: Grid) -> Grid:
        """A layer without a rule is allowed only while none is pending."""
        if grid.dilation > 1:
            why = kinds.WHY.get(layer.kind, "has no rule and might mix places")
            layer.refuse(why)
        return Grid.of(layer.node, self.axes, None)

    def statistics(self, layer: TracedOp, grid: Grid) -> Grid:
        """Statistics over places change with the grid."""
        if grid.dilation > 1:
            self.deviates(layer, kinds.WHY[layer.kind])
        return grid

    def deviates(
        self,
        layer: TracedOp,
        why: str,
        node: fx.Node | None = None,
        *before: Any,
    ) -> None:
        """Note a layer that is kept though it is not exact, or refuse it.

        Args:
            layer: The layer.
            why: Ends a sentence that begins with the layer.
            node: Where the deviation comes from; the layer's if None.
            before: The sides and the mode that a padding had.
        """
        if not self.allow_inexact:
            layer.refuse(why, 'inexact="allow" keeps it nevertheless')
        self.inexact[node or layer.node] = (f"{layer.title} {why}", before)

    def pointwise(self, layer: TracedOp, grid: Grid) -> Grid:
        """A pointwise layer stays, unless a constant has the old size."""
        if layer.kind in kinds.OF_CHANNELS and grid.spatial([1]):
            return self.unknown(layer, grid)
        others = [n for n in layer.node.all_input_nodes if not self.grids[n]]
        for node in others if grid.dilation > 1 else ():
            shape = getattr(constant(node), "shape", ())
            sides = (shape[d] for d in grid.from_the_end if -d <= len(shape))
            if any(side > 1 for side in sides):
                layer.refuse(f"joins {node.target!r}: {[*shape]}")
        return grid

    def layer_norm(self, layer: TracedOp, grid: Grid) -> Grid:
        """A layer normalisation stays if it is one of each place."""
        shape = layer.options["normalized_shape"]
        if dynamic(shape) or grid.spatial(range(-len(shape), 0)):
            return self.statistics(layer, grid)
        return grid

    def linear(self, layer: TracedOp, grid: Grid) -> Grid:
        """A linear layer stays if it mixes no places."""
        return self.unknown(layer, grid) if grid.spatial([-1]) else grid

    def along_dim(self, layer: TracedOp, grid: Grid) -> Grid:
        """A layer that acts along another dimension than axes stays."""
        dim = layer.options.get("dim")
        dim = kinds.ALONG[layer.kind] if dim is None else dim
        if dynamic(dim) or grid.spatial([dim]):
            return self.unknown(layer, grid)
        if layer.kind in kinds.PARTS:
            self.several.add(layer.node)
        if layer.kind == "unbind":
            return grid._replace(layout=without(grid.layout, [dim]))
        return grid

    def reduction(self, layer: TracedOp, grid: Grid) -> Grid | None:
        """Of other dimensions: the map stays one; of all places: a number.

        That number is made of the places that the old network had.
        """
        options, kind = layer.options, layer.kind
        dims = options.get("other", options.get("dim"))
        if kind in ("max", "min") and isinstance(dims, fx.Node):
            return self.pointwise(layer, grid)
        if dims is None or dims in ((), []):
            return self.of_old_places(layer, grid)
        dims = [dims] if isinstance(dims, int) else dims
        if dynamic(dims) or 0 < len(grid.spatial(dims)) < self.axes:
            return self.unknown(layer, grid)
        if grid.spatial(dims):
            return self.of_old_places(layer, grid)
        if kind in kinds.PARTS:
            self.several.add(layer.node)
        if options.get("keepdim"):
            return grid
        return grid._replace(layout=without(grid.layout, dims))

    def of_old_places(self, layer: TracedOp, grid: Grid) -> Grid | None:
        """What is made of a whole map is made of the old places alone.

        It is the old network's value, and no map of this grid.
        """
        node, x = layer.node, layer.options["input"]
        sides = several(layer.options.get("output_size", 1))
        if None in sides or dynamic(sides):
            return self.unknown(layer, grid)
        self.whole = layer
        if grid.dilation > 1:
            with node.graph.inserting_before(node):
                call = operator.getitem, (x, grid.old)
                old = node.graph.call_function(*call)
            self.grids[old] = None
            node.replace_input_with(x, old)
        return None

    def permutation(self, layer: TracedOp, grid: Grid) -> Grid:
        """Dimensions in another order."""
        options, node = layer.options, layer.node
        dims = options.get("dims")
        if layer.kind == "permute":
            if not isinstance(dims, tuple | list):  # x.permute(0, 2, 3, 1)
                dims = node.args[1:]
        else:
            dims = [*range(len(grid.layout))]
            one, two = options["dim0"], options["dim1"]
            dims[one], dims[two] = dims[two], dims[one]
        if dynamic(dims):
            return self.unknown(layer, grid)
        return grid._replace(layout="".join(grid.layout[d] for d in dims))

    def extra_dim(self, layer: TracedOp, grid: Grid) -> Grid:
        """A dimension more, of length 1 or that of a stack."""
        dim, dims = layer.options.get("dim") or 0, len(grid.layout) + 1
        layout = [*grid.layout]
        layout.insert(dim % dims, ".")
        return grid._replace(layout="".join(layout))

    def squeeze(self, layer: TracedOp, grid: Grid) -> Grid:
        """A dimension less."""
        dim = layer.options.get("dim")
        if dim is None or dynamic(dim) or grid.spatial(several(dim)):
            return self.unknown(layer, grid)
        layout = without(grid.layout, several(dim))
        return grid._replace(layout=layout)

    def reshaped(self, layer: TracedOp, grid: Grid) -> Grid:
        """Other dimensions are taken apart or joined, not the axes."""
        _, *shape = layer.node.args
        if len(shape) == 1 and isinstance(shape[0], tuple | list):
            shape = [*shape[0]]
        first = len(shape) - self.axes
        ends = [self.sizes.get(s) for s in shape[first:] if dynamic(s)]
        ends = [size for size in ends if size and size.grid.size == grid.size]
        others = [s for s in shape[:first] if dynamic(s) and s in self.sizes]
        kept = "".join(size.letters for size in ends) == grid.axes
        if not kept or others or not grid.axes_are_last:
            return self.unknown(layer, grid)
        return grid._replace(layout="." * first + grid.axes)

    def index(self, layer: TracedOp, grid: Grid) -> Grid:
        """One of several maps, or a part of one.

        Every k-th place from the i-th on, along all axes: k is a stride. All
        but the first or last ones: their number is multiplied.
        """
        whole, index = layer.node.args
        if whole in self.several:
            return grid
        index = index if isinstance(index, tuple) else (index,)
        index = spelt_out(index, len(grid.layout))
        if {int, list} <= {*map(type, index)}:  # which may move dimensions
            return self.unknown(layer, grid)
        layout, kept, strides, letters = "", [], set(), iter(grid.layout)
        for part in index:
            letter = "." if part is None else next(letters, None)
            if letter in SPATIAL:
                stride, part = bounds(part, letter)
                strides.add(stride)
            if letter is None or not isinstance(part, PARTS):
                return self.unknown(layer, grid)
            layout += "" if isinstance(part, int) else letter
            kept.append(part)
        if len(strides) != 1 or None in strides:
            return self.unknown(layer, grid)
        after = self.stepped(layer, grid, strides.pop())
        return self.cut(layer, grid, after, layout, kept)

    def cut(
        self, layer: TracedOp, grid: Grid, after: Grid, layout: str, kept: list
    ) -> Grid:
        """The grid after a part is taken, and in the graph the new part."""
        after, pending = after._replace(layout=layout), grid.dilation
        if after.dilation == 1:
            return after.sized(layer.node)
        more = dict.fromkeys(grid.axes, 0)
        for place, part in enumerate(kept):
            if isinstance(part, Bounds):
                start, stop = part.start * pending, part.stop * pending
                more[part.letter] = stop - start
                kept[place] = slice(start, stop or None)
        layer.node.args = (layer.node.args[0], tuple(kept))
        return after.grown(*more.values())

    def shape_query(self, layer: TracedOp, grid: Grid) -> Grid | None:
        """What is asked of a map is no map; its size is followed."""
        wanted = layer.options.get("index", "shape")
        if wanted in kinds.ATTRIBUTES:
            return None
        if wanted in ("values", "indices"):  # of a maximum over channels
            return grid
        letters = grid.layout
        if isinstance(wanted, int):
            letters = letters[wanted]
        elif wanted != "shape":
            return self.unknown(layer, grid)
        if SPATIAL & {*letters}:
            self.sizes[layer.node] = Size(layer, grid, letters)
        return None

    def question(self, layer: TracedOp, grid: Grid) -> None:
        """What does not depend on a map's places is no map."""
