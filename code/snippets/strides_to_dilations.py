"""Turn the last strides of a plain chain of layers into dilations."""

import copy

import torch
from torch import nn

POINTWISE = (nn.BatchNorm2d, nn.ReLU, nn.Dropout, nn.Identity)


def dilate(chain, output_stride):
    """Copy an nn.Sequential, nested or not, at a smaller output stride.

    No weight changes: with step = old output stride / new output stride,
    dilate(chain, output_stride)(x)[..., ::step, ::step] is chain(x), in
    evaluation mode, borders included.
    """
    chain = copy.deepcopy(chain)
    current, owed, seen = 1, 1, set()
    for _, module in chain.named_modules(remove_duplicate=False):
        if type(module) in (nn.Sequential, *POINTWISE):
            continue
        if type(module) not in (nn.Conv2d, nn.MaxPool2d) or module in seen:
            raise ValueError(f"{module}: has no rule or stands twice")
        seen.add(module)
        before, (stride, across) = owed, pair(module.stride)
        if stride > 1 and owed == 1 and current * stride <= output_stride:
            current *= stride
        else:
            owed *= stride
        if owed > 1:
            mode = getattr(module, "padding_mode", "zeros")
            ceil = getattr(module, "ceil_mode", False)
            text = isinstance(module.padding, str)
            if stride != across or mode != "zeros" or ceil or text:
                raise ValueError(f"{module}: would not be exact")
            module.stride = (1, 1)
            module.dilation = times(before, module.dilation)
            module.padding = times(before, module.padding)
    if current != output_stride:
        raise ValueError(f"output_stride={output_stride}: not reached")
    return chain


def pair(value):
    """A number for both axes, as torch's modules hold it or a pair."""
    return value if isinstance(value, tuple) else (value, value)


def times(factor, value):
    """Both numbers times a factor."""
    return tuple(factor * v for v in pair(value))


if __name__ == "__main__":
    conv, pool = nn.Conv2d(3, 8, 3, 2, 1), nn.MaxPool2d(2)
    x, chain = torch.rand(1, 3, 40, 47), nn.Sequential(conv, nn.ReLU(), pool)
    dense = dilate(chain, 2)(x)
    torch.testing.assert_close(dense[..., ::2, ::2], chain(x))
    print(tuple(dense.shape))  # (1, 8, 19, 23)
