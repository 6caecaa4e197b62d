"""The dilated convolution in four forms, each equal to F.conv2d."""

import torch
import torch.nn.functional as F


def shifted_products(x, weight, stride=1, padding=0, dilation=1):
    """One 1x1 convolution a tap: the equation, term by term."""
    x = F.pad(x, (padding,) * 4)
    kh, kw = weight.shape[2:]
    bottom = x.shape[2] - (kh - 1) * dilation
    right = x.shape[3] - (kw - 1) * dilation
    out = 0
    for u in range(kh):
        for v in range(kw):
            i, j = u * dilation, v * dilation
            shift = x[:, :, i : i + bottom : stride, j : j + right : stride]
            tap = weight[:, :, u, v]
            out = out + torch.einsum("bchw,oc->bohw", shift, tap)
    return out


def zero_filled(x, weight, stride=1, padding=0, dilation=1):
    """A dense convolution with r - 1 zeros put between the taps."""
    kh, kw = weight.shape[2:]
    size = (kh - 1) * dilation + 1, (kw - 1) * dilation + 1
    dense = weight.new_zeros(*weight.shape[:2], *size)
    dense[..., ::dilation, ::dilation] = weight
    return F.conv2d(x, dense, stride=stride, padding=padding)


def sparse_im2col(x, weight, stride=1, padding=0, dilation=1):
    """One matrix product over patches that are sampled every r pixels."""
    kh, kw = weight.shape[2:]
    patches = F.unfold(x, (kh, kw), dilation, padding, stride)
    rows = (x.shape[2] + 2 * padding - (kh - 1) * dilation - 1) // stride + 1
    return (weight.flatten(1) @ patches).unflatten(2, (rows, -1))


def phases(x, weight, padding=0, dilation=1):
    """Dense convolutions of the r x r subsampled maps, interleaved again."""
    r, (kh, kw) = dilation, weight.shape[2:]
    x = F.pad(x, (padding,) * 4)
    (b, c), (h, w) = x.shape[:2], x.shape[2:]
    x = F.pad(x, (0, -w % r, 0, -h % r))  # to whole phases
    x = F.pixel_unshuffle(x, r).unflatten(1, (c, r * r)).transpose(1, 2)
    y = F.conv2d(x.flatten(0, 1), weight)  # (B r^2, O, h', w')
    y = y.unflatten(0, (b, r * r)).transpose(1, 2)
    y = F.pixel_shuffle(y.flatten(1, 2), r)
    return y[..., : h - (kh - 1) * r, : w - (kw - 1) * r]


if __name__ == "__main__":
    x, weight = torch.rand(2, 3, 20, 17), torch.rand(4, 3, 3, 3)
    expected = F.conv2d(x, weight, padding=2, dilation=2)
    for form in (shifted_products, zero_filled, sparse_im2col, phases):
        y = form(x, weight, padding=2, dilation=2)
        torch.testing.assert_close(y, expected)
    print(tuple(y.shape))  # (2, 4, 20, 17)
