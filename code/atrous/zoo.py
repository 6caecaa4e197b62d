"""Every network of the book by its name: `build("dilation8_voc")`.

`SEGMENTERS` label every pixel, `EDGE_DETECTORS` find edges, and
`CLASSIFIERS` name the picture: the DRNs as they were trained on ImageNet, and
networks of large kernels. These three are the `PICTURES`. `SEQUENCES` map
(B, C, T), and `VOLUMES` (B, C, D, H, W).
"""

import difflib
from collections.abc import Callable
from functools import partial

from torch import nn

from atrous.backbones import drn, resnet, xception
from atrous.edges.detectors import BDCN, HED, EdgeDetector
from atrous.large_kernels import unireplknet, van
from atrous.layers import aspp
from atrous.segmentation import (
    c3net,
    deeplabv2,
    deeplabv3,
    deeplabv3plus,
    dilationnet,
    drn_seg,
    espnet,
    fcn,
    hdc_duc,
    liteseg,
    refinenet,
    tkcn,
)
from atrous.segmentation.base import Segmenter
from atrous.sequences.separator import Separator
from atrous.sequences.tcn import TCN
from atrous.sequences.wavenet import WaveNet
from atrous.volumes.highres3dnet import HighRes3DNet

SEGMENTERS: dict[str, Callable[..., Segmenter]] = {
    "dilation_front_end": dilationnet.FrontEnd,
    **{
        name: partial(dilationnet.DilationNet, **options)
        for name, options in dilationnet.RELEASED.items()
    },
    **{
        f"deeplabv2_vgg16_{name}": partial(
            deeplabv2.deeplabv2_vgg16, **options
        )
        for name, options in deeplabv2.FIELDS_OF_VIEW.items()
    },
    "deeplabv2_vgg16_aspp_s": partial(
        deeplabv2.deeplabv2_vgg16, rates=aspp.ASPP_S
    ),
    "deeplabv2_vgg16_aspp_l": partial(
        deeplabv2.deeplabv2_vgg16, rates=aspp.ASPP_L
    ),
    "deeplabv2_resnet101": deeplabv2.deeplabv2_resnet,
    "smoothed_deeplabv2_resnet101": deeplabv2.smoothed_deeplabv2_resnet,
    **{
        f"deeplabv3_resnet{depth}": partial(deeplabv3.deeplabv3, depth)
        for depth in resnet.UNITS
    },
    **{
        f"deeplabv3_cascade_resnet{depth}": partial(
            deeplabv3.deeplabv3_cascade, depth
        )
        for depth in resnet.UNITS
    },
    **{
        f"deeplabv3plus_resnet{depth}": partial(
            deeplabv3plus.deeplabv3plus_resnet, depth
        )
        for depth in resnet.UNITS
    },
    **{
        f"deeplabv3plus_xception{depth}": partial(
            deeplabv3plus.deeplabv3plus_xception, depth
        )
        for depth in xception.BLOCKS
    },
    **{
        f"{name}_seg": partial(drn_seg.DRNSeg, name)
        for name in drn.ARCHITECTURES
    },
    **{
        f"refinenet_{form}resnet{depth}": partial(
            refinenet.refinenet_resnet, depth, light=light
        )
        for form, light in (("", False), ("lw_", True))
        for depth in (50, 101, 152)
    },
    "refinenet_lw_mobilenetv2": refinenet.refinenet_mobilenetv2,
    **{
        f"fcn{stride}s_vgg16": partial(fcn.FCN, prediction_stride=stride)
        for stride in fcn.SKIPS
    },
    "liteseg_mobilenetv2": liteseg.liteseg_mobilenetv2,
    "espnet_c": espnet.ESPNetC,
    "espnet": espnet.ESPNet,
    "c3net": c3net.c3net,
    "tkcn_resnet101": tkcn.tkcn,
    "hdc_duc_resnet101": hdc_duc.hdc_duc_resnet,
}
EDGE_DETECTORS: dict[str, Callable[..., EdgeDetector]] = {
    "hed": HED,
    "bdcn": BDCN,
}
CLASSIFIERS: dict[str, Callable[..., nn.Module]] = {
    **{name: partial(drn.DRNClassifier, name) for name in drn.ARCHITECTURES},
    **{
        name: partial(van.VAN, **options)
        for name, options in van.ARCHITECTURES.items()
    },
    **{
        name: partial(unireplknet.UniRepLKNet, **options)
        for name, options in unireplknet.ARCHITECTURES.items()
    },
}
PICTURES = {**SEGMENTERS, **EDGE_DETECTORS, **CLASSIFIERS}
SEQUENCES: dict[str, Callable[..., nn.Module]] = {
    "tcn": TCN,
    "wavenet": WaveNet,
    "conv_tasnet_separator": Separator,
}
VOLUMES: dict[str, Callable[..., nn.Module]] = {"highres3dnet": HighRes3DNet}
NETWORKS = {**PICTURES, **SEQUENCES, **VOLUMES}


def build(name: str, **options) -> nn.Module:
    """Build a network with fresh weights.

    A name of a DRN, "drn_c_26", is its classifier; "drn_c_26_seg" segments.

    Args:
        name: One of `names()`.
        options: What the network's class or function takes, such as
            `num_classes`; each has the published value as its default.

    Raises:
        ValueError: If the name is unknown; the known ones are listed by what
            they do.
        TypeError: If the network does not take an option; names it.
    """
    if name not in NETWORKS:
        close = difflib.get_close_matches(name, NETWORKS, n=1)
        hint = f"; did you mean {close[0]!r}" if close else ""
        raise ValueError(
            f"name={name!r}: no network has it{hint}. Segmentation: "
            f"{sorted(SEGMENTERS)}. Edges: {sorted(EDGE_DETECTORS)}. "
            f"Classification: {sorted(CLASSIFIERS)}. "
            f"Sequences: {sorted(SEQUENCES)}. Volumes: {sorted(VOLUMES)}."
        )
    return NETWORKS[name](**options)


def names() -> list[str]:
    """Names of all networks, sorted."""
    return sorted(NETWORKS)
