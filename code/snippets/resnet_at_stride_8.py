"""The last two strides of a ResNet into dilations, for any of its forms."""

import copy

import torch
from torch import nn


def at_output_stride_8(resnet):
    """Copy a ResNet that has layer3 and layer4 at output stride 8.

    No weight changes: every fourth output along each axis is the ResNet's
    own. The convolution that had the stride, and those before it in its
    unit, keep the old rate; those behind it take the new one. So this fits
    weights with the stride on the 3x3 (torchvision) and on the 1x1 (Caffe).
    """
    resnet, rate = copy.deepcopy(resnet), 1
    for unit in (*resnet.layer3, *resnet.layer4):
        for name, module in unit.named_modules():
            if not isinstance(module, nn.Conv2d):
                continue
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (rate, rate)
            if module.stride == (2, 2):
                module.stride = (1, 1)
                rate *= 1 if "downsample" in name else 2
    if rate != 4:
        raise ValueError(f"layer3, layer4: strides of 4 wanted, found {rate}")
    return resnet


class Unit(nn.Module):
    """A residual unit of two 3x3, for the example only."""

    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1)
        self.downsample = nn.Conv2d(channels, width, 1, stride)

    def forward(self, x):
        """Both paths, added."""
        y = self.conv2(self.conv1(x).relu())
        return (y + self.downsample(x)).relu()


if __name__ == "__main__":
    network = nn.Sequential()
    network.stem = nn.Conv2d(3, 8, 7, 8, 3)
    network.layer3 = nn.Sequential(Unit(8, 8, 2), Unit(8, 8, 1))
    network.layer4 = nn.Sequential(Unit(8, 8, 2), Unit(8, 8, 1))
    x, dense = torch.rand(1, 3, 97, 129), at_output_stride_8(network)
    with torch.no_grad():
        coarse, y = network(x), dense(x)
    torch.testing.assert_close(y[..., ::4, ::4], coarse)
    print(tuple(coarse.shape), tuple(y.shape))  # (1, 8, 4, 5) (1, 8, 13, 17)
