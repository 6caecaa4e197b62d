"""HighRes3DNet: residual units of dilations 1, 2 and 4 on whole volumes."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from atrous.arithmetic import Window, check_positive
from atrous.layers.residual import Unit, basic
from atrous.ops.space_to_batch import by_phases

FORMS = ("dilated", "phases")
DROPOUT_WIDTH = 80  # channels before the dropout of the larger variant


def highres3dnet_plan(
    width: int = 16,
    *,
    dilations: Sequence[int] = (1, 2, 4),
    units: int = 3,
) -> tuple[tuple[Unit, ...], ...]:
    """Plan of the stages: units of two 3x3x3 convolutions of one dilation.

    The plan is that of a residual network in two dimensions; along each
    axis, all that `atrous.arithmetic` says of it holds.

    Args:
        width: Channels of the first stage; each further one doubles them.
        dilations: Of the stages.
        units: Of each stage.

    Raises:
        ValueError: If a number is out of range or there is no stage.

    Source:
        Li et al., IPMI 2017, arXiv:1707.01992, Figure 1.
    """
    check_positive(width=width, units=units)
    if not dilations:
        raise ValueError(f"dilations={dilations}: at least one is needed")
    return tuple(
        (basic(width * 2**i, 1, dilation, dilation),) * units
        for i, dilation in enumerate(dilations)
    )


def highres3dnet_windows(
    plan: Sequence[Sequence[Unit]],
) -> tuple[Window, ...]:
    """The longest path along one axis, the first convolution included."""
    inner = (w for stage in plan for unit in stage for w in unit.windows)
    return (Window(3, padding=1), *inner)


class PreactivatedUnit(nn.Module):
    """x + F(x) on volumes: (B, C, D, H, W) to (B, C', D, H, W).

    F is, for each convolution, batch normalisation, ReLU and the
    convolution. Where channels grow, as many of zeros are put before and
    behind those of x: the shortcut has no weights.

    Args:
        plan: The unit; its windows keep the size.
        channels: Input channels C, at most C' and even fewer: the
            difference is even.
        dense: Whether all dilations and their paddings are 1, for phases.

    Raises:
        ValueError: If the channels shrink or grow by an odd number.

    Source:
        Li et al., IPMI 2017; fepegar/highresnet, residual.py.
    """

    def __init__(self, plan: Unit, channels: int, *, dense: bool = False):
        super().__init__()
        grows = plan.widths[-1] - channels
        if grows < 0 or grows % 2:
            raise ValueError(
                f"channels={channels}: a shortcut to {plan.widths[-1]} needs "
                "as many, or fewer by an even number"
            )
        self.zeros, layers = grows // 2, []
        for window, width in zip(plan.windows, plan.widths, strict=True):
            rate = 1 if dense else window.dilation
            convolution = nn.Conv3d(
                channels,
                width,
                window.kernel,
                padding=window.padding // window.dilation * rate,
                dilation=rate,
                bias=False,
            )
            layers += [nn.BatchNorm3d(channels), nn.ReLU(), convolution]
            channels = width
        self.path = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """The unit's output, (B, C', D, H, W)."""
        beside = (0, 0) * 3 + (self.zeros,) * 2
        return F.pad(x, beside) + self.path(x)


class HighRes3DNet(nn.Module):
    """HighRes3DNet: volumes (B, C, D, H, W) to logits (B, K, D, H, W).

    A 3x3x3 convolution, three stages of three units at dilations 1, 2 and
    4, and a 1x1x1 to the scores, all at stride 1. Every convolution has
    batch normalisation, the last one, too. An output sees 87 voxels along
    each axis, all of them.

    Args:
        channels: Input channels C.
        num_classes: Classes K.
        width: As in `highres3dnet_plan`, and so for the next two.
        dilations: As in `highres3dnet_plan`.
        units: As in `highres3dnet_plan`.
        form: "dilated", or "phases": each stage runs dense on the phases of
            its map. It gives the same from the same weights, if all sides
            are multiples of each dilation.
        dropout: Whether a 1x1x1 to 80 channels and dropout of whole channels
            at 0.5 stand before the scores, as in the larger variant.

    Raises:
        ValueError: If a number is out of range or `form` unknown; from a
            call, as `check_volumes`, and of phases as `by_phases`.

    Source:
        Li et al., IPMI 2017, arXiv:1707.01992; fepegar/highresnet. The form
        of phases: NiftyNet, which asks for sides divisible by 8.
    """

    def __init__(
        self,
        channels: int = 1,
        num_classes: int = 160,
        *,
        width: int = 16,
        dilations: Sequence[int] = (1, 2, 4),
        units: int = 3,
        form: str = "dilated",
        dropout: bool = False,
    ):
        super().__init__()
        check_positive(channels=channels, num_classes=num_classes)
        if form not in FORMS:
            raise ValueError(f"form={form!r}: must be one of {FORMS}")
        self.plan = highres3dnet_plan(width, dilations=dilations, units=units)
        self.form = form
        self.first = nn.Sequential(*_normed(channels, width, 3), nn.ReLU())
        self.stages = nn.ModuleList()
        for stage in self.plan:
            modules = []
            for unit in stage:
                modules.append(
                    PreactivatedUnit(unit, width, dense=form == "phases")
                )
                width = unit.widths[-1]
            self.stages.append(nn.Sequential(*modules))
        self.dropout = nn.Sequential()
        if dropout:
            modules = _normed(width, DROPOUT_WIDTH, 1)
            self.dropout.extend([*modules, nn.ReLU(), nn.Dropout3d()])
            width = DROPOUT_WIDTH
        self.score = nn.Sequential(*_normed(width, num_classes, 1))

    @property
    def windows(self) -> tuple[Window, ...]:
        """Its longest path along one axis, for `atrous.arithmetic`."""
        return highres3dnet_windows(self.plan)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every voxel, (B, K, D, H, W)."""
        check_volumes(x)
        x = self.first(x)
        for stage, plan in zip(self.stages, self.plan, strict=True):
            rate = plan[0].windows[0].dilation
            if self.form == "phases" and rate > 1:
                x = by_phases(stage, x, rate)
            else:
                x = stage(x)
        return self.score(self.dropout(x))


def check_volumes(x: Tensor) -> None:
    """Refuse what is no batch of volumes, (B, C, D, H, W) of decimals.

    Raises:
        ValueError: If x has other dimensions or another type.
    """
    # torch.fx traces with something else than a tensor.
    if isinstance(x, Tensor) and (x.ndim != 5 or not x.is_floating_point()):
        raise ValueError(
            f"x of shape {tuple(x.shape)} and {x.dtype}: must be a batch of "
            "volumes, (B, C, D, H, W), of a floating-point type; x[None] "
            "makes a batch of one volume"
        )


def _normed(channels: int, width: int, kernel: int) -> list[nn.Module]:
    """A convolution that keeps the size, and its normalisation."""
    convolution = nn.Conv3d(
        channels, width, kernel, padding=kernel // 2, bias=False
    )
    return [convolution, nn.BatchNorm3d(width)]
