"""WaveNet: gated units of causal convolutions, whose skips are summed."""

import math
from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from atrous.arithmetic import Window, check_positive
from atrous.layers.residual import Unit
from atrous.sequences.causal import (
    causal_window,
    check_sequences,
    time_convolution,
)
from atrous.sequences.residual_unit import unit_windows

CYCLE = tuple(2**i for i in range(10))  # 1, 2, 4, ..., 512


def wavenet_plan(
    width: int,
    *,
    cycle: Sequence[int] = CYCLE,
    cycles: int = 3,
    kernel: int = 2,
) -> tuple[Unit, ...]:
    """Plan of a WaveNet's stack, a unit of one dilated convolution a layer.

    With two taps a cycle 1, 2, ..., 512 reaches 1024 steps, and each by
    exactly one path. Three reach 3 x 1023 + 1 = 3070, not 3 x 1024: cycles
    share the step at which they meet.

    Args:
        width: Channels of the gated activation.
        cycle: Dilations of a cycle.
        cycles: How often it is repeated.
        kernel: Taps, at least 2.

    Raises:
        ValueError: If a number is out of range or there is no dilation.

    Source:
        van den Oord et al., arXiv:1609.03499, section 2.1.
    """
    check_positive(width=width, cycles=cycles)
    if kernel < 2:
        raise ValueError(f"kernel={kernel}: must be at least 2")
    if not cycle:
        raise ValueError(f"cycle={cycle}: at least one dilation is needed")
    return tuple(
        Unit((causal_window(kernel, dilation),), (width,))
        for dilation in (*cycle,) * cycles
    )


class GatedUnit(nn.Module):
    """WaveNet's layer: (B, C, T) to (B, C, T) and a skip (B, S, T).

    z = tanh(W_f * x) sigmoid(W_g * x), both dilated and causal. A 1x1
    convolution of z is added to x, another one is the skip. One convolution
    of twice the width makes both halves, the tanh's first.

    Args:
        plan: The unit, from `wavenet_plan`.
        channels: C.
        skip: Channels S of the skip.
        bias: Whether convolutions have one.
        weight_norm: Whether they have weight normalisation.
        scale: Of the sum that goes on: sqrt(1/2) in r9y9's port, 1 in the
            paper.

    Raises:
        ValueError: If a number is out of range; from a call, as
            `check_sequences`.

    Source:
        van den Oord et al., arXiv:1609.03499, sections 2.3 and 2.4,
        equation 2 and Figure 4; r9y9/wavenet_vocoder, modules.py.
    """

    def __init__(
        self,
        plan: Unit,
        channels: int,
        skip: int,
        *,
        bias: bool = True,
        weight_norm: bool = False,
        scale: float = 1.0,
    ):
        super().__init__()
        check_positive(channels=channels, skip=skip)
        (window,), (width,) = plan.windows, plan.widths
        made = partial(time_convolution, bias=bias, weight_norm=weight_norm)
        self.dilated = made(channels, 2 * width, window)
        self.residual = made(width, channels, Window(1))
        self.skip = made(width, skip, Window(1))
        self.scale = scale

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What goes on, (B, C, T), and the skip, (B, S, T)."""
        signal, gate = self.dilated(x).chunk(2, 1)
        z = signal.tanh() * gate.sigmoid()
        return self.scale * (x + self.residual(z)), self.skip(z)


class WaveNet(nn.Module):
    """WaveNet without conditioning: (B, K, T) to logits (B, K, T).

    Inputs are one-hot over K classes, and output t scores the class of step
    t + 1. The skips of all layers are summed; then ReLU, 1x1, ReLU, 1x1.
    What goes on from the last layer goes nowhere; its weights are there as
    the released files have them.

    Args:
        classes: Classes K; the paper's are 256 levels of a mu-law.
        inputs: Channels of the input; K if None.
        channels: Channels that go from layer to layer.
        width: Channels of the gated activation.
        skip: Channels of the skips.
        end: Channels between the last two convolutions; as the skips if
            None.
        cycle: As in `wavenet_plan`, and so for the next two.
        cycles: As in `wavenet_plan`.
        kernel: As in `wavenet_plan`.
        first_kernel: Taps of the causal convolution in front. More than 1
            add their own steps to the field.
        bias: Whether convolutions have one; the last two always have.
        weight_norm: Whether all have weight normalisation.
        scaled: Whether every residual sum is multiplied by sqrt(1/2), and
            the sum of L skips by sqrt(1/L), as in r9y9's port.

    Raises:
        ValueError: As `wavenet_plan`; from a call, as `check_sequences`.

    Source:
        van den Oord et al., arXiv:1609.03499, Figure 4.
        Departs: the paper gives no widths; these are the defaults of
        vincentherrmann/pytorch-wavenet. With `scaled` and `weight_norm` it
        is r9y9/wavenet_vocoder's, without that port's dropout.
    """

    def __init__(
        self,
        classes: int = 256,
        *,
        inputs: int | None = None,
        channels: int = 32,
        width: int = 32,
        skip: int = 256,
        end: int | None = None,
        cycle: Sequence[int] = CYCLE,
        cycles: int = 3,
        kernel: int = 2,
        first_kernel: int = 1,
        bias: bool = True,
        weight_norm: bool = False,
        scaled: bool = False,
    ):
        super().__init__()
        inputs = classes if inputs is None else inputs
        end = skip if end is None else end
        check_positive(classes=classes, inputs=inputs, channels=channels)
        check_positive(skip=skip, end=end)
        self.plan = wavenet_plan(
            width, cycle=cycle, cycles=cycles, kernel=kernel
        )
        made = partial(time_convolution, weight_norm=weight_norm)
        window = causal_window(first_kernel)
        self.first = made(inputs, channels, window, bias=bias)
        self.units = nn.ModuleList(
            GatedUnit(
                unit,
                channels,
                skip,
                bias=bias,
                weight_norm=weight_norm,
                scale=math.sqrt(0.5) if scaled else 1.0,
            )
            for unit in self.plan
        )
        self.skip_scale = math.sqrt(1 / len(self.plan)) if scaled else 1.0
        self.end = nn.Sequential(
            nn.ReLU(),
            made(skip, end, Window(1)),
            nn.ReLU(),
            made(end, classes, Window(1)),
        )

    @property
    def windows(self) -> tuple[Window, ...]:
        """Its longest path, for `atrous.arithmetic`."""
        first = causal_window(self.first.kernel_size[0])
        return (first, *unit_windows(self.plan))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the next step's class, one for each step, (B, K, T)."""
        check_sequences(x)
        x, total = self.first(x), 0
        for unit in self.units:
            x, skip = unit(x)
            total = total + skip
        return self.end(self.skip_scale * total)
