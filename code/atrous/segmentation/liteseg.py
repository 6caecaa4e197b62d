"""LiteSeg: a deeper ASPP and a short decoder, all separable."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from atrous.arithmetic import Window
from atrous.backbones.mobilenet import STAGES, MobileNetV2Classifier
from atrous.layers.aspp import branch_layers, check_map
from atrous.layers.decoder import LowLevelDecoder, fuse_layers
from atrous.layers.init import he_normal_
from atrous.layers.spec import LayerSpec, SpecStack, separable_layers
from atrous.segmentation.base import EncoderDecoder

RATES = (1, 3, 6, 9)
LOW_LEVEL, LOW_LEVEL_STRIDE = "stage2", 4


class DASPPBranch(nn.Module):
    """Atrous separable, then separable 3x3: (B, C, H, W) to (B, C', H, W).

    At rate 1 it is a separable 1x1 alone. The atrous convolution is
    normalised and not rectified; the 3x3, which fills the holes between its
    taps, is both.

    Args:
        channels: Input channels C.
        rate: Dilation.
        width: Output channels C'.

    Raises:
        ValueError: If `rate` or `width` is below 1.

    Source:
        Emara et al., arXiv:1912.06683; the authors' aspp.py.
    """

    def __init__(self, channels: int, *, rate: int, width: int = 96):
        super().__init__()
        (dense,) = branch_layers(rate=rate, width=width)
        # In the order of the authors' state dict, not of the computation.
        after = _plan(Window(3, padding=1), width, width) if rate > 1 else ()
        self.after = SpecStack(after, width)
        atrous = _plan(dense.window, channels, width, relu=False)
        self.atrous = SpecStack(atrous, channels)

    @property
    def plan(self) -> tuple[LayerSpec, ...]:
        """The plan of the layers, in the order of the computation."""
        return self.atrous.plan + self.after.plan

    def forward(self, x: Tensor) -> Tensor:
        """The branch's output, (B, C', H, W)."""
        return self.after(self.atrous(x))


class DASPP(nn.Module):
    """The input, its branches and its mean, fused: to (B, C', H, W).

    Args:
        channels: Input channels C.
        rates: One a branch.
        width: Channels of each branch, of the pooled one and of the output.
        image_pooling: Whether the mean of the map is among the branches.

    Raises:
        ValueError: If there is no rate, or a number is below 1; at run time
            if one picture is trained on with image pooling.

    Source:
        Emara et al., arXiv:1912.06683; the authors' liteseg_mobilenet.py.
    """

    def __init__(
        self,
        channels: int,
        *,
        rates: Sequence[int] = RATES,
        width: int = 96,
        image_pooling: bool = True,
    ):
        super().__init__()
        if not rates:
            raise ValueError(f"rates={rates}: must be at least one")
        self.branches = nn.ModuleList(
            DASPPBranch(channels, rate=rate, width=width) for rate in rates
        )
        self.pooled = None
        if image_pooling:
            self.pooled = SpecStack(branch_layers(width=width), channels)
        joined = channels + (len(rates) + image_pooling) * width
        self.project = SpecStack(_plan(Window(1), joined, width), joined)

    def forward(self, x: Tensor) -> Tensor:
        """Fused features, (B, C', H, W)."""
        plans = [layer for branch in self.branches for layer in branch.plan]
        check_map(x, [layer.window for layer in plans], self.pooled)
        maps = [x, *(branch(x) for branch in self.branches)]
        if self.pooled is not None:
            pooled = self.pooled(x.mean((2, 3), keepdim=True))
            maps.append(pooled.expand(-1, -1, x.shape[2], x.shape[3]))
        return self.project(torch.cat(maps, 1))


def liteseg_mobilenetv2(
    *,
    num_classes: int = 19,
    output_stride: int = 32,
    decoder: bool = True,
    rates: Sequence[int] = RATES,
    image_pooling: bool = True,
    width: int = 96,
    align_corners: bool = True,
) -> EncoderDecoder:
    """LiteSeg on MobileNetV2: (B, 3, H, W) to logits (B, C, H, W).

    Its output stride is 4, that of the 24 channels of low-level features,
    which are joined as they are. The ImageNet classifier of the backbone is
    among the weights, as released; it is never run.

    Args:
        num_classes: Classes C, at least 1.
        output_stride: Of the backbone: 4, 8, 16 or 32. The rates stay.
        decoder: Whether there is one; without it the logits are those of
            the DASPP at the backbone's stride.
        rates: As in `DASPP`.
        image_pooling: As in `DASPP`.
        width: Channels of the DASPP and of the decoder.
        align_corners: Whether both upsamplings align corners, as released.

    Raises:
        ValueError: If a number is out of range.

    Source:
        Emara et al., arXiv:1912.06683; the authors' liteseg_mobilenet.py.
    """
    backbone = MobileNetV2Classifier(output_stride=output_stride)
    context = DASPP(
        backbone.channels,
        rates=rates,
        width=width,
        image_pooling=image_pooling,
    )
    low = STAGES[1].width
    fused = low + width if decoder else width
    plan = fuse_layers(
        fused,
        num_classes,
        width=width,
        convolutions=2 if decoder else 0,
        norm=False,
    )
    fuse, levels = SpecStack(plan, fused), ("last", LOW_LEVEL)
    if decoder:
        head = LowLevelDecoder(
            context, nn.Identity(), fuse, align_corners=align_corners
        )
    else:
        levels = levels[:1]
        head = nn.Sequential(OrderedDict(context=context, fuse=fuse))
    return he_normal_(
        EncoderDecoder(
            backbone,
            head,
            num_classes=num_classes,
            output_stride=LOW_LEVEL_STRIDE if decoder else output_stride,
            levels=levels,
            align_corners=align_corners,
        )
    )


def _plan(
    window: Window, channels: int, width: int, *, relu: bool = True
) -> tuple[LayerSpec, ...]:
    return separable_layers(window, channels, width, norm=False, relu=relu)
