"""Cures for gridding that sit beside a single dilated convolution.

A convolution of rate r keeps the r^2 phases of a map apart. Group
interaction mixes them after it; filters before it let each phase see its
neighbours. `smooth_` puts one or the other into a network.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atrous.gridding.impulse_response import check_rate
from atrous.ops.upsampling import cut

FILTERS = ("average", "gaussian", "learned")
SMOOTHINGS = ("gi", "ssc", *FILTERS)


class GroupInteraction(nn.Module):
    """Mixes the r^2 phases of maps (B, C, H, W), all channels alike.

    Place by place of the coarse grid, phase j of the output is the sum over
    i of matrix[i, j] times phase i of the input. Phase (y mod r, x mod r)
    has number (y mod r) r + (x mod r). It starts as the identity, and
    commutes with shifts by multiples of r only.

    Args:
        rate: Rate r of the convolution before it.
        slip: Whether phase 0 feeds no phase but its own, as in the released
            code, where an index is wrong: what belongs to matrix[0, j] is
            added to matrix[j, j]. At the start it makes no difference.

    Raises:
        ValueError: If `rate` is below 1.

    Source:
        Wang & Ji, KDD 2018, group interaction layer; divelab/dilated.
    """

    def __init__(self, rate: int, *, slip: bool = False):
        super().__init__()
        check_rate(rate)
        self.rate, self.slip = rate, slip
        self.matrix = nn.Parameter(torch.eye(rate**2))

    def forward(self, x: Tensor) -> Tensor:
        """The phases mixed, (B, C, H, W).

        Raises:
            ValueError: If x has not these four dimensions, or H or W is no
                multiple of the rate.
        """
        check_maps(x)
        r, matrix = self.rate, self.matrix
        traced = not isinstance(x, Tensor)  # by torch.fx
        if not traced and (x.shape[2] % r or x.shape[3] % r):
            raise ValueError(
                f"x of shape {tuple(x.shape)}: height and width must be "
                f"multiples of rate={r}"
            )
        if self.slip:
            others = torch.cat([torch.zeros_like(matrix[:1]), matrix[1:]])
            matrix = others + matrix[0].diag()
        phases = F.pixel_unshuffle(x, r).unflatten(1, (-1, r * r))
        mixed = torch.einsum("bcihw,ij->bcjhw", phases, matrix)
        return F.pixel_shuffle(mixed.flatten(1, 2), r)


class ChannelFilter(nn.Module):
    """Filters each channel of maps (B, C, H, W) on its own; keeps the size.

    Args:
        kernel: (k, k) for all channels, or (C, k, k), one for each. An even
            k has its extra pixel below and to the right.
        trainable: Whether the kernel is a parameter, or fixed and not in
            the state dict.
    """

    def __init__(self, kernel: Tensor, *, trainable: bool = True):
        super().__init__()
        if trainable:
            self.kernel = nn.Parameter(kernel)
        else:
            self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The filtered maps, (B, C, H, W).

        Raises:
            ValueError: If x has not these four dimensions.
        """
        check_maps(x)
        channels, k = x.shape[1], self.kernel.shape[-1]
        before, after = (k - 1) // 2, k // 2
        return F.conv2d(
            F.pad(x, (before, after, before, after)),
            self.kernel.expand(channels, k, k)[:, None],
            groups=channels,
        )


class SharedConvolution(ChannelFilter):
    """Separable and shared convolution (SSC): one kernel for all channels.

    (2r - 1)^2 weights, enough for neighbouring outputs of the convolution
    of rate r that follows to share inputs. It starts as the identity.

    Args:
        rate: Rate r of the convolution after it.

    Raises:
        ValueError: If `rate` is below 1.

    Source:
        Wang & Ji, KDD 2018, separable and shared convolution.
    """

    def __init__(self, rate: int):
        check_rate(rate)
        kernel = torch.zeros(2 * rate - 1, 2 * rate - 1)
        kernel[rate - 1, rate - 1] = 1.0
        super().__init__(kernel)


