"""Dilated residual networks (DRN), whose last levels undo the gridding.

A is a ResNet at output stride 8. B, C and D leave out its pooling and end in
two levels of falling dilation: B with residual connections, C without, D as
plain convolutions.
"""

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from atrous.arithmetic import Stage, Window, check_positive, stage_plan
from atrous.backbones.resnet import UNITS, ResNet, resnet_plan, resnet_windows
from atrous.layers.init import he_normal_
from atrous.layers.residual import Unit, basic, bottleneck, chain, plain

# Architecture, and depth of the ResNet whose four stages it takes over: as
# they are in A, as levels 3 to 6 in the others, which add eight layers (B, C)
# or four (D). Source: Yu et al., CVPR 2017; the authors' drn.py.
ARCHITECTURES = {
    "drn_a_18": ("A", 18),
    "drn_a_34": ("A", 34),
    "drn_a_50": ("A", 50),
    "drn_b_26": ("B", 18),
    "drn_c_26": ("C", 18),
    "drn_c_42": ("C", 34),
    "drn_c_58": ("C", 50),
    "drn_d_22": ("D", 18),
    "drn_d_38": ("D", 34),
    "drn_d_54": ("D", 50),
    "drn_d_105": ("D", 101),
}
OUTPUT_STRIDE = 8
# Levels 1 to 8 of B, C and D: six of stride 1, 2, 2, 2, 2, 2 held at output
# stride 8, then the two that undo the gridding.
WIDTHS = (16, 32, 64, 128, 256, 512, 512, 512)
LEVELS = (
    *stage_plan(OUTPUT_STRIDE, stem=1, strides=(1, 2, 2, 2, 2, 2)),
    Stage(1, dilation=2),
    Stage(1, dilation=1),
)


def drn_plan(
    name: str,
    *,
    first_unit: str | None = None,
    dead_projection: bool | None = None,
) -> dict[str, tuple[Unit, ...]]:
    """Units of a DRN by level: "stem" and "level1" to "level8".

    In architecture A "layer1" to "layer4"; its stem is ResNet's.

    Args:
        name: One of `ARCHITECTURES`.
        first_unit: For architecture A only, as in `resnet_plan`. None means
            "previous", which keeps ResNet's receptive field, as the paper
            states, and is exact for its weights. Released: "undilated".
        dead_projection: For DRN-C-58 only: whether level 7 has, as released,
            the projection that a residual connection would need, 1,049,600
            parameters. Nothing is added there: they are dead. None is True.

    Raises:
        ValueError: If the name is unknown or does not take an option.

    Source:
        Yu et al., CVPR 2017; level by level the authors' drn.py.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"name={name!r}: must be one of {[*ARCHITECTURES]}")
    architecture, depth = ARCHITECTURES[name]
    for option, value, fits in (
        ("first_unit", first_unit, architecture == "A"),
        ("dead_projection", dead_projection, name == "drn_c_58"),
    ):
        if value is not None and not fits:
            raise ValueError(f"{option}={value!r}: {name} does not take it")
    if architecture == "A":
        stages = resnet_plan(depth, **_held(first_unit))
        return {f"layer{i}": units for i, units in enumerate(stages, 1)}
    plan = {"stem": (plain(WIDTHS[0], 1, 1, kernel=7),)}
    counts = (1, 1, *UNITS[depth], 1, 1)
    levels = zip(LEVELS, WIDTHS, counts, strict=True)
    for i, (stage, width, count) in enumerate(levels, 1):
        strides, rate = (stage.stride, *[1] * (count - 1)), stage.dilation
        inner = 3 <= i <= 6
        if inner and depth >= 50:
            units = [bottleneck(width, s, rate, "3x3") for s in strides]
        elif inner or architecture != "D":
            units = [basic(width, s, rate, rate) for s in strides]
        else:
            units = [plain(width, s, rate) for s in strides]
        if i >= 7 and architecture == "C":
            shortcut = "none" if dead_projection is False else "dead"
            units = [unit._replace(shortcut=shortcut) for unit in units]
        plan[f"level{i}"] = tuple(units)
    return plan


def drn_windows(name: str, **options) -> tuple[Window, ...]:
    """The longest path through a DRN, for `atrous.arithmetic`.

    Takes what `drn_plan` takes, and raises what it raises.
    """
    plan = drn_plan(name, **options)
    if "stem" not in plan:
        return resnet_windows(plan.values())
    return tuple(
        w for level in plan.values() for u in level for w in u.windows
    )


class DRN(nn.Sequential):
    """DRN-B, C or D without its classifier: (B, 3, H, W) to (B, 512, H', W').

    H' = ceil(H / 8). Convolutions start from He's normal by fan-out. A dead
    projection is never run.

    Args:
        plan: From `drn_plan`, but not of architecture A, which is a ResNet.

    Source:
        Yu et al., CVPR 2017; the authors' drn.py.
        Departs: that code runs the dead projection, which costs time and in
        training moves its running statistics, but changes no output.
    """

    def __init__(self, plan: Mapping[str, Sequence[Unit]]):
        super().__init__()
        self.plan = dict(plan)
        self.channels = 3
        for level, units in self.plan.items():
            self.add_module(level, chain(units, self.channels))
            self.channels = units[-1].widths[-1]
        he_normal_(self)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Maps by name: "stem", then "level1" to "level8"."""
        maps = {}
        for level, module in self.named_children():
            x = maps[level] = module(x)
        return maps


def drn_backbone(name: str, **options) -> DRN | ResNet:
    """Any DRN without its classifier: (B, 3, H, W) to (B, C, H', W').

    C is 2048 in DRN-A-50, otherwise 512; H' = ceil(H / 8). `features(x)`
    gives maps by name. Takes and raises what `drn_plan` does.
    """
    plan = drn_plan(name, **options)
    if "stem" in plan:
        return DRN(plan)
    depth = ARCHITECTURES[name][1]
    return he_normal_(ResNet(depth, **_held(options.get("first_unit"))))


class DRNClassifier(nn.Module):
    """A DRN that classifies: (B, 3, H, W) to logits (B, C).

    `dense_logits(x)` leaves out the pooling and so classifies every place. The
    mean of these logits over the map is `forward(x)`.

    Args:
        name: One of `ARCHITECTURES`.
        num_classes: Classes C, at least 1.
        options: As in `drn_plan`.

    Raises:
        ValueError: If a value is out of range; see `drn_plan`.

    Source:
        Yu et al., CVPR 2017; the authors' drn.py.
        Departs: pools the whole map, at any size; that code 28 x 28 cells.
    """

    def __init__(self, name: str, *, num_classes: int = 1000, **options):
        super().__init__()
        check_positive(num_classes=num_classes)
        self.backbone = drn_backbone(name, **options)
        channels = self.backbone.channels
        if isinstance(self.backbone, ResNet):  # for its weights to load
            self.fc = nn.Linear(channels, num_classes)
        else:
            self.fc = he_normal_(nn.Conv2d(channels, num_classes, 1))

    def dense_logits(self, x: Tensor) -> Tensor:
        """Logits at stride 8, (B, C, H', W')."""
        return self._classify(self.backbone(x))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (B, C)."""
        pooled = self.backbone(x).mean((2, 3), keepdim=True)
        return self._classify(pooled).flatten(1)

    def _classify(self, x: Tensor) -> Tensor:
        weight = self.fc.weight.view(*self.fc.weight.shape[:2], 1, 1)
        return F.conv2d(x, weight, self.fc.bias)


def _held(first_unit: str | None) -> dict:
    first_unit = first_unit or "previous"
    return {"output_stride": OUTPUT_STRIDE, "first_unit": first_unit}
