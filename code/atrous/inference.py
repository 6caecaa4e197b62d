"""A trained network made ready to be run: smaller, and fast on a CPU."""

import copy
from collections import Counter
from collections.abc import Sequence

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from atrous.fastconv import AtrousConv2d, convert_
from atrous.smoothing import SmoothedConv2d
from atrous.tracing import Layer, trace


def prepare(model: nn.Module) -> nn.Module:
    """Copy a network for inference: the same function, computed faster.

    Batch normalisation that directly follows a convolution becomes part of
    its weights, an `Identity` stands where it was; weights are stored with
    their channels last, and so are the maps that they produce; convolutions
    are converted by `atrous.fastconv.convert_`. Outputs differ by rounding.
    Which layers follow which is read from `model.forward` by torch.fx; the
    copy keeps the class and all methods of the model.

    Args:
        model: A network in evaluation mode. It is left untouched.

    Returns:
        The copy, in evaluation mode, without gradients for its parameters.

    Raises:
        ValueError: If a part of the model is in training mode, in which
            batch normalisation depends on the batch, or if there is any and
            torch.fx cannot trace the model.

    Source:
        Batch normalisation folded: Jacob et al., arXiv:1712.05877,
        section 3.2.
    """
    for name, module in model.named_modules():
        if module.training:
            raise ValueError(
                f"model={type(model).__name__}: {name or 'it'} is in "
                "training mode; call eval() first"
            )
    if any(isinstance(m, nn.BatchNorm2d) for m in model.modules()):
        network, layers = trace(model, tracer=_Tracer())
    else:
        network, layers = copy.deepcopy(model), []
    network.requires_grad_(False)
    for before, norm in _pairs(layers):
        convolution, statistics = before.module, norm.module
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            statistics.running_mean,
            statistics.running_var,
            statistics.eps,
            statistics.weight,
            statistics.bias,
        )
        network.set_submodule(norm.node.target, nn.Identity().eval())
    network.to(memory_format=torch.channels_last)
    return convert_(network)


class _Tracer(fx.Tracer):
    """Sees our convolutions as one step, and maps as `_Map`s."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = isinstance(m, AtrousConv2d | SmoothedConv2d)
        return own or super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Map(node, self)


class _Map(fx.Proxy):
    """Stands for (B, C, H, W): its shape can be sliced and taken apart."""

    def __getattr__(self, name: str):
        if name == "shape":
            return tuple(self.size(axis) for axis in range(4))
        return super().__getattr__(name)


def _pairs(layers: Sequence[Layer]) -> list[tuple[Layer, Layer]]:
    """Convolutions and the batch normalisations that can become part of them.

    Each is called once, and nothing else sees what is between them.
    """
    calls = Counter(layer.module for layer in layers)
    by_node = {layer.node: layer for layer in layers}
    pairs = []
    for norm in layers:
        if type(norm.module) is not nn.BatchNorm2d:
            continue
        before = by_node[norm.options["input"]]
        if (
            type(before.module) in (nn.Conv2d, AtrousConv2d, SmoothedConv2d)
            and calls[before.module] == calls[norm.module] == 1
            and len(before.node.users) == 1
            and norm.module.running_mean is not None
        ):
            pairs.append((before, norm))
    return pairs
