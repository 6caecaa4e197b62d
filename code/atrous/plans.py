"""From a plan, which is data, to the network that it describes."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from atrous.arithmetic import Window


class Layer(NamedTuple):
    """One named layer of a plan.

    Attributes:
        name: The layer's name, unique in its plan.
        window: Its spatial structure, the same along both axes.
        width: Output channels of a convolution; None for max pooling.
        relu: Whether max(x, 0) follows a convolution.
        dropout: Probability of the dropout that follows; 0 for none.
        ceil_mode: Whether max pooling rounds its output size up, as Caffe
            does; `atrous.arithmetic.output_size` always rounds down.
        norm: Whether batch normalisation follows a convolution, which then
            has no bias; before the ReLU.
    """

    name: str
    window: Window
    width: int | None = None
    relu: bool = True
    dropout: float = 0.0
    ceil_mode: bool = False
    norm: bool = False


def windows(layers: Sequence[Layer]) -> tuple[Window, ...]:
    """The stack of windows of a plan, for `atrous.arithmetic`."""
    return tuple(layer.window for layer in layers)


class Stack(nn.Sequential):
    """The network that a plan describes, one child a step.

    Maps (B, C, H, W) to (B, width of the last convolution, H', W').

    Args:
        layers: The plan.
        channels: Input channels C.

    Raises:
        ValueError: If two layers share a name.
    """

    def __init__(self, layers: Sequence[Layer], channels: int):
        super().__init__()
        names = [layer.name for layer in layers]
        if len(set(names)) < len(names):
            raise ValueError(f"layers: names must be unique, got {names}")
        self.plan = tuple(layers)
        for name, w, width, relu, dropout, ceil_mode, norm in self.plan:
            geometry = (w.kernel, w.stride, w.padding, w.dilation)
            if width is None:
                pool = nn.MaxPool2d(*geometry, ceil_mode=ceil_mode)
                self.add_module(name, pool)
                continue
            convolution = nn.Conv2d(channels, width, *geometry, bias=not norm)
            self.add_module(name, convolution)
            if norm:
                self.add_module(f"{name}_bn", nn.BatchNorm2d(width))
            if relu:
                self.add_module(f"{name}_relu", nn.ReLU())
            if dropout:
                self.add_module(f"{name}_drop", nn.Dropout(dropout))
            channels = width

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Every layer's output by its name, after all that follows it."""
        names = {layer.name for layer in self.plan}
        outputs = {}
        for name, module in self.named_children():
            x = module(x)
            if name in names:
                layer = name
            outputs[layer] = x
        return outputs
