"""Layer normalisation over the channels of each place of a map."""

from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Normalises the channels of each place: (B, C, H, W) to the same.

    It is torch's layer normalisation, which looks at the last axis, on maps
    whose channels are the second one.

    Args:
        channels: Channels C.
        eps: What is added to the variance.
    """

    def __init__(self, channels: int, *, eps: float = 1e-6):
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """The normalised maps, (B, C, H, W)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)
