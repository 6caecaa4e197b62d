"""D-LinkNet's block: dilated convolutions in a chain, every step summed."""

from collections.abc import Sequence

from torch import Tensor, nn

from atrous.arithmetic import Window
from atrous.layers.spec import LayerSpec, SpecStack

# Of D-LinkNet-34; 50 and 101 have 16, too.
RATES = (1, 2, 4, 8)


class DBlock(SpecStack):
    """3x3 convolutions of growing rate in a chain: (B, C, H, W) to the same.

    Each is followed by a ReLU. The input and what each of them gives are
    summed, so fields of several sizes meet: 1, 3, 7, 15 and 31 pixels at
    the rates 1, 2, 4 and 8. Biases start at 0.

    Args:
        channels: Channels C.
        rates: Dilations in the order of the chain.

    Raises:
        ValueError: If there is no rate or one is below 1.

    Source:
        Zhou, Zhang & Wu, CVPR workshops 2018, the centre part of D-LinkNet;
        the authors' networks/dinknet.py.
    """

    def __init__(self, channels: int, *, rates: Sequence[int] = RATES):
        if min(rates, default=0) < 1:
            raise ValueError(f"rates={rates}: must be one or more, at least 1")
        plan = [
            LayerSpec(f"conv{i}", Window(3, 1, rate, rate), channels)
            for i, rate in enumerate(rates, 1)
        ]
        super().__init__(plan, channels)
        for module in self:
            if isinstance(module, nn.Conv2d):
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The sum, (B, C, H, W)."""
        return x + sum(self.features(x).values())
