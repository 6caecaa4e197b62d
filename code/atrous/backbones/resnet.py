"""Residual networks held at an output stride, in both published forms.

What differs between the forms is where the stride sits and which rate the
first unit of a dilated stage takes. Either form, used with its own weights,
gives on the coarse grid what its undilated network gives.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from atrous.arithmetic import Window, check_positive, stage_plan
from atrous.layers.residual import Unit, basic, bottleneck, chain
from atrous.layers.spec import LayerSpec, SpecStack

# The three choices that a variant makes. Sources: torchvision's resnet;
# the Caffe-born ResNet-101 of DeepLab v2 as ported by kazuto1011.
VARIANTS = {
    "torchvision": {
        "stride_on": "3x3",
        "ceil_mode": False,
        "first_unit": "previous",
    },
    "caffe": {"stride_on": "1x1", "ceil_mode": True, "first_unit": "full"},
}
CHOICES = {
    "stride_on": ("3x3", "1x1"),
    "ceil_mode": (False, True),
    "first_unit": ("previous", "full", "undilated"),
}


def choose(variants: Mapping[str, Mapping], variant: str, **choices) -> dict:
    """What a variant brings with it, the choices that are not None replaced.

    Raises:
        ValueError: If the variant is unknown.
    """
    if variant not in variants:
        raise ValueError(f"variant={variant!r}: must be one of {[*variants]}")
    given = {name: v for name, v in choices.items() if v is not None}
    return {**variants[variant], **given}


def check(**choices) -> None:
    """Raise ValueError if one of the `CHOICES` has an unknown value."""
    for name, value in choices.items():
        if value not in CHOICES[name]:
            raise ValueError(
                f"{name}={value!r}: must be one of {CHOICES[name]}"
            )


# Units in each of the four stages. Source: He et al., arXiv:1512.03385,
# Table 1. Up to 34 layers a unit is two 3x3; above, 1x1, 3x3 and 1x1.
UNITS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
WIDTHS = (64, 128, 256, 512)
STEM = (Window(7, stride=2, padding=3), Window(3, stride=2, padding=1))


def resnet_plan(
    depth: int,
    *,
    output_stride: int = 32,
    multi_grid: Sequence[int] | None = None,
    stride_on: str = "3x3",
    first_unit: str = "previous",
    block: int = 4,
    unit_rates: Mapping[int, Sequence[int]] | None = None,
) -> tuple[tuple[Unit, ...], ...]:
    """Units of the stages of a ResNet at an output stride.

    Args:
        depth: 18, 34, 50, 101 or 152.
        output_stride: Input pixels per output pixel: 4, 8, 16 or 32, and
            with replicas on to 32 x 2^(block - 4).
        multi_grid: Rates of the units of stage 4 and its replicas, each
            multiplied by the rate of its stage; all 1 if None.
        stride_on: "3x3" or the first "1x1" of a stage's first unit. Units
            of two 3x3 convolutions carry it on the first one either way.
        first_unit: In a stage of higher rate than the one before, the rate
            of the first unit up to the convolution that had the stride:
            "previous" keeps the rate of the stage before, "full" takes the
            new one. "undilated" takes 1, for the whole unit.
        block: Number of the last stage, at least 4. From 5 on, each is a
            replica of stage 4 with stride 2, its shortcut sampled: it has
            the same weights at every output stride.
        unit_rates: Of the units of some stages, by the number of the stage:
            one dilation a unit, in place of what all the above give it.

    Raises:
        ValueError: If a number cannot be reached or a word is unknown.

    Source:
        He et al., arXiv:1512.03385, Table 1; output stride, Multi-Grid and
        replicas: Chen et al., arXiv:1706.05587, sections 3.1 and 3.2.1.
        Departs: the paper puts a stage's stride into its last unit.
    """
    if depth not in UNITS:
        raise ValueError(f"depth={depth}: must be one of {[*UNITS]}")
    check(stride_on=stride_on, first_unit=first_unit)
    last = UNITS[depth][-1]
    grid = (1,) * last if multi_grid is None else tuple(multi_grid)
    if len(grid) != last or min(grid) < 1:
        raise ValueError(
            f"multi_grid={multi_grid}: ResNet-{depth} needs {last} rates, "
            "each at least 1"
        )
    if block < 4:
        raise ValueError(f"block={block}: must be at least 4")
    plan, before = [], 1
    strides = (1, 2, 2, 2, *[2] * (block - 4))
    for number, stage in enumerate(stage_plan(output_stride, strides=strides)):
        units, kind = [], min(number, 3)
        for index in range(UNITS[depth][kind]):
            factor = grid[index] if kind == 3 else 1
            rate = stage.dilation * factor
            first = rate
            if index == 0 and first_unit == "previous":
                first = before * factor
            if index == 0 and first_unit == "undilated":
                first = rate = factor
            stride = stage.stride if index == 0 else 1
            if depth < 50:
                unit = basic(WIDTHS[kind], stride, first, rate)
            else:
                unit = bottleneck(WIDTHS[kind], stride, first, stride_on)
            if number > 3 and stride > 1:
                unit = unit._replace(shortcut="sampled")
            units.append(unit)
        before = stage.dilation
        plan.append(tuple(units))
    for number, given in (unit_rates or {}).items():
        units = plan[number - 1] if 1 <= number <= len(plan) else ()
        if len(given) != len(units) or min(given, default=0) < 1:
            raise ValueError(
                f"unit_rates={unit_rates}: stage {number} has {len(units)} "
                "units, and each needs a rate of at least 1"
            )
        plan[number - 1] = tuple(map(Unit.at_dilation, units, given))
    return tuple(plan)


def resnet_windows(
    plan: Sequence[Sequence[Unit]], *, stem: Sequence[Window] = STEM
) -> tuple[Window, ...]:
    """The longest path through a ResNet, for `atrous.arithmetic`."""
    units = [unit for stage in plan for unit in stage]
    return (*stem, *(window for unit in units for window in unit.windows))


class ResNet(nn.Module):
    """ResNet without its classifier: (B, 3, H, W) to (B, C, H', W').

    C is 512 up to 34 layers and 2048 above; H' is about H / output_stride.
    Modules are named as torchvision's, so its state dicts load by name.

    Args:
        depth: As in `resnet_plan`.
        output_stride: As in `resnet_plan`.
        multi_grid: As in `resnet_plan`.
        variant: "torchvision" or "caffe": what the weights come from. It
            sets the next three, each of which can be set on its own.
        stride_on: As in `resnet_plan`.
        ceil_mode: Whether the pooling of the stem rounds its size up.
        first_unit: As in `resnet_plan`.
        block: As in `resnet_plan`.
        unit_rates: As in `resnet_plan`.
        stem: Plan of what takes the place of the 7x7 convolution and the
            pooling; its stride must be 4. `ceil_mode` says nothing then.

    Raises:
        ValueError: As `resnet_plan`, and if the variant is unknown.

    Source:
        He et al., arXiv:1512.03385, Table 1.
    """

    def __init__(
        self,
        depth: int,
        *,
        output_stride: int = 32,
        multi_grid: Sequence[int] | None = None,
        variant: str = "torchvision",
        stride_on: str | None = None,
        ceil_mode: bool | None = None,
        first_unit: str | None = None,
        block: int = 4,
        unit_rates: Mapping[int, Sequence[int]] | None = None,
        stem: Sequence[LayerSpec] | None = None,
    ):
        super().__init__()
        choices = choose(
            VARIANTS,
            variant,
            stride_on=stride_on,
            ceil_mode=ceil_mode,
            first_unit=first_unit,
        )
        check(**choices)
        ceil_mode = choices.pop("ceil_mode")
        self.plan = resnet_plan(
            depth,
            output_stride=output_stride,
            multi_grid=multi_grid,
            block=block,
            unit_rates=unit_rates,
            **choices,
        )
        self.output_stride = output_stride
        self.stem = None
        if stem is None:
            conv, pool = STEM
            self.conv1 = nn.Conv2d(
                3, 64, conv.kernel, conv.stride, conv.padding, bias=False
            )
            self.bn1 = nn.BatchNorm2d(64)
            self.maxpool = nn.MaxPool2d(
                pool.kernel, pool.stride, pool.padding, ceil_mode=ceil_mode
            )
            channels = 64
        else:
            self.stem = SpecStack(stem, 3)
            channels = [layer.width for layer in stem if layer.width][-1]
        for number, units in enumerate(self.plan, 1):
            self.add_module(f"layer{number}", chain(units, channels))
            channels = units[-1].widths[-1]
        self.channels = channels

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Maps by name: "stem", then "layer1" to "layer4" and beyond."""
        if self.stem is None:
            x = self.maxpool(self.bn1(self.conv1(x)).relu())
        else:
            x = self.stem(x)
        maps = {"stem": x}
        for number in range(1, len(self.plan) + 1):
            name = f"layer{number}"
            x = maps[name] = self.get_submodule(name)(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """The last map, (B, C, H', W')."""
        return self.features(x)[f"layer{len(self.plan)}"]


class ResNetClassifier(ResNet):
    """ResNet with its classifier: (B, 3, H, W) to logits (B, num_classes).

    Args:
        depth: As in `ResNet`.
        num_classes: Classes, at least 1.
        options: As in `ResNet`.

    Raises:
        ValueError: As `ResNet`, and if `num_classes` is below 1.
    """

    def __init__(self, depth: int, *, num_classes: int = 1000, **options):
        check_positive(num_classes=num_classes)
        super().__init__(depth, **options)
        self.fc = nn.Linear(self.channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (B, num_classes)."""
        return self.fc(super().forward(x).mean((2, 3)))
