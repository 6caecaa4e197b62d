"""The context module of Yu & Koltun with its identity initialisation."""

import torch
from torch import nn


class ContextModule(nn.Sequential):
    """Refines score maps: (B, C, H, W) to the same shape.

    Dilations 1, 1, 2, 4, ..., 2^(levels - 4), 1 and a 1x1. `large` widens
    to 2C, 2C, 4C, 8C, ... channels and returns to C at the end.
    """

    def __init__(self, num_classes, levels=8, large=False, noise=0.01):
        doubling = [2**i for i in range(levels - 3)]
        dilations = [1, *doubling, 1]
        widths = [num_classes] * (levels - 1)
        if large:
            growth = [1, *doubling, doubling[-1]]
            widths = [2 * num_classes * factor for factor in growth]
        modules, channels = [], num_classes
        for rate, width in zip(dilations, widths, strict=True):
            modules += [
                nn.Conv2d(channels, width, 3, padding=rate, dilation=rate),
                nn.ReLU(),
            ]
            channels = width
        super().__init__(*modules, nn.Conv2d(channels, num_classes, 1))
        identity_init_(self, noise)


@torch.no_grad()
def identity_init_(module, noise=0.01):
    """Pass the classes through: C / c_out at the centre tap, same class.

    Elsewhere N(0, (noise C / c_out)^2), but zeros where all widths are C.
    """
    layers = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    classes = layers[-1].out_channels
    for layer in layers:
        c_out, c_in, k, _ = layer.weight.shape
        layer.weight.zero_()
        layer.bias.zero_()
        if not c_in == c_out == classes:
            layer.weight.normal_(0, noise * classes / c_out)
        of_output = torch.arange(c_out) * classes // c_out
        of_input = torch.arange(c_in) * classes // c_in
        same = (of_output[:, None] == of_input).to(layer.weight.device)
        centre = layer.weight[:, :, k // 2, k // 2]
        centre.masked_fill_(same, classes / c_out)


if __name__ == "__main__":
    x = torch.rand(1, 21, 64, 64)
    print(torch.equal(ContextModule(21)(x), x))  # True
    large = ContextModule(21, large=True)
    print(tuple(large(x).shape))  # (1, 21, 64, 64)
