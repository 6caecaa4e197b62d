"""The causal dilated convolution: it reads its own step and earlier ones.

A sequence is (B, C, T), T steps of C channels, the earliest first. All
padding of a causal convolution lies before the first step.
"""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from atrous.arithmetic import (
    Window,
    check_positive,
    effective_kernel,
    same_padding,
)


def causal_window(kernel: int, dilation: int = 1) -> Window:
    """A causal layer for `atrous.arithmetic`.

    Its padding is K - 1 on each side, and the K - 1 outputs that this adds at
    the end are never computed. So `fields` puts the field of a stack of R
    steps where it is: output t reads t - R + 1 to t.

    Raises:
        ValueError: If `kernel` or `dilation` is below 1.
    """
    padding = effective_kernel(kernel, dilation) - 1
    return Window(kernel, dilation=dilation, padding=padding)


def centred_window(kernel: int, dilation: int = 1) -> Window:
    """A layer that keeps the length and reads as far ahead as back.

    Raises:
        ValueError: If a number is below 1, or the effective kernel is even.
    """
    padding = same_padding(kernel, dilation)
    return Window(kernel, dilation=dilation, padding=padding)


class CausalConv1d(nn.Conv1d):
    """Dilated convolution of the past: (B, C, T) to (B, C', T).

    Output t is the sum over taps j of w[k - 1 - j] x[t - r j], with zeros
    before the first step.

    Args:
        channels: Input channels C.
        width: Output channels C'.
        kernel: Taps k.
        dilation: Steps between taps, r.
        groups: Groups of channels that do not mix.
        bias: Whether it has one.

    Raises:
        ValueError: If `kernel` or `dilation` is below 1; from a call, as
            `check_sequences`.

    Source:
        van den Oord et al., arXiv:1609.03499, section 2.1 and Figure 3.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: int,
        *,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ):
        check_positive(kernel=kernel, dilation=dilation)
        super().__init__(
            channels,
            width,
            kernel,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )

    def forward(self, x: Tensor) -> Tensor:
        """The filtered sequences, (B, C', T)."""
        check_sequences(x)
        before = effective_kernel(self.kernel_size[0], self.dilation[0]) - 1
        return super().forward(F.pad(x, (before, 0)))


def time_convolution(
    channels: int,
    width: int,
    window: Window,
    *,
    depthwise: bool = False,
    bias: bool = True,
    weight_norm: bool = False,
) -> nn.Conv1d:
    """The convolution of stride 1 that a window along time describes.

    Args:
        channels: Input channels.
        width: Output channels.
        window: From `causal_window` or `centred_window`; one tap is both.
        depthwise: Whether each channel is taken on its own.
        bias: Whether it has one.
        weight_norm: Whether its weights are g v / |v|, with one g an output
            channel and the norm over all else.

    Raises:
        ValueError: If the window has a stride, or the padding of neither.
    """
    past = window.span - 1
    if window.stride > 1 or window.padding not in (past, past / 2):
        raise ValueError(
            f"window={window}: must have stride 1 and a padding of {past} "
            f"(causal) or {past / 2:g} (centred)"
        )
    causal = window.padding > past / 2
    made = CausalConv1d if causal else nn.Conv1d
    convolution = made(
        channels,
        width,
        window.kernel,
        dilation=window.dilation,
        groups=channels if depthwise else 1,
        bias=bias,
        **({} if causal else {"padding": window.padding}),
    )
    if weight_norm:
        parametrizations.weight_norm(convolution)
    return convolution


def check_sequences(x: Tensor) -> None:
    """Refuse what is no batch of sequences, (B, C, T) of decimals.

    Raises:
        ValueError: If x has other dimensions, no step or another type.
    """
    # torch.fx traces with something else than a tensor.
    if not isinstance(x, Tensor):
        return
    if x.ndim != 3 or not x.shape[2] or not x.is_floating_point():
        raise ValueError(
            f"x of shape {tuple(x.shape)} and {x.dtype}: must be a batch of "
            "sequences, (B, C, T) with T at least 1, of a floating-point "
            "type; x[None] makes a batch of one sequence"
        )
