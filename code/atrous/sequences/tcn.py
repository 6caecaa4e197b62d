"""TCN: residual blocks of two causal convolutions, dilations 1, 2, 4, ..."""

from collections.abc import Sequence

from torch import Tensor, nn

from atrous.arithmetic import Window, check_positive
from atrous.layers.residual import Unit
from atrous.sequences.causal import causal_window, check_sequences
from atrous.sequences.residual_unit import (
    TCN_STYLE,
    path_layers,
    unit_windows,
)

INIT_STD = 0.01  # of the 1x1 convolutions and of the last layer


def tcn_plan(
    widths: Sequence[int],
    *,
    kernel: int = 7,
    dilations: Sequence[int] | None = None,
) -> tuple[Unit, ...]:
    """Plan of a TCN, a unit a block.

    A block has two convolutions of its dilation, so that n blocks reach
    1 + 2 (k - 1)(2^n - 1) steps: twice what one convolution a block would.

    Args:
        widths: Output channels of each block.
        kernel: Taps k of all convolutions, at least 2.
        dilations: Of each block; 1, 2, 4, ... if None. All 1 is the plain
            network of the same parameters.

    Raises:
        ValueError: If there is no block, a number is out of range, or there
            is not one dilation a block.

    Source:
        Bai, Kolter & Koltun, arXiv:1803.01271, section 3 and Figure 1.
    """
    if not widths:
        raise ValueError(f"widths={widths}: at least one block is needed")
    check_positive(width=min(widths))
    if kernel < 2:
        raise ValueError(f"kernel={kernel}: must be at least 2")
    if dilations is None:
        dilations = [2**i for i in range(len(widths))]
    if len(dilations) != len(widths):
        raise ValueError(
            f"dilations={dilations}: needs {len(widths)}, one a block"
        )
    return tuple(
        Unit((causal_window(kernel, dilation),) * 2, (width,) * 2)
        for width, dilation in zip(widths, dilations, strict=True)
    )


class TCNBlock(nn.Module):
    """max(F(x) + shortcut(x), 0): (B, C, T) to (B, C', T), causal.

    F is twice a convolution with weight normalisation, a ReLU and dropout;
    the shortcut is x, or a 1x1 convolution where the channels change.

    Args:
        plan: The unit, from `tcn_plan`.
        channels: Input channels C.
        dropout: Probability.
        whole_channels: Whether dropout takes a channel at all steps, as the
            paper has it, or single elements, as the released code.

    Source:
        Bai, Kolter & Koltun, arXiv:1803.01271, section 3.3; locuslab/TCN.
        Departs: there the first weights of the two convolutions are meant to
        be N(0, 0.01^2), but their weight normalisation computes them anew
        from g and v; so they are torch's own, here as there.
    """

    def __init__(
        self,
        plan: Unit,
        channels: int,
        *,
        dropout: float = 0.2,
        whole_channels: bool = False,
    ):
        super().__init__()
        layers = path_layers(plan, channels, TCN_STYLE)
        for layer in layers:
            kind = nn.Dropout1d if whole_channels else nn.Dropout
            layer.append(kind(dropout))
        self.path = nn.Sequential(*layers)
        self.shortcut, width = None, plan.widths[-1]
        if channels != width:
            self.shortcut = nn.Conv1d(channels, width, 1)
            nn.init.normal_(self.shortcut.weight, std=INIT_STD)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, (B, C', T)."""
        check_sequences(x)
        y = self.path(x)
        return (y + (x if self.shortcut is None else self.shortcut(x))).relu()


class TCN(nn.Module):
    """Temporal convolutional network: (B, C, T) to outputs (B, O, T).

    Output t is made of inputs up to t. What a task wants of a whole
    sequence is the last one.

    Args:
        channels: Input channels C.
        outputs: Channels O of the output.
        widths: Output channels of each block.
        kernel: As in `tcn_plan`, and so for the next.
        dilations: As in `tcn_plan`.
        dropout: As in `TCNBlock`, and so for the next.
        whole_channels: As in `TCNBlock`.

    Raises:
        ValueError: As `tcn_plan`; from a call, as `check_sequences`.

    Source:
        Bai, Kolter & Koltun, arXiv:1803.01271; locuslab/TCN, whose network
        for the adding problem the default is.
    """

    def __init__(
        self,
        channels: int = 2,
        outputs: int = 1,
        *,
        widths: Sequence[int] = (30,) * 8,
        kernel: int = 7,
        dilations: Sequence[int] | None = None,
        dropout: float = 0.2,
        whole_channels: bool = False,
    ):
        super().__init__()
        check_positive(channels=channels, outputs=outputs)
        self.plan = tcn_plan(widths, kernel=kernel, dilations=dilations)
        blocks = []
        for unit in self.plan:
            block = TCNBlock(
                unit,
                channels,
                dropout=dropout,
                whole_channels=whole_channels,
            )
            blocks.append(block)
            channels = unit.widths[-1]
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Linear(channels, outputs)
        nn.init.normal_(self.last.weight, std=INIT_STD)

    @property
    def windows(self) -> tuple[Window, ...]:
        """Its longest path, for `atrous.arithmetic`."""
        return unit_windows(self.plan)

    def features(self, x: Tensor) -> Tensor:
        """What the last block gives, (B, C', T)."""
        check_sequences(x)
        return self.blocks(x)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs, one for each step, (B, O, T)."""
        return self.last(self.features(x).mT).mT
