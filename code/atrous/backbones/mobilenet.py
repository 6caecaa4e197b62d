"""MobileNetV2, held at an output stride."""

from typing import NamedTuple

from torch import Tensor, nn

from atrous.arithmetic import Window, check_positive, stage_plan


class Blocks(NamedTuple):
    """A stage: expansion, output channels, units and stride of the first."""

    expansion: int
    width: int
    units: int
    stride: int


# Source: Sandler et al., arXiv:1801.04381, Table 2.
STAGES = (
    Blocks(1, 16, 1, 1),
    Blocks(6, 24, 2, 2),
    Blocks(6, 32, 3, 2),
    Blocks(6, 64, 4, 2),
    Blocks(6, 96, 3, 1),
    Blocks(6, 160, 3, 2),
    Blocks(6, 320, 1, 1),
)
STEM = 32


def conv_bn(
    channels: int,
    width: int,
    kernel: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    relu6: bool = True,
) -> nn.Sequential:
    """Convolution, batch normalisation and, if `relu6`, min(max(x, 0), 6)."""
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(
        channels,
        width,
        kernel,
        stride,
        padding,
        dilation,
        groups=groups,
        bias=False,
    )
    act = [nn.ReLU6()] if relu6 else []
    return nn.Sequential(convolution, nn.BatchNorm2d(width), *act)


class InvertedResidual(nn.Module):
    """Expand by 1x1, 3x3 a channel, project by 1x1: to (B, C', H', W').

    The input is added where shapes agree. The projection is linear.

    Args:
        channels: Input channels.
        width: Output channels C'.
        expansion: Factor of the channels inside; None leaves the first
            convolution out.
        stride: Of the 3x3.
        dilation: Of the 3x3.

    Source:
        Sandler et al., arXiv:1801.04381, section 3.3 and Table 1.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        expansion: int | None = 6,
        stride: int = 1,
        dilation: int = 1,
    ):
        super().__init__()
        inside = channels * (expansion or 1)
        self.path = nn.Sequential(
            *([conv_bn(channels, inside, 1)] if expansion else []),
            conv_bn(
                inside,
                inside,
                3,
                stride=stride,
                dilation=dilation,
                groups=inside,
            ),
            conv_bn(inside, width, 1, relu6=False),
        )
        self.adds = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        """The unit's output, (B, C', H', W')."""
        y = self.path(x)
        return y + x if self.adds else y


class MobileNetV2(nn.Module):
    """MobileNetV2 without its classifier: (B, 3, H, W) to (B, C, H', W').

    H' is H / output_stride, rounded up. The first unit of a stage whose
    stride is left out keeps the dilation of the stage before, so that on the
    coarse grid every value is the undilated network's.

    Args:
        output_stride: 2, 4, 8, 16 or 32.
        last: Channels C of the 1x1 convolution after the seven stages; None
            leaves it out, and C is 320.
        expand_first: Whether the first unit, of expansion 1, has the 1x1
            convolution that expands all others.

    Raises:
        ValueError: If `output_stride` cannot be reached.

    Source:
        Sandler et al., arXiv:1801.04381, Table 2; `expand_first`:
        DrSleep/light-weight-refinenet.
    """

    def __init__(
        self,
        *,
        output_stride: int = 32,
        last: int | None = 1280,
        expand_first: bool = False,
    ):
        super().__init__()
        self.output_stride = output_stride
        self.stem = conv_bn(3, STEM, 3, stride=2)
        channels, before = STEM, 1
        strides = [stage.stride for stage in STAGES]
        plan = stage_plan(output_stride, stem=2, strides=strides)
        for number, (stage, held) in enumerate(
            zip(STAGES, plan, strict=True), 1
        ):
            units, expansion = [], stage.expansion
            if expansion == 1 and not expand_first:
                expansion = None
            for i in range(stage.units):
                units.append(
                    InvertedResidual(
                        channels,
                        stage.width,
                        expansion=expansion,
                        stride=held.stride if i == 0 else 1,
                        dilation=before if i == 0 else held.dilation,
                    )
                )
                channels = stage.width
            before = held.dilation
            self.add_module(f"stage{number}", nn.Sequential(*units))
        self.last = None if last is None else conv_bn(channels, last, 1)
        self.channels = last or channels

    @property
    def windows(self) -> tuple[Window, ...]:
        """The longest path, for `atrous.arithmetic`."""
        return tuple(
            Window(m.kernel_size[0], m.stride[0], m.dilation[0], m.padding[0])
            for m in self.modules()
            if isinstance(m, nn.Conv2d)
        )

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Maps by name: "stem", "stage1" to "stage7" and, if any, "last"."""
        x = self.stem(x)
        maps = {"stem": x}
        for number in range(1, len(STAGES) + 1):
            name = f"stage{number}"
            x = maps[name] = self.get_submodule(name)(x)
        if self.last is not None:
            maps["last"] = self.last(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """The last map, (B, C, H', W')."""
        return [*self.features(x).values()][-1]


class MobileNetV2Classifier(MobileNetV2):
    """MobileNetV2 with its classifier: (B, 3, H, W) to logits.

    Args:
        num_classes: Classes, at least 1.
        options: As in `MobileNetV2`.

    Raises:
        ValueError: As `MobileNetV2`, and if `num_classes` is below 1.

    Source:
        Sandler et al., arXiv:1801.04381, Table 2; dropout: torchvision.
    """

    def __init__(self, *, num_classes: int = 1000, **options):
        check_positive(num_classes=num_classes)
        super().__init__(**options)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(self.channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (B, num_classes)."""
        return self.fc(self.dropout(super().forward(x).mean((2, 3))))
