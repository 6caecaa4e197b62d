"""From a plan, which is data, to the network that it describes."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from atrous.arithmetic import Window


class LayerSpec(NamedTuple):
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
        depthwise: Whether a convolution takes each channel on its own: its
            width is then that of its input, and it has no bias.
    """

    name: str
    window: Window
    width: int | None = None
    relu: bool = True
    dropout: float = 0.0
    ceil_mode: bool = False
    norm: bool = False
    depthwise: bool = False


def separable_layers(
    window: Window,
    channels: int,
    width: int,
    *,
    norm: bool = True,
    relu: bool = True,
    prefix: str = "",
) -> tuple[LayerSpec, LayerSpec]:
    """Plan of a separable convolution: each channel on its own, then 1x1.

    With a dilation it is the atrous separable convolution. It takes
    k^2 c + c w weights where the dense one takes k^2 c w.

    Args:
        window: Spatial structure of the depthwise convolution.
        channels: Input channels c.
        width: Output channels w.
        norm: Whether normalisation, and then the ReLU, stands between the
            two convolutions as well as after them.
        relu: Whether a ReLU follows each normalisation.
        prefix: Beginning of the names of both layers.

    Source:
        Chen et al., arXiv:1802.02611, section 3.1 and Figure 3.
    """
    return (
        LayerSpec(
            f"{prefix}depthwise",
            window,
            channels,
            relu=norm and relu,
            norm=norm,
            depthwise=True,
        ),
        LayerSpec(
            f"{prefix}pointwise", Window(1), width, relu=relu, norm=True
        ),
    )


def windows(layers: Sequence[LayerSpec]) -> tuple[Window, ...]:
    """The stack of windows of a plan, for `atrous.arithmetic`."""
    return tuple(layer.window for layer in layers)


class SpecStack(nn.Sequential):
    """The network that a plan describes, one child a step.

    Maps (B, C, H, W) to (B, width of the last convolution, H', W').

    Args:
        layers: The plan.
        channels: Input channels C.

    Raises:
        ValueError: If two layers share a name.
    """

    def __init__(self, layers: Sequence[LayerSpec], channels: int):
        super().__init__()
        names = [layer.name for layer in layers]
        if len(set(names)) < len(names):
            raise ValueError(f"layers: names must be unique, got {names}")
        self.plan = tuple(layers)
        for layer in self.plan:
            name, w, width = layer[:3]
            geometry = (w.kernel, w.stride, w.padding, w.dilation)
            if width is None:
                pool = nn.MaxPool2d(*geometry, ceil_mode=layer.ceil_mode)
                self.add_module(name, pool)
                continue
            convolution = nn.Conv2d(
                channels,
                width,
                *geometry,
                groups=channels if layer.depthwise else 1,
                bias=not (layer.norm or layer.depthwise),
            )
            self.add_module(name, convolution)
            if layer.norm:
                self.add_module(f"{name}_bn", nn.BatchNorm2d(width))
            if layer.relu:
                self.add_module(f"{name}_relu", nn.ReLU())
            if layer.dropout:
                self.add_module(f"{name}_drop", nn.Dropout(layer.dropout))
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
