"""Xception as DeepLabV3+ has it: aligned, deeper, and held at a stride.

Every pooling of the original is a separable convolution of stride 2 here, so
that a stride left out turns into the dilation of what follows.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from atrous.arithmetic import Window, stage_plan
from atrous.layers.spec import LayerSpec, SpecStack, separable_layers, windows

EPS = 1e-3  # of every batch normalisation. Source: the authors' xception.py.


class Block(NamedTuple):
    """Units of one kind: three separable 3x3 convolutions and a shortcut.

    Attributes:
        widths: Output channels of the three.
        stride: Of the third one.
        shortcut: "projected" by a 1x1 convolution, "identity" or "none".
        units: How many there are.
        relu: "before" each separable convolution, or "inside": after its
            depthwise and after its pointwise convolution.
    """

    widths: tuple[int, int, int]
    stride: int = 1
    shortcut: str = "projected"
    units: int = 1
    relu: str = "before"


def _entry(*steps: tuple[int, int]) -> tuple[Block, ...]:
    return tuple(Block((width,) * 3, stride) for width, stride in steps)


def _middle(units: int) -> Block:
    return Block((728,) * 3, shortcut="identity", units=units)


_EXIT = (
    Block((728, 1024, 1024), stride=2),
    Block((1536, 1536, 2048), shortcut="none", relu="inside"),
)
_ENTRY = _entry((128, 2), (256, 2), (728, 2))
_ENTRY_71 = _entry((128, 2), (256, 1), (256, 2), (728, 1), (728, 2))
# By the number of convolutions. Sources: Chen et al., arXiv:1802.02611,
# Figure 4, which is 65; the authors' xception.py.
BLOCKS = {
    41: (*_ENTRY, _middle(8), *_EXIT),
    65: (*_ENTRY, _middle(16), *_EXIT),
    71: (*_ENTRY_71, _middle(16), *_EXIT),
}
STEM = (
    LayerSpec("conv1", Window(3, stride=2, padding=1), 32, norm=True),
    LayerSpec("conv2", Window(3, padding=1), 64, norm=True),
)


class XceptionUnit(nn.Module):
    """Three separable convolutions and a shortcut: to (B, C', H', W').

    Args:
        block: The block that it is a unit of.
        channels: Input channels.
        stride: Of the third convolution and of the shortcut.
        rates: Dilations of the three.

    Source:
        Chen et al., arXiv:1802.02611, Figure 4; the authors' xception.py.
    """

    def __init__(
        self,
        block: Block,
        channels: int,
        *,
        stride: int = 1,
        rates: Sequence[int] = (1, 1, 1),
    ):
        super().__init__()
        self.shortcut = block.shortcut
        self.relu_before = block.relu == "before"
        self.path = nn.ModuleList()
        before = channels
        strides = (1, 1, stride)
        for width, s, r in zip(block.widths, strides, rates, strict=True):
            plan = separable_layers(
                Window(3, s, r, r), before, width, relu=not self.relu_before
            )
            self.path.append(SpecStack(plan, before))
            before = width
        if self.shortcut == "projected":
            layer = LayerSpec(
                "conv", Window(1, stride), before, False, norm=True
            )
            self.project = SpecStack((layer,), channels)

    def convolved(self, x: Tensor) -> list[Tensor]:
        """The map after each of the three separable convolutions."""
        maps = []
        for separable in self.path:
            x = separable(x.relu() if self.relu_before else x)
            maps.append(x)
        return maps

    def joined(self, x: Tensor, y: Tensor) -> Tensor:
        """The shortcut of the unit's input x added to its last map y."""
        if self.shortcut == "none":
            return y
        return y + (self.project(x) if self.shortcut == "projected" else x)

    def forward(self, x: Tensor) -> Tensor:
        """The unit's output, (B, C', H', W')."""
        return self.joined(x, self.convolved(x)[-1])


class Xception(nn.Module):
    """Xception without its classifier: (B, 3, H, W) to (B, 2048, H', W').

    H' is H / output_stride, rounded up. A unit whose stride is left out
    keeps the dilation of what comes before it, so that on the coarse grid
    every value is the undilated network's.

    Args:
        depth: 41, 65 or 71.
        output_stride: 2, 4, 8, 16 or 32.
        multi_grid: Rates of the last three convolutions, each multiplied by
            the dilation reached there.

    Raises:
        ValueError: If `depth` is unknown, `output_stride` cannot be reached
            or `multi_grid` is not three rates of at least 1.

    Source:
        Chen et al., arXiv:1802.02611, section 3.2 and Figure 4; the
        authors' xception.py.
    """

    def __init__(
        self,
        depth: int = 65,
        *,
        output_stride: int = 16,
        multi_grid: Sequence[int] = (1, 1, 1),
    ):
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f"depth={depth}: must be one of {[*BLOCKS]}")
        if len(multi_grid) != 3 or min(multi_grid) < 1:
            raise ValueError(
                f"multi_grid={multi_grid}: needs 3 rates, each at least 1"
            )
        self.output_stride = output_stride
        self.stem = SpecStack(STEM, 3)
        self.units = nn.ModuleList()
        channels, rate = STEM[-1].width, 1
        strides = [block.stride for block in BLOCKS[depth]]
        plan = stage_plan(output_stride, stem=2, strides=strides)
        for block, stage in zip(BLOCKS[depth], plan, strict=True):
            rates = [rate] * 3
            if block is BLOCKS[depth][-1]:
                rates = [rate * factor for factor in multi_grid]
            for _ in range(block.units):
                unit = XceptionUnit(
                    block, channels, stride=stage.stride, rates=rates
                )
                self.units.append(unit)
                channels = block.widths[-1]
            rate = stage.dilation
        self.channels = channels
        # The unit that takes the map from stride 4 to 8 holds the last map
        # of stride 4, before its third convolution.
        self.low = [i for i, stride in enumerate(strides) if stride > 1][1]
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = EPS

    @property
    def windows(self) -> tuple[Window, ...]:
        """The longest path, for `atrous.arithmetic`."""
        stacks = [s for unit in self.units for s in unit.path]
        return windows([y for s in (self.stem, *stacks) for y in s.plan])

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Maps by name: "stem", "unit1", "unit2", ..., and "low".

        "low", (B, 256, H / 4, W / 4), are the low-level features of
        DeepLabV3+: after a normalisation, and not rectified.
        """
        x = self.stem(x)
        maps = {"stem": x}
        for number, unit in enumerate(self.units):
            convolved = unit.convolved(x)
            if number == self.low:
                maps["low"] = convolved[1]
            x = maps[f"unit{number + 1}"] = unit.joined(x, convolved[-1])
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """The last map, (B, 2048, H', W')."""
        return self.features(x)[f"unit{len(self.units)}"]
