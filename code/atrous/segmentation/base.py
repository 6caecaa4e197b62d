"""What every segmentation network is, and what wraps one."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atrous.arithmetic import check_positive
from atrous.ops.upsampling import resize


class Segmenter(nn.Module):
    """A network that labels every pixel: (B, 3, H, W) to (B, C, H, W).

    `logits(x)` gives its scores at its output stride, and `forward(x)`
    brings those to the size of x by `upsample`. Both take the same pictures,
    of any size: margins, padding and cropping are the network's own
    business. A subclass defines `logits`, and `upsample` where it is not
    bilinear interpolation over the whole picture.

    Args:
        num_classes: Classes C, at least 1.
        output_stride: Pixels per place of `logits`.
        align_corners: Whether the upsampling aligns corners.

    Raises:
        ValueError: If a number is below 1.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        output_stride: int,
        align_corners: bool = False,
    ):
        super().__init__()
        check_positive(num_classes=num_classes, output_stride=output_stride)
        self.num_classes = num_classes
        self.output_stride = output_stride
        self.align_corners = align_corners

    def logits(self, x: Tensor) -> Tensor:
        """Scores before any softmax at the output stride, (B, C, H', W')."""
        raise NotImplementedError

    def upsample(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        """Bring logits (B, C, H', W') to a picture's size, (B, C, *size)."""
        return resize(logits, size, self.align_corners)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every pixel, (B, C, H, W)."""
        return self.upsample(self.logits(x), x.shape[2:])


class EncoderDecoder(Segmenter):
    """A backbone and a head: (B, 3, H, W) to logits (B, C, H, W).

    Args:
        backbone: Maps pictures to a feature map. With `levels` it gives its
            maps by name: `features(x)`.
        head: Maps the feature map, or the maps named in `levels` in their
            order, to logits at the same places as the last of them.
        num_classes: Classes C.
        output_stride: Pixels per place of the head's logits.
        levels: Names of the maps that the head takes; None for the one map
            that the backbone returns.
        align_corners: Whether the upsampling aligns corners.

    Raises:
        ValueError: As `Segmenter`; from a call, as `check_pictures`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        *,
        num_classes: int,
        output_stride: int,
        levels: Sequence[str] | None = None,
        align_corners: bool = False,
    ):
        super().__init__(
            num_classes=num_classes,
            output_stride=output_stride,
            align_corners=align_corners,
        )
        self.backbone, self.head = backbone, head
        self.levels = None if levels is None else tuple(levels)

    def logits(self, x: Tensor) -> Tensor:
        """What the head makes of the backbone's maps, (B, C, H', W')."""
        check_pictures(x)
        if self.levels is None:
            return self.head(self.backbone(x))
        maps = self.backbone.features(x)
        return self.head(*[maps[name] for name in self.levels])


class MultiScale(Segmenter):
    """Several sizes of the picture through one network, fused by maximum.

    Each scale's logits are interpolated to the places of the largest scale;
    the result is their maximum, place by place and class by class, in
    training too. The output stride is the network's over the largest scale.

    Args:
        network: Any `Segmenter`; its weights are shared among the scales.
        scales: Factors of the picture's size, each positive.

    Raises:
        ValueError: If `network` is no `Segmenter`, there is no scale or one
            is not positive.

    Source:
        Chen et al., arXiv:1606.00915, section 4.1.2: scales 0.5, 0.75, 1.
        Departs: the paper upsamples each scale to the picture before the
        maximum; as kazuto1011's port, this takes it on the largest's grid.
    """

    def __init__(
        self,
        network: Segmenter,
        *,
        scales: Sequence[float] = (0.5, 0.75, 1.0),
    ):
        if not isinstance(network, Segmenter):
            raise ValueError(
                f"network={type(network).__name__}: must be a Segmenter, with "
                "logits(x) and upsample(logits, size)"
            )
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales={scales}: each must be positive")
        super().__init__(
            num_classes=network.num_classes,
            output_stride=network.output_stride,
            align_corners=network.align_corners,
        )
        self.network = network
        self.scales = tuple(sorted(scales, reverse=True))
        self.output_stride = network.output_stride / self.scales[0]

    def scale_logits(self, x: Tensor) -> list[Tensor]:
        """Logits of each scale at its own places, the largest first."""
        return [self.network.logits(_scaled(x, s)) for s in self.scales]

    def fuse(self, maps: Sequence[Tensor]) -> Tensor:
        """Maximum of what `scale_logits` gives, at places of the largest."""
        size, align = maps[0].shape[2:], self.network.align_corners
        maps = [maps[0], *(resize(y, size, align) for y in maps[1:])]
        return torch.stack(maps).amax(0)

    def logits(self, x: Tensor) -> Tensor:
        """Maximum over scales, at places of the largest, (B, C, H', W')."""
        return self.fuse(self.scale_logits(x))

    def upsample(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        """Bring logits to a picture's size as the network brings its own."""
        largest = [int(side * self.scales[0]) for side in size]
        full = self.network.upsample(logits, largest)
        if largest == [*size]:
            return full
        return resize(full, size, self.network.align_corners)


def check_pictures(x: Tensor) -> None:
    """Refuse what is no batch of pictures, (B, C, H, W) of decimals.

    Raises:
        ValueError: If x has other dimensions or another type.
    """
    # torch.fx traces with something else than a tensor.
    if isinstance(x, Tensor) and (x.ndim != 4 or not x.is_floating_point()):
        raise ValueError(
            f"x of shape {tuple(x.shape)} and {x.dtype}: must be a batch of "
            "pictures, (B, 3, H, W), of a floating-point type; x[None] makes "
            "a batch of one picture, and x / 255 decimals of bytes"
        )


def _scaled(x: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return x
    return F.interpolate(x, scale_factor=scale, mode="bilinear")
