"""Weights that others have released: where they are and what they scored.

Addresses are those that their authors print. Nobody has tried them for this
book, and nothing here is read unless a reader asks for a file.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TORCHVISION = "https://download.pytorch.org/models/"
DRN = "http://dl.yf.io/drn/"
DILATION = "http://dl.yf.io/dilation/models/"
FCN = "http://dl.caffe.berkeleyvision.org/"
KAZUTO = "https://github.com/kazuto1011/deeplab-pytorch/releases/download/"
HASHED = re.compile(r"-([0-9a-f]{8})\.pth$")


@dataclass(frozen=True)
class Released:
    """A released file.

    Attributes:
        network: As `atrous.zoo.build` takes it.
        address: Where its authors say it is.
        score: What they measured with it; "" if nothing is printed.
        licence: "" if none is stated with it.
        options: What else `build` takes.
        readable: Whether `atrous.convert.checkpoints` reads its format.
        size: Bytes; None if they are not known before it is asked for.
    """

    network: str
    address: str
    score: str = ""
    licence: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    readable: bool = True
    size: int | None = None

    @property
    def file(self) -> str:
        """The file's name."""
        return self.address.rpartition("/")[2]

    @property
    def digest(self) -> str:
        """First digits of its SHA-256, if its name has them, or ""."""
        found = HASHED.search(self.file)
        return found[1] if found else ""


COCO = "mean IoU on COCO val in the classes of VOC"
IMAGENET = "top-1 error on ImageNet val"


def _drn(name: str, digest: str, error: str) -> Released:
    address = f"{DRN}{name}-{digest}.pth"
    return Released(name, address, f"{error} {IMAGENET}", "BSD-3-Clause")


def _dilation(network: str, file: str) -> Released:
    address = f"{DILATION}{file}.caffemodel"
    return Released(network, address, licence="MIT", readable=False)


RELEASED: dict[str, Released] = {
    "deeplabv3_resnet50_coco": Released(
        "deeplabv3_resnet50",
        f"{TORCHVISION}deeplabv3_resnet50_coco-cd0a2569.pth",
        f"66.4 {COCO}",
        "BSD-3-Clause",
        {"variant": "torchvision"},
    ),
    "deeplabv3_resnet101_coco": Released(
        "deeplabv3_resnet101",
        f"{TORCHVISION}deeplabv3_resnet101_coco-586e9e4e.pth",
        f"67.4 {COCO}",
        "BSD-3-Clause",
        {"variant": "torchvision"},
    ),
    "deeplabv2_resnet101_voc": Released(
        "deeplabv2_resnet101",
        f"{KAZUTO}v1.0/deeplabv2_resnet101_msc-vocaug-20000.pth",
        "76.65 mean IoU on VOC val",
        "MIT",
    ),
    **{
        name: _dilation(name, file)
        for name, file in (
            ("dilation8_voc", "dilation8_pascal_voc"),
            ("dilation8_camvid", "dilation8_camvid"),
            ("dilation7_kitti", "dilation7_kitti"),
            ("dilation10_cityscapes", "dilation10_cityscapes"),
        )
    },
    **{
        name: _drn(name, digest, error)
        for name, digest, error in (
            ("drn_c_26", "ddedf421", "24.9"),
            ("drn_c_42", "9d336e8c", "22.9"),
            ("drn_c_58", "0a53a92c", "21.7"),
            ("drn_d_22", "4bd2f8ea", "25.8"),
            ("drn_d_38", "eebb45f0", "23.8"),
            ("drn_d_54", "0e0534ff", "21.2"),
            ("drn_d_105", "12b40979", "20.6"),
        )
    },
    **{
        f"fcn{stride}s_voc": Released(
            f"fcn{stride}s_vgg16",
            f"{FCN}fcn{stride}s-heavy-pascal.caffemodel",
            f"{score} mean IoU on VOC, seg11valid",
            readable=False,
        )
        for stride, score in ((32, "63.6"), (16, "65.0"), (8, "65.5"))
    },
    "hed_bsds500": Released(
        "hed",
        "https://vcl.ucsd.edu/hed/hed_pretrained_bsds.caffemodel",
        ".790 ODS on BSDS500 test",
        readable=False,
    ),
    "deeplabv3_voc_tensorflow": Released(
        "deeplabv3plus_xception65",
        "http://download.tensorflow.org/models/"
        "deeplabv3_pascal_train_aug_2018_01_04.tar.gz",
        "82.20 mean IoU on VOC val",
        readable=False,
    ),
}


def released(name: str) -> Released:
    """The released file of a name.

    Raises:
        ValueError: If there is none; names one like it, and all.
    """
    if name not in RELEASED:
        close = difflib.get_close_matches(name, RELEASED, n=1)
        hint = f"; did you mean {close[0]!r}" if close else ""
        raise ValueError(
            f"name={name!r}: no released file has it{hint}. There are "
            f"{[*RELEASED]}"
        )
    return RELEASED[name]
