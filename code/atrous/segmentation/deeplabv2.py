"""The networks of DeepLab v2, on VGG-16 and on ResNets."""

from collections.abc import Sequence

from atrous.arithmetic import Window
from atrous.backbones.resnet import ResNet
from atrous.backbones.vgg import vgg16_layers
from atrous.gridding.smoothing import smooth_
from atrous.layers.aspp import ASPP_L, SummedASPP, fc_layers, score_layers
from atrous.layers.spec import LayerSpec, SpecStack
from atrous.segmentation.base import EncoderDecoder

# The rows of the field-of-view table: kernel, rate and width of fc6.
# Source: Chen et al., arXiv:1606.00915, Table 1; width 1024: section 4.1.1.
FIELDS_OF_VIEW = {
    "7x7": {"kernel": 7, "rates": (4,), "width": 4096},
    "4x4_r4": {"kernel": 4, "rates": (4,), "width": 4096},
    "4x4_r8": {"kernel": 4, "rates": (8,), "width": 4096},
    "largefov": {"kernel": 3, "rates": (12,), "width": 1024},
}

OUTPUT_STRIDE = 8  # of the VGG-16 below


def vgg16_os8_layers() -> tuple[LayerSpec, ...]:
    """Plan of DeepLab's VGG-16, conv1_1 to pool5, at output stride 8.

    All five poolings are 3x3, padded by 1, and round sizes up; the last two
    stay, at stride 1, and conv5 takes dilation 2. A side of 8 m + 1 pixels
    gives m + 1 outputs, output i centred on pixel 8 i.

    Source:
        The deploy file of the original, in a port.
        Departs: without that file's average pooling before fc6.
    """
    strides = (2, 2, 2, 1, 1)
    return vgg16_layers(
        pools=[Window(3, stride, padding=1) for stride in strides],
        dilations=(1, 1, 1, 1, 2),
        ceil_mode=True,
    )


def deeplabv2_vgg16(
    *,
    num_classes: int = 21,
    rates: Sequence[int] = ASPP_L,
    kernel: int = 3,
    width: int = 1024,
    align_corners: bool = False,
) -> EncoderDecoder:
    """DeepLab v2 on VGG-16, one branch of fc6, fc7 and fc8 a rate.

    Args:
        num_classes: Classes C, at least 1.
        rates: Rates of fc6; a single one gives a row of Table 1.
        kernel: Kernel of fc6.
        width: Channels of fc6 and fc7.
        align_corners: Whether the upsampling aligns corners.

    Raises:
        ValueError: If a number is below 1 or there is no rate.

    Source:
        Chen et al., arXiv:1606.00915, Table 1 and section 4.1.2.
    """
    backbone = SpecStack(vgg16_os8_layers(), 3)
    branches = [
        fc_layers(num_classes, rate=rate, kernel=kernel, width=width)
        for rate in rates
    ]
    return EncoderDecoder(
        backbone,
        SummedASPP(branches, 512),
        num_classes=num_classes,
        output_stride=OUTPUT_STRIDE,
        align_corners=align_corners,
    )


def deeplabv2_resnet(
    depth: int = 101,
    *,
    num_classes: int = 21,
    rates: Sequence[int] = ASPP_L,
    output_stride: int = 8,
    variant: str = "caffe",
    align_corners: bool = False,
) -> EncoderDecoder:
    """DeepLab v2 on a ResNet, one 3x3 convolution to the scores a rate.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_classes: Classes C, at least 1.
        rates: Rates of the branches.
        output_stride: 4, 8, 16 or 32; rates are in cells of that stride.
        variant: Of the backbone, as in `atrous.backbones.resnet.ResNet`.
        align_corners: Whether the upsampling aligns corners.

    Raises:
        ValueError: If a value is out of range; see `ResNet`.

    Source:
        Chen et al., arXiv:1606.00915, section 4.1.2; kazuto1011's port.
    """
    backbone = ResNet(depth, output_stride=output_stride, variant=variant)
    branches = [score_layers(num_classes, rate=rate) for rate in rates]
    return EncoderDecoder(
        backbone,
        SummedASPP(branches, backbone.channels),
        num_classes=num_classes,
        output_stride=output_stride,
        align_corners=align_corners,
    )


def smoothed_deeplabv2_resnet(
    *, smoothing: str = "gi", **options
) -> EncoderDecoder:
    """DeepLab v2 on a ResNet whose dilated convolutions are smoothed.

    Those of the backbone, not those of ASPP.

    Args:
        smoothing: As in `atrous.gridding.smoothing.smooth_`.
        options: What `deeplabv2_resnet` takes.

    Raises:
        ValueError: If a value is out of range or a word unknown.

    Source:
        Wang & Ji, KDD 2018 ("gi" and "ssc"); Ziegler et al.,
        arXiv:1903.07992 (the others).
    """
    network = deeplabv2_resnet(**options)
    smooth_(network.backbone, smoothing=smoothing)
    return network
