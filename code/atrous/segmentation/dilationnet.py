"""The four networks that Yu & Koltun released: front end, then context."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from atrous.arithmetic import Window, receptive_field
from atrous.backbones.vgg import POOL, vgg16_layers
from atrous.layers.context import ContextModule
from atrous.layers.spec import LayerSpec, SpecStack, windows
from atrous.ops.upsampling import resize_cells
from atrous.segmentation.base import Segmenter, check_pictures


def front_end_layers(num_classes: int) -> tuple[LayerSpec, ...]:
    """Plan of the front end: VGG-16 dilated, without a single pad.

    Pooling layers 4 and 5 are removed; each removal doubles the dilation of
    all that follows.

    Source:
        Yu & Koltun, arXiv:1511.07122, section 4; layer by layer the deploy
        files of fyu/dilation.
    """
    pools, dilations = (POOL, POOL, POOL, None, None), (1, 1, 1, 1, 2)
    return (
        *vgg16_layers(pools=pools, dilations=dilations, same=False),
        LayerSpec("fc6", Window(7, dilation=4), 4096, dropout=0.5),
        LayerSpec("fc7", Window(1), 4096, dropout=0.5),
        LayerSpec("final", Window(1), num_classes, relu=False),
    )


# What differs between them. Source: the deploy files of fyu/dilation.
RELEASED = {
    "dilation8_voc": {
        "num_classes": 21,
        "levels": 8,
        "form": "large",
        "padding": "first",
    },
    "dilation8_camvid": {"num_classes": 11, "levels": 8},
    "dilation7_kitti": {"num_classes": 11, "levels": 7},
    "dilation10_cityscapes": {"num_classes": 19, "levels": 10},
}
OUTPUT_STRIDE = 8
MARGIN = (receptive_field(windows(front_end_layers(1))) - OUTPUT_STRIDE) // 2


def reflect_pad(x: Tensor, before: int, after: tuple[int, int]) -> Tensor:
    """Mirror a picture past its borders, the border pixel not repeated.

    Unlike torch's own, the margin may be larger than the picture.

    Args:
        x: (B, C, H, W), each side at least 2.
        before: Pixels added on top and on the left.
        after: Pixels added at the bottom and on the right.

    Raises:
        ValueError: If a side is below 2 or a margin negative.
    """
    if min(x.shape[2:]) < 2:
        raise ValueError(
            f"x of shape {tuple(x.shape)}: sides below 2 cannot be mirrored"
        )
    if before < 0 or min(after) < 0:
        raise ValueError(f"before={before}, after={after}: must not be < 0")
    for axis, end in zip((2, 3), after, strict=True):
        size = x.shape[axis]
        index = torch.arange(-before, size + end, device=x.device)
        # A tensor: the ONNX exporter takes no free size as a divisor.
        period = torch.full_like(index, 2 * (size - 1))
        index = index % period
        x = x.index_select(axis, torch.minimum(index, period - index))
    return x


class Unpadded(Segmenter):
    """A segmenter whose convolutions pad nothing, at output stride 8.

    It brings the margin of 186 pixels a side that they need, by `pad`.
    `logits_of_padded(x)` takes pictures that have it, as the released
    networks do, and gives (B, C, (H - 372) / 8, (W - 372) / 8). A subclass
    defines it.

    Args:
        num_classes: Classes C, at least 1.
        align_corners: Whether the upsampling aligns corners.

    Source:
        Yu & Koltun, arXiv:1511.07122, section 4; fyu/dilation.
        Departs: scores are upsampled around the centre of their window,
        8 i + 3.5; the released VOC, CamVid and KITTI scripts put output i
        at pixel 8 i, where their training sampled its labels.
    """

    def __init__(self, num_classes: int, *, align_corners: bool = False):
        super().__init__(
            num_classes=num_classes,
            output_stride=OUTPUT_STRIDE,
            align_corners=align_corners,
        )

    def logits(self, x: Tensor) -> Tensor:
        """Logits at stride 8, (B, C, ceil(H / 8), ceil(W / 8))."""
        check_pictures(x)
        return self.logits_of_padded(pad(x))

    def upsample(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        """Bring logits, each of 8 x 8 pixels, to a picture's size."""
        return resize_cells(logits, OUTPUT_STRIDE, size, self.align_corners)

    def logits_of_padded(self, x: Tensor) -> Tensor:
        """Logits at stride 8 of pictures that bring their margin."""
        raise NotImplementedError


class FrontEnd(Unpadded):
    """The front end of Yu & Koltun: dense scores at output stride 8.

    Args:
        num_classes: Classes C, at least 1.
        align_corners: Whether the upsampling aligns corners.

    Source:
        Yu & Koltun, arXiv:1511.07122, section 4; scores start from
        N(0, 0.001^2) as in fyu/dilation.
    """

    def __init__(self, num_classes: int = 21, *, align_corners: bool = False):
        super().__init__(num_classes, align_corners=align_corners)
        self.layers = SpecStack(front_end_layers(num_classes), 3)
        nn.init.normal_(self.layers.final.weight, std=0.001)
        nn.init.zeros_(self.layers.final.bias)

    def logits_of_padded(self, x: Tensor) -> Tensor:
        """Logits (B, C, H', W') of pictures that bring their margin.

        Sides must be 372 more than a positive multiple of 8.
        """
        return self.layers(x)


class DilationNet(Unpadded):
    """Front end and context module: dense scores at output stride 8.

    Args:
        num_classes: Classes C.
        levels: Layers of the context module.
        form: "basic" or "large".
        padding: How the context module is padded.
        align_corners: Whether the upsampling aligns corners.

    Raises:
        ValueError: As `atrous.layers.context.context_layers`; at run time if a
            padded input does not give whole outputs.

    Source:
        Yu & Koltun, arXiv:1511.07122, sections 3 and 4; fyu/dilation.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        levels: int = 8,
        form: str = "basic",
        padding: str = "same",
        align_corners: bool = False,
    ):
        super().__init__(num_classes, align_corners=align_corners)
        self.front_end = FrontEnd(num_classes)
        self.context = ContextModule(
            num_classes, levels=levels, form=form, padding=padding
        )

    def logits_of_padded(self, x: Tensor) -> Tensor:
        """Logits at stride 8 of pictures that bring their margin."""
        inner = [side - 2 * MARGIN for side in x.shape[2:]]
        if min(inner) < OUTPUT_STRIDE or any(i % OUTPUT_STRIDE for i in inner):
            raise ValueError(
                f"x of shape {tuple(x.shape)}: height and width must be "
                f"{2 * MARGIN} more than a positive multiple of "
                f"{OUTPUT_STRIDE}; call the network itself, or use pad()"
            )
        return self.context(self.front_end.logits_of_padded(x))


def pad(picture: Tensor) -> Tensor:
    """Bring the margin: mirror 186 pixels a side, and up to 7 more.

    Args:
        picture: (B, C, H, W), each side at least 2.

    Returns:
        (B, C, H', W'), with H' - 372 the multiple of 8 at or above H. Output
        (i, j) of the network then covers picture rows 8 i to 8 i + 7; crop
        the upsampled scores to H and W.
    """
    after = tuple(MARGIN + -side % OUTPUT_STRIDE for side in picture.shape[2:])
    return reflect_pad(picture, MARGIN, after)
