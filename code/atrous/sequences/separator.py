"""The separator of Conv-TasNet: masks from dilated depthwise convolutions."""

import torch
from torch import Tensor, nn

from atrous.arithmetic import Window, check_positive
from atrous.layers.residual import Unit
from atrous.sequences.causal import (
    causal_window,
    centred_window,
    check_sequences,
)
from atrous.sequences.residual_unit import (
    path_layers,
    separator_style,
    unit_windows,
)
from atrous.sequences.sequence_norms import ChannelNorm

MASKS = {
    "relu": torch.relu,
    "softmax": lambda scores: scores.softmax(1),
    "sigmoid": torch.sigmoid,
}


def separator_plan(
    bottleneck: int,
    hidden: int,
    *,
    kernel: int = 3,
    blocks: int = 8,
    repeats: int = 4,
    causal: bool = False,
) -> tuple[Unit, ...]:
    """Plan of a separator: 1x1, depthwise of dilation 2^x, 1x1, and again.

    x runs from 0 to X - 1 in each of R repeats, which reaches
    1 + R (k - 1)(2^X - 1) frames.

    Args:
        bottleneck: Channels B between blocks.
        hidden: Channels H within them.
        kernel: Taps k, odd unless causal, at least 2.
        blocks: Blocks X of a repeat.
        repeats: Repeats R.
        causal: Whether frames see no later ones.

    Raises:
        ValueError: If a number is out of range.

    Source:
        Luo & Mesgarani, TASLP 2019, Conv-TasNet; kaituoxu/Conv-TasNet.
    """
    check_positive(
        bottleneck=bottleneck, hidden=hidden, blocks=blocks, repeats=repeats
    )
    if kernel < 2:
        raise ValueError(f"kernel={kernel}: must be at least 2")
    window = causal_window if causal else centred_window
    cycle = [
        Unit(
            (Window(1), window(kernel, 2**x), Window(1)),
            (hidden, hidden, bottleneck),
        )
        for x in range(blocks)
    ]
    return (*cycle * repeats,)


class SeparatorBlock(nn.Module):
    """One block: (B, C, T) to (B, C, T) and a skip (B, S, T) or None.

    1x1 to the hidden channels, PReLU, normalisation, depthwise convolution,
    PReLU, normalisation; a 1x1 of that is added to x, and another one is
    the skip.

    Args:
        plan: The unit, from `separator_plan`.
        channels: C.
        norm: One of `NORMS`.
        skip: Channels S of the skip; None for none.
        goes_on: Whether anything is added to x. The last block of a network
            whose skips make the scores does without.

    Raises:
        ValueError: If `norm` is unknown or `skip` below 1; from a call, as
            `check_sequences`.

    Source:
        Luo & Mesgarani, TASLP 2019, Conv-TasNet, Figure 1; without the skip
        kaituoxu/Conv-TasNet.
    """

    def __init__(
        self,
        plan: Unit,
        channels: int,
        *,
        norm: str = "global",
        skip: int | None = None,
        goes_on: bool = True,
    ):
        super().__init__()
        *inner, last = path_layers(plan, channels, separator_style(norm))
        self.inner = nn.Sequential(*inner)
        self.residual = last if goes_on else None
        self.skip = None
        if skip is not None:
            check_positive(skip=skip)
            self.skip = nn.Conv1d(plan.widths[-2], skip, 1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """What goes on, (B, C, T), and the skip, (B, S, T), if any."""
        check_sequences(x)
        y = self.inner(x)
        if self.residual is not None:
            x = x + self.residual(y)
        return x, None if self.skip is None else self.skip(y)


class Separator(nn.Module):
    """Masks of speakers: (B, N, T) frames to masks (B, speakers, N, T).

    A normalisation of each frame, a 1x1, the blocks, a 1x1 to all speakers'
    scores, and a function that makes masks of them. The encoder before it
    and the decoder behind it are not here.

    Args:
        filters: Channels N of the encoder.
        speakers: Masks to make.
        bottleneck: As in `separator_plan`, and so for the next five.
        hidden: As in `separator_plan`.
        kernel: As in `separator_plan`.
        blocks: As in `separator_plan`.
        repeats: As in `separator_plan`.
        causal: As in `separator_plan`. The norm must then be another than
            "global".
        norm: Of the blocks: "global", "cumulative", the causal one of the
            paper, or "channel", which stands for it in the released code.
        skip: Channels of the skips, whose sum then makes the scores,
            through a PReLU, as in the paper. None as in the released code:
            the scores are made of what leaves the last block.
        mask: "relu" as in the released code, "softmax" over the speakers,
            or "sigmoid".

    Raises:
        ValueError: If a number is out of range, a word unknown, or a causal
            network would be normalised over all frames; from a call, as
            `check_sequences`.

    Source:
        Luo & Mesgarani, TASLP 2019, Conv-TasNet; kaituoxu/Conv-TasNet.
    """

    def __init__(
        self,
        filters: int = 256,
        speakers: int = 2,
        *,
        bottleneck: int = 256,
        hidden: int = 512,
        kernel: int = 3,
        blocks: int = 8,
        repeats: int = 4,
        causal: bool = False,
        norm: str = "global",
        skip: int | None = None,
        mask: str = "relu",
    ):
        super().__init__()
        check_positive(filters=filters, speakers=speakers)
        if causal and norm == "global":
            raise ValueError(
                "causal=True, norm='global': it would look at all frames; "
                "'cumulative' looks at those so far"
            )
        if mask not in MASKS:
            raise ValueError(f"mask={mask!r}: must be one of {[*MASKS]}")
        self.plan = separator_plan(
            bottleneck,
            hidden,
            kernel=kernel,
            blocks=blocks,
            repeats=repeats,
            causal=causal,
        )
        self.speakers, self.mask = speakers, mask
        self.norm = ChannelNorm(filters)
        self.first = nn.Conv1d(filters, bottleneck, 1, bias=False)
        last = len(self.plan) - 1
        self.blocks = nn.ModuleList(
            SeparatorBlock(
                unit,
                bottleneck,
                norm=norm,
                skip=skip,
                goes_on=skip is None or i < last,
            )
            for i, unit in enumerate(self.plan)
        )
        self.prelu = nn.Identity() if skip is None else nn.PReLU()
        self.last = nn.Conv1d(
            skip or bottleneck, speakers * filters, 1, bias=False
        )

    @property
    def windows(self) -> tuple[Window, ...]:
        """Its longest path, for `atrous.arithmetic`."""
        return unit_windows(self.plan)

    def scores(self, x: Tensor) -> Tensor:
        """What masks are made of, (B, speakers N, T), speaker by speaker."""
        check_sequences(x)
        x, total = self.first(self.norm(x)), 0
        for block in self.blocks:
            x, skip = block(x)
            total = x if skip is None else total + skip
        return self.last(self.prelu(total))

    def forward(self, x: Tensor) -> Tensor:
        """The masks, (B, speakers, N, T)."""
        scores = self.scores(x).unflatten(1, (self.speakers, -1))
        return MASKS[self.mask](scores)
