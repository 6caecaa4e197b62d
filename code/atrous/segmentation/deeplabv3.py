"""The networks of DeepLab v3: blocks in cascade, and ASPP in parallel."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from atrous.arithmetic import Window, check_positive
from atrous.backbones.resnet import UNITS, ResNet, choose
from atrous.layers.aspp import ASPP, aspp_rates, branch_layers
from atrous.layers.init import fresh_weights_
from atrous.layers.spec import LayerSpec, SpecStack
from atrous.segmentation.base import EncoderDecoder

# What a variant brings with it: whether a 3x3 convolution follows ASPP, the
# dropout at the end of ASPP, the momentum of batch normalisation, Multi-Grid
# and the variant of the backbone. The paper's decay of 0.9997 is what
# torch calls a momentum of 0.0003. Sources: Chen et al., arXiv:1706.05587,
# sections 3.3 and 4.1 and Table 5; torchvision's deeplabv3.py.
VARIANTS = {
    "paper": {
        "extra": False,
        "dropout": 0.0,
        "bn_momentum": 0.0003,
        "multi_grid": (1, 2, 4),
        "backbone_variant": "caffe",
    },
    "torchvision": {
        "extra": True,
        "dropout": 0.5,
        "bn_momentum": 0.1,
        "multi_grid": (1, 1, 1),
        "backbone_variant": "torchvision",
    },
}
# The best of Table 3 with block7.
CASCADE_GRID = (1, 2, 1)


def head_layers(
    num_classes: int, *, width: int = 256, extra: bool = False
) -> tuple[LayerSpec, ...]:
    """Plan of what follows ASPP: a 3x3 convolution if `extra`, the scores.

    Raises:
        ValueError: If `num_classes` is below 1.

    Source:
        Chen et al., arXiv:1706.05587, section 3.3; the 3x3: torchvision.
    """
    check_positive(num_classes=num_classes)
    score = LayerSpec("score", Window(1), num_classes, relu=False)
    if not extra:
        return (score,)
    return (LayerSpec("extra", Window(3, padding=1), width, norm=True), score)


def deeplabv3(
    depth: int,
    *,
    num_classes: int = 21,
    output_stride: int = 16,
    multi_grid: Sequence[int] | None = None,
    rates: Sequence[int] | None = None,
    variant: str = "paper",
    backbone_variant: str | None = None,
    first_unit: str | None = None,
    image_pooling: bool = True,
    width: int = 256,
    dropout: float | None = None,
    bn_momentum: float | None = None,
    align_corners: bool = False,
) -> EncoderDecoder:
    """DeepLab v3 with ASPP: (B, 3, H, W) to logits (B, C, H, W).

    `variant` says whose network it is and so sets what is None of
    `multi_grid`, `backbone_variant`, `dropout` and `bn_momentum`; see
    `VARIANTS`. torchvision's own has variant="torchvision" and
    output_stride=8.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_classes: Classes C, at least 1.
        output_stride: 4, 8, 16 or 32.
        multi_grid: As in `atrous.backbones.resnet.resnet_plan`, as many
            rates as the last stage has units: 2 in ResNet-18, which by
            default takes the first two, otherwise 3.
        rates: Rates of the 3x3 branches, any number; if None, those of
            `atrous.layers.aspp.aspp_rates`. A rate of 1 is a 1x1, as the
            branch is that always comes first.
        variant: "paper" or "torchvision".
        backbone_variant: `variant` of `atrous.backbones.resnet.ResNet`. With
            "torchvision" the first unit of block4 keeps the rate of block3,
            which is exact for those weights: 1, 4, 8 and not 2, 4, 8 at
            output stride 16.
            "caffe" rounds the stem's pooling up: sides of 16 n + 1 are best.
        first_unit: As in `atrous.backbones.resnet.resnet_plan`; if None, as
            the variant of the backbone has it.
        image_pooling: Whether the whole picture is one of the branches.
        width: Channels of each branch.
        dropout: Probability of the dropout at the end of ASPP.
        bn_momentum: Share of the new batch in the running statistics.
        align_corners: Whether the upsampling aligns corners.

    Raises:
        ValueError: If a value is out of range or a word unknown.

    Source:
        Chen et al., arXiv:1706.05587, section 3.3, Figure 5; logits start
        from N(0, 0.01^2) as in the authors' model.py.
        Departs: convolutions start from He's normal by fan-out, and no
        weights trained on ImageNet come with it.
    """
    chosen = choose(
        VARIANTS,
        variant,
        backbone_variant=backbone_variant,
        multi_grid=multi_grid,
        dropout=dropout,
        bn_momentum=bn_momentum,
    )
    if multi_grid is None:
        multi_grid = _default(chosen["multi_grid"], depth)
    features = ResNet(
        depth,
        output_stride=output_stride,
        multi_grid=multi_grid,
        variant=chosen["backbone_variant"],
        first_unit=first_unit,
    )
    if rates is None:
        rates = aspp_rates(output_stride)
    aspp = ASPP(
        [branch_layers(rate=rate, width=width) for rate in (1, *rates)],
        features.channels,
        image_pooling=image_pooling,
        dropout=chosen["dropout"],
    )
    plan = head_layers(num_classes, width=width, extra=chosen["extra"])
    modules = OrderedDict(aspp=aspp, classifier=SpecStack(plan, width))
    network = EncoderDecoder(
        features,
        nn.Sequential(modules),
        num_classes=num_classes,
        output_stride=output_stride,
        align_corners=align_corners,
    )
    return fresh_weights_(network, chosen["bn_momentum"])


def deeplabv3_cascade(
    depth: int,
    *,
    num_classes: int = 21,
    block: int = 7,
    output_stride: int = 16,
    multi_grid: Sequence[int] | None = None,
    backbone_variant: str = "caffe",
    first_unit: str | None = None,
    bn_momentum: float = VARIANTS["paper"]["bn_momentum"],
    align_corners: bool = False,
) -> EncoderDecoder:
    """DeepLab v3 in cascade: (B, 3, H, W) to logits (B, C, H, W).

    Blocks 5, 6 and 7 are replicas of block4. Each would halve the map; from
    the output stride on, each doubles the rates instead. The weights are
    the same ones at every output stride.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_classes: Classes C, at least 1.
        block: Number of the last block, 4 to 7 in the paper.
        output_stride: 4, 8, 16, ... up to 32 x 2^(block - 4): 256 of block7.
        multi_grid: As in `deeplabv3`, for each block from block4 on; 1, 2, 1
            by default.
        backbone_variant: As in `deeplabv3`.
        first_unit: As in `deeplabv3`.
        bn_momentum: As in `deeplabv3`.
        align_corners: As in `deeplabv3`.

    Raises:
        ValueError: If a value is out of range or a word unknown.

    Source:
        Chen et al., arXiv:1706.05587, section 3.2, Figure 3, Tables 1 to 3.
        Departs: as `deeplabv3`; and a stage's stride sits in its first unit.
    """
    if multi_grid is None:
        multi_grid = _default(CASCADE_GRID, depth)
    features = ResNet(
        depth,
        output_stride=output_stride,
        multi_grid=multi_grid,
        variant=backbone_variant,
        first_unit=first_unit,
        block=block,
    )
    head = SpecStack(head_layers(num_classes), features.channels)
    network = EncoderDecoder(
        features,
        head,
        num_classes=num_classes,
        output_stride=output_stride,
        align_corners=align_corners,
    )
    return fresh_weights_(network, bn_momentum)


def _default(grid: Sequence[int], depth: int) -> Sequence[int] | None:
    return grid[: UNITS[depth][-1]] if depth in UNITS else None
