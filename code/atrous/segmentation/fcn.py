"""FCN-32s, 16s and 8s: VGG-16 made convolutional, skips, upsampling."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atrous.arithmetic import Field, Window, fields
from atrous.backbones.vgg import POOL, vgg16_layers
from atrous.layers.spec import LayerSpec, SpecStack, windows
from atrous.ops.upsampling import bilinear_kernel, transposed_bilinear
from atrous.segmentation.base import Segmenter, check_pictures

PADDING = 100  # of the first convolution. Source: shelhamer/fcn.
# The maps that are scored, by the stride of the prediction; coarsest first.
SKIPS = {
    32: ("fc7",),
    16: ("fc7", "pool4"),
    8: ("fc7", "pool4", "pool3"),
}
WIDTHS = {"fc7": 4096, "pool4": 512, "pool3": 256}


def fcn_layers() -> tuple[LayerSpec, ...]:
    """Plan of VGG-16 to fc7, all convolutions.

    The first one pads by 100 pixels, so that fc6, 7x7 and not padded, fits
    at any size of the picture. Poolings round sizes up.

    Source:
        Long et al., arXiv:1411.4038, section 4; shelhamer/fcn.
    """
    first, *others = vgg16_layers(pools=(POOL,) * 5, ceil_mode=True)
    return (
        first._replace(window=Window(3, padding=PADDING)),
        *others,
        LayerSpec("fc6", Window(7), 4096, dropout=0.5),
        LayerSpec("fc7", Window(1), 4096, dropout=0.5),
    )


class Upsampling(nn.Module):
    """Upsampling by a transposed convolution: to (B, C, f (H + 1), ...).

    Kernel 2 f, stride f, nothing cut off.

    Args:
        channels: Channels C.
        factor: f, even.
        learned: Whether it has weights, from all channels to all, which
            start bilinear on each channel; fixed bilinear otherwise.

    Raises:
        ValueError: If `factor` is odd or below 2.

    Source:
        Long et al., arXiv:1411.4038, sections 3.3 and 4.3; fixed in
        shelhamer/fcn, whose layers have a learning rate of 0.
    """

    def __init__(self, channels: int, factor: int, *, learned: bool = False):
        super().__init__()
        self.factor = factor
        self.weight = None
        if learned:
            weight = torch.zeros(channels, channels, 2 * factor, 2 * factor)
            weight[range(channels), range(channels)] = bilinear_kernel(
                factor, weight
            )
            self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, f (H + 1), f (W + 1))."""
        if self.weight is None:
            return transposed_bilinear(x, self.factor, padding=0)
        return F.conv_transpose2d(x, self.weight, None, self.factor)

    def field(self, field: Field) -> Field:
        """Where outputs lie if inputs lie as in `field`; its size is kept.

        Output j is centred on input (j - (f - 1/2)) / f.
        """
        jump = field.jump // self.factor
        start = field.start - (self.factor - 0.5) * jump
        return Field(field.size, jump, start)


class FCN(Segmenter):
    """FCN on VGG-16: pictures (B, 3, H, W) to logits (B, C, H, W).

    The last layer is the transposed convolution that brings the fused
    scores to the picture, so the output stride is 1. `coarse_logits(x)`
    gives what goes into it.

    Args:
        num_classes: Classes C, at least 1.
        prediction_stride: 32, 16 or 8, of FCN-32s, 16s and 8s: with no skip,
            with that of pool4, and with that of pool3 too.
        learned: Whether upsampling is learned.

    Raises:
        ValueError: If `num_classes` or `prediction_stride` is out of range.

    Source:
        Long et al., arXiv:1411.4038, section 4 and Figure 3; the padding,
        and which places of a skip belong to the coarser map: shelhamer/fcn.
        Departs: skips are not scaled down, and all is trained at once.
    """

    def __init__(
        self,
        *,
        num_classes: int = 21,
        prediction_stride: int = 8,
        learned: bool = False,
    ):
        super().__init__(num_classes=num_classes, output_stride=1)
        if prediction_stride not in SKIPS:
            raise ValueError(
                f"prediction_stride={prediction_stride}: must be one of "
                f"{[*SKIPS]}"
            )
        self.prediction_stride = prediction_stride
        plan, names = fcn_layers(), SKIPS[prediction_stride]
        self.backbone = SpecStack(plan, 3)
        self.scoring = nn.ModuleDict(
            {name: nn.Conv2d(WIDTHS[name], num_classes, 1) for name in names}
        )
        for module in self.scoring.values():
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
        self.up = nn.ModuleList(
            Upsampling(num_classes, factor, learned=learned)
            for factor in (*[2] * (len(names) - 1), prediction_stride)
        )
        # Where the cells of a skip begin that belong to the coarser map.
        layers = [layer.name for layer in plan]
        places = dict(zip(layers, fields(windows(plan)), strict=True))
        self.field, self.offsets = places["fc7"], {}
        for name, up in zip(names[1:], self.up[:-1], strict=True):
            self.field = up.field(self.field)
            shift = self.field.start - places[name].start
            self.offsets[name] = int(shift / self.field.jump)
        self.margin = int(-self.up[-1].field(self.field).start)

    def coarse_logits(self, x: Tensor) -> Tensor:
        """Fused scores before the last upsampling, (B, C, H', W').

        With the margin that the padding of 100 pixels brings: place i of an
        axis is centred on pixel `field.start` + i `field.jump` of x.
        """
        check_pictures(x)
        maps = self.backbone.features(x)
        y = self.scoring["fc7"](maps["fc7"])
        for up, (name, start) in zip(
            self.up[:-1], self.offsets.items(), strict=True
        ):
            y = up(y)
            height, width = y.shape[2:]
            skip = self.scoring[name](maps[name])
            y = y + skip[..., start : start + height, start : start + width]
        return y

    def logits(self, x: Tensor) -> Tensor:
        """Scores of every pixel, (B, C, H, W), the margin cut off."""
        full = self.up[-1](self.coarse_logits(x))
        bottom, right = (self.margin + side for side in x.shape[2:])
        return full[..., self.margin : bottom, self.margin : right]
