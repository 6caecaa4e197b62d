"""The networks of DeepLabV3+: atrous separable context, and a decoder."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from atrous.arithmetic import Window
from atrous.backbones.resnet import UNITS, ResNet, choose
from atrous.backbones.xception import Xception
from atrous.layers.aspp import ASPP, aspp_rates, branch_layers
from atrous.layers.decoder import LowLevelDecoder, fuse_layers
from atrous.layers.init import fresh_weights_
from atrous.layers.spec import LayerSpec, SpecStack, separable_layers
from atrous.segmentation.base import EncoderDecoder

# What a variant brings with it. `rates`: of the ASPP; None follows the output
# stride. `norm`: normalisation and ReLU inside separable convolutions.
# `extra`: a separable 3x3 after the ASPP. `fusions`: 3x3 convolutions of the
# decoder. `first_unit`, `backbone_variant`, `multi_grid`: of a ResNet.
# Sources: Chen et al., arXiv:1802.02611, sections 3 and 4, and the authors'
# model.py; segmentation_models_pytorch.
VARIANTS = {
    "paper": {
        "rates": None,
        "norm": True,
        "extra": False,
        "fusions": 2,
        "dropout": 0.1,
        "bn_momentum": 0.0003,
        "backbone_variant": "caffe",
        "first_unit": None,
        "multi_grid": (1, 2, 4),
    },
    "smp": {
        "rates": (12, 24, 36),
        "norm": False,
        "extra": True,
        "fusions": 1,
        "dropout": 0.5,
        "bn_momentum": 0.1,
        "backbone_variant": "torchvision",
        "first_unit": "full",
        "multi_grid": (1, 1, 1),
    },
}
LOW_LEVEL_WIDTH = 48  # Source: arXiv:1802.02611, Table 1.
LOW_LEVEL_STRIDE = 4


def separable_branch(
    channels: int, *, rate: int = 1, width: int = 256, norm: bool = True
) -> tuple[LayerSpec, ...]:
    """Plan of one branch of the ASPP: 1x1 at rate 1, separable 3x3 above.

    Args:
        channels: Input channels.
        rate: Dilation of the 3x3.
        width: Output channels.
        norm: As in `atrous.layers.spec.separable_layers`.

    Raises:
        ValueError: If `rate` or `width` is below 1.

    Source:
        Chen et al., arXiv:1802.02611, section 3.1, "Atrous separable
        convolution".
    """
    dense = branch_layers(rate=rate, width=width)
    if rate == 1:
        return dense
    return separable_layers(dense[0].window, channels, width, norm=norm)


def deeplabv3plus_resnet(
    depth: int,
    *,
    output_stride: int = 16,
    variant: str = "paper",
    multi_grid: Sequence[int] | None = None,
    backbone_variant: str | None = None,
    first_unit: str | None = None,
    **options,
) -> EncoderDecoder:
    """DeepLabV3+ on a ResNet: (B, 3, H, W) to logits (B, C, H, W).

    Args:
        depth: 18, 34, 50, 101 or 152, as in
            `atrous.backbones.resnet.ResNet`, and so are `output_stride`,
            `multi_grid` and `first_unit`.
        output_stride: 4, 8, 16 or 32.
        variant: Whose network it is: "paper", the authors', or "smp", that of
            the library segmentation_models_pytorch, equal tensor by tensor.
            It sets what is None here and in `attach_decoder`; see `VARIANTS`.
        multi_grid: Of stage 4.
        backbone_variant: "torchvision" or "caffe", as `variant` of `ResNet`.
        first_unit: "previous" or "full".
        options: What else `attach_decoder` takes, such as `num_classes`.

    Raises:
        ValueError: If a value is out of range or a word unknown.

    Source:
        Chen et al., arXiv:1802.02611, section 4.2.
    """
    chosen = choose(
        VARIANTS,
        variant,
        backbone_variant=backbone_variant,
        first_unit=first_unit,
    )
    if multi_grid is None and depth in UNITS:
        multi_grid = chosen["multi_grid"][: UNITS[depth][-1]]
    backbone = ResNet(
        depth,
        output_stride=output_stride,
        multi_grid=multi_grid,
        variant=chosen["backbone_variant"],
        first_unit=chosen["first_unit"],
    )
    low = backbone.plan[0][-1].widths[-1]
    return attach_decoder(
        backbone, ("layer4", "layer1"), low, variant=variant, **options
    )


def deeplabv3plus_xception(
    depth: int = 65,
    *,
    output_stride: int = 16,
    variant: str = "paper",
    multi_grid: Sequence[int] = (1, 1, 1),
    **options,
) -> EncoderDecoder:
    """DeepLabV3+ on Xception: (B, 3, H, W) to logits (B, C, H, W).

    Args:
        depth: 41, 65 or 71, as in `atrous.backbones.xception.Xception`, and
            so are `output_stride` and `multi_grid`.
        output_stride: 16 or 8 in the paper.
        variant: As in `deeplabv3plus_resnet`.
        multi_grid: Of the last three convolutions.
        options: What else `attach_decoder` takes, such as `num_classes`.

    Raises:
        ValueError: If a value is out of range or a word unknown.

    Source:
        Chen et al., arXiv:1802.02611, sections 3 and 4.3; the authors'
        model.py.
    """
    backbone = Xception(
        depth, output_stride=output_stride, multi_grid=multi_grid
    )
    last = f"unit{len(backbone.units)}"
    return attach_decoder(
        backbone, (last, "low"), 256, variant=variant, **options
    )


def attach_decoder(
    backbone: nn.Module,
    levels: tuple[str, str],
    low_level: int,
    *,
    num_classes: int = 21,
    separable: bool = True,
    decoder: bool = True,
    variant: str = "paper",
    rates: Sequence[int] | None = None,
    image_pooling: bool = True,
    width: int = 256,
    dropout: float | None = None,
    bn_momentum: float | None = None,
    align_corners: bool = True,
) -> EncoderDecoder:
    """Put the ASPP and the decoder of DeepLabV3+ on a backbone.

    Args:
        backbone: Has `features(x)`, `channels` and `output_stride`.
        levels: Names of its last map and of its low-level map.
        low_level: Channels of the latter.
        num_classes: Classes C, at least 1.
        separable: Whether the 3x3 convolutions of ASPP and decoder are
            separable; all of them are dense otherwise. Departs: the library
            keeps those of its decoder separable either way.
        decoder: Whether there is one; without it the scores are those of
            the ASPP at the output stride, as in DeepLab v3.
        variant: "paper" or "smp"; sets what is None of the next ones.
        rates: Rates of the 3x3 branches; if None, those of the variant: of
            `atrous.layers.aspp.aspp_rates` in "paper", 12, 24 and 36 in "smp".
        image_pooling: Whether the whole picture is one of the branches.
        width: Channels of each branch and of the decoder.
        dropout: Probability of the dropout at the end of the ASPP.
        bn_momentum: Share of the new batch in the running statistics.
        align_corners: Whether both upsamplings align corners, as those of
            the authors and of the library do.

    Raises:
        ValueError: If a value is out of range or a word unknown.

    Source:
        Chen et al., arXiv:1802.02611, section 3.1 and Figure 2.
        Departs: convolutions start from He's normal by fan-out. The authors
        concatenate the pooled branch first.
    """
    chosen = choose(
        VARIANTS,
        variant,
        rates=rates,
        dropout=dropout,
        bn_momentum=bn_momentum,
    )
    rates = chosen["rates"]
    if rates is None:
        rates = aspp_rates(backbone.output_stride)
    norm, channels = chosen["norm"], backbone.channels
    branches = [
        separable_branch(channels, rate=rate, width=width, norm=norm)
        if separable
        else branch_layers(rate=rate, width=width)
        for rate in (1, *rates)
    ]
    context = OrderedDict(
        aspp=ASPP(
            branches,
            channels,
            image_pooling=image_pooling,
            dropout=chosen["dropout"],
        )
    )
    if chosen["extra"]:
        window = Window(3, padding=1)
        plan = (LayerSpec("conv", window, width, norm=True),)
        if separable:
            plan = separable_layers(window, width, width, norm=norm)
        context["extra"] = SpecStack(plan, width)
    fused = width + LOW_LEVEL_WIDTH if decoder else width
    plan = fuse_layers(
        fused,
        num_classes,
        width=width,
        convolutions=chosen["fusions"] if decoder else 0,
        separable=separable,
        norm=norm,
    )
    fuse = SpecStack(plan, fused)
    if decoder:
        reduce = SpecStack(branch_layers(width=LOW_LEVEL_WIDTH), low_level)
        module = LowLevelDecoder(
            nn.Sequential(context), reduce, fuse, align_corners=align_corners
        )
    else:
        levels = levels[:1]
        module = nn.Sequential(OrderedDict(**context, fuse=fuse))
    network = EncoderDecoder(
        backbone,
        module,
        num_classes=num_classes,
        output_stride=min(LOW_LEVEL_STRIDE, backbone.output_stride)
        if decoder
        else backbone.output_stride,
        levels=levels,
        align_corners=align_corners,
    )
    return fresh_weights_(network, chosen["bn_momentum"])
