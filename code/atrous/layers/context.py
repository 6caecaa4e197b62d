"""The context module of Yu & Koltun, its plan and its two initialisations."""

import torch
from torch import Generator, Tensor, nn

from atrous.arithmetic import Window, check_positive, same_padding
from atrous.layers.spec import LayerSpec, SpecStack

FORMS = ("basic", "large")
PADDINGS = ("same", "first", "none")
INITS = ("identity", "random")


def context_layers(
    num_classes: int,
    *,
    levels: int = 8,
    form: str = "basic",
    padding: str = "same",
) -> tuple[LayerSpec, ...]:
    """Plan of a context module: 3x3 layers of growing dilation, then a 1x1.

    Dilations are 1, 1, 2, 4, ..., 2^(levels - 4), 1 and 1. ReLU follows
    every layer but the last.

    Args:
        num_classes: Score maps C that go in and come out.
        levels: Layers in all: 8 in the paper; 7 (KITTI), 8 (PASCAL VOC,
            CamVid) and 10 (Cityscapes) in the released networks.
        form: "basic" keeps C channels; "large" widens to 2C, 2C, 4C, 8C,
            ... and returns to C in the last layer.
        padding: "same" pads each layer by its dilation; "first" pads the
            first layer by the sum of all dilations, which keeps the size as
            well and differs near borders; "none" pads nothing, so the size
            shrinks by twice that sum.

    Raises:
        ValueError: If a number is too small or a word unknown.

    Source:
        Yu & Koltun, arXiv:1511.07122, Table 1. Levels and paddings: the
        deploy files of fyu/dilation, where "large" (VOC) pads the first
        layer and the three others pad each.
        Departs: the paper gives "large" for 8 levels; other depths continue
        its doubling.
    """
    check_positive(num_classes=num_classes)
    if levels < 5:
        raise ValueError(f"levels={levels}: must be at least 5")
    for name, value, known in (
        ("form", form, FORMS),
        ("padding", padding, PADDINGS),
    ):
        if value not in known:
            raise ValueError(f"{name}={value!r}: must be one of {known}")
    doubling = [2**i for i in range(levels - 3)]  # 1, 2, 4, 8, ...
    dilations = [1, *doubling, 1]
    widths = [num_classes] * (levels - 1)
    if form == "large":
        widths = [2 * num_classes * m for m in [1, *doubling, doubling[-1]]]
    pads = {
        "same": [same_padding(3, dilation) for dilation in dilations],
        "first": [sum(dilations)] + [0] * (levels - 2),
        "none": [0] * (levels - 1),
    }[padding]
    layers = [
        LayerSpec(
            f"layer{i}", Window(3, dilation=dilation, padding=pad), channels
        )
        for i, (dilation, pad, channels) in enumerate(
            zip(dilations, pads, widths, strict=True), 1
        )
    ]
    last = LayerSpec(f"layer{levels}", Window(1), num_classes, relu=False)
    return (*layers, last)


class ContextModule(nn.Module):
    """Aggregates context over score maps: (B, C, H, W) to (B, C, H', W').

    H' = H and W' = W unless `padding="none"`.

    Args:
        num_classes: Score maps C.
        levels: As in `context_layers`.
        form: As in `context_layers`.
        padding: As in `context_layers`.
        init: "identity" is the paper's (see `identity_init_`); "random" is
            Xavier's with zero biases, for comparison.
        noise: Standard deviation of the identity's off-class weights, as a
            share of the centre taps (see `identity_init_`).
        generator: Source of the random numbers; torch's own if None.

    Raises:
        ValueError: As `context_layers`, and if `init` is unknown.

    Source:
        Yu & Koltun, arXiv:1511.07122, section 3.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        levels: int = 8,
        form: str = "basic",
        padding: str = "same",
        init: str = "identity",
        noise: float = 0.01,
        generator: Generator | None = None,
    ):
        super().__init__()
        if init not in INITS:
            raise ValueError(f"init={init!r}: must be one of {INITS}")
        plan = context_layers(
            num_classes, levels=levels, form=form, padding=padding
        )
        self.form, self.padding = form, padding
        self.layers = SpecStack(plan, num_classes)
        if init == "identity":
            identity_init_(self, noise=noise, generator=generator)
        else:
            random_init_(self, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Refined scores, (B, C, H', W')."""
        return self.layers(x)


@torch.no_grad()
def identity_init_(
    module: nn.Module,
    *,
    noise: float = 0.01,
    generator: Generator | None = None,
) -> None:
    """Initialise a stack of convolutions to pass its classes through.

    From c_in to c_out channels: C / c_out at the centre tap between
    channels of the same class, N(0, (noise C / c_out)^2) elsewhere; channel
    a of c belongs to class floor(a C / c). Basic, where all widths are C,
    has exact zeros elsewhere, so each layer is the identity. Biases are 0.
    With `noise=0` the module computes max(x, 0), not x: the first
    truncation drops negative scores.

    Args:
        module: A stack of convolutions with biases, in place.
        noise: Standard deviation of the other weights as a share of
            C / c_out, which the paper asks to be much below 1.
        generator: Source of the random numbers; torch's own if None.

    Raises:
        ValueError: If `noise` is negative.

    Source:
        Yu & Koltun, arXiv:1511.07122, equation 4 for Basic and 5 for Large.
        The paper gives no share; fyu/dilation divides 0.01 by c_out / C, which
        is 1 in all layers that it builds, and has noise in Basic, too.
    """
    if noise < 0:
        raise ValueError(f"noise={noise}: must not be negative")
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    classes = convolutions[-1].out_channels
    for convolution in convolutions:
        weight = convolution.weight  # (c_out, c_in, k, k)
        c_out, c_in, k, _ = weight.shape
        weight.zero_()
        if not c_in == c_out == classes:
            std = noise * classes / c_out
            weight.normal_(0, std, generator=generator)
        of_output, of_input = (
            torch.arange(c, device=weight.device) * classes // c
            for c in (c_out, c_in)
        )
        same_class = of_output[:, None] == of_input
        centre = weight[:, :, k // 2, k // 2]
        centre.masked_fill_(same_class, classes / c_out)
        convolution.bias.zero_()


@torch.no_grad()
def random_init_(
    module: nn.Module, *, generator: Generator | None = None
) -> None:
    """Initialise with Xavier's uniform weights and zero biases.

    Source:
        Glorot & Bengio, AISTATS 2010, equation 16.
    """
    for convolution in module.modules():
        if isinstance(convolution, nn.Conv2d):
            nn.init.xavier_uniform_(convolution.weight, generator=generator)
            convolution.bias.zero_()