class PreFilter(ChannelFilter):
    """A small low-pass filter, (r - 1)^2, before a convolution of rate r.

    At rate 2 it is 1x1: the two that are fixed do nothing.

    Args:
        rate: Rate r of the convolution after it, at least 2.
        kind: "average" is fixed; "gaussian" is fixed, too, and centred on
            its window; "learned" starts as the average and trains one
            kernel a channel, which is what "average" does in the released
            code.
        channels: Channels of the maps, for "learned" only.
        sigma: Standard deviation of the Gaussian, in pixels.

    Raises:
        ValueError: If a number is out of range or `kind` is unknown.

    Source:
        Ziegler et al., arXiv:1903.07992, and its code.
        Departs: sigma is fixed.
    """

    def __init__(
        self,
        rate: int,
        *,
        kind: str = "average",
        channels: int = 1,
        sigma: float = 1.0,
    ):
        check_rate(rate)
        if rate < 2:
            raise ValueError(f"rate={rate}: must be at least 2")
        if kind not in FILTERS:
            raise ValueError(f"kind={kind!r}: must be one of {FILTERS}")
        if channels < 1 or sigma <= 0:
            raise ValueError(
                f"channels={channels}, sigma={sigma}: must be positive"
            )
        size = rate - 1
        taps = torch.ones(size)
        if kind == "gaussian":
            place = torch.arange(size) - (size - 1) / 2
            taps = torch.exp(-((place / sigma) ** 2) / 2)
        kernel = torch.outer(taps, taps) / taps.sum() ** 2
        if kind == "learned":
            kernel = kernel.repeat(channels, 1, 1)
        super().__init__(kernel, trainable=kind == "learned")


class SmoothedConv2d(nn.Conv2d):
    """A dilated convolution and its cure, `self.smoothing`.

    Group interaction works on the output, before the bias is added; a bias
    mixed by phases would be a grid of its own. The input is padded below
    and to the right to whole phases, so that maps of any size go in: the
    phases that reach over the map are computed there as well, as in the
    released code, and cut off at the end. Filters work on the input.

    Made by `smooth_`; the arguments are those of `torch.nn.Conv2d`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The smoothed output, (B, C', H, W)."""
        if not isinstance(self.smoothing, GroupInteraction):
            return super().forward(self.smoothing(x))
        rate, (height, width) = self.smoothing.rate, x.shape[2:]
        whole = F.pad(x, (0, -width % rate, 0, -height % rate))
        y = self.smoothing(self._conv_forward(whole, self.weight, None))
        y = cut(y, (height, width))
        return y if self.bias is None else y + self.bias[:, None, None]


def smooth_(model: nn.Module, *, smoothing: str, **options) -> nn.Module:
    """Put a cure beside the dilated convolutions of a model, in place.

    These are all 3x3 `torch.nn.Conv2d` of stride 1, with the same rate
    above 1 along both axes, padded with as many zeros. Each becomes a
    `SmoothedConv2d`: the same object, with its parameters and hooks and
    their keys in the state dict; what the cure has to train comes under
    "smoothing". Weights of the plain network load before, or afterwards
    with `strict=False`. To leave a part out, ASPP say, give the other parts.

    Args:
        model: A network, or the part of one that is to be smoothed.
        smoothing: "gi" (`GroupInteraction`), "ssc" (`SharedConvolution`),
            or the kind of a `PreFilter`: "average", "gaussian", "learned".
        options: `slip` for "gi", `sigma` for "gaussian".

    Returns:
        The model.

    Raises:
        ValueError: If `smoothing` is unknown or the model has no such
            convolution.
    """
    if smoothing not in SMOOTHINGS:
        raise ValueError(
            f"smoothing={smoothing!r}: must be one of {SMOOTHINGS}"
        )
    chosen = [m for m in model.modules() if _is_dilated(m)]
    if not chosen:
        raise ValueError(
            f"model={type(model).__name__}: has no dilated 3x3 Conv2d of "
            "stride 1; in sequences and volumes nothing is smoothed here"
        )
    for convolution in chosen:
        rate, channels = convolution.dilation[0], convolution.in_channels
        if smoothing == "gi":
            cure = GroupInteraction(rate, **options)
        elif smoothing == "ssc":
            cure = SharedConvolution(rate, **options)
        else:
            cure = PreFilter(
                rate, kind=smoothing, channels=channels, **options
            )
        cure.train(convolution.training).to(convolution.weight)
        convolution.smoothing = cure
        convolution.__class__ = SmoothedConv2d  # as torch's lazy modules do
    return model


def check_maps(x: Tensor) -> None:
    """Raise ValueError unless x is (B, C, H, W): there are two axes here."""
    # torch.fx traces with something else than a tensor.
    if isinstance(x, Tensor) and x.ndim != 4:
        raise ValueError(
            f"x of shape {tuple(x.shape)}: must be (B, C, H, W); sequences "
            "and volumes have no smoothing here"
        )


def _is_dilated(module: nn.Module) -> bool:
    if type(module) is not nn.Conv2d or module.padding_mode != "zeros":
        return False
    rate = module.dilation[0]
    return (
        module.kernel_size == (3, 3)
        and module.stride == (1, 1)
        and rate > 1
        and module.dilation == (rate, rate)
        and module.padding in ("same", (rate, rate))
    )
