"""DeepLabV3+: the reference, the papers' counts, the decoder, Xception."""

import pytest
import torch
import torch.nn.functional as F
from references import (
    assert_equal,
    assert_same_state,
    count,
    meta,
    multiply_adds,
    record,
    recorded,
)
from torch import nn

from atrous import zoo
from atrous.experiments.parity import reference_fill_, reference_input
from atrous.layers.aspp import ASPP, branch_layers
from atrous.layers.spec import SpecStack, windows
from atrous.segmentation.deeplabv3plus import (
    VARIANTS,
    deeplabv3plus_resnet,
    separable_branch,
)

NAMES = [n for n in zoo.names() if n.startswith("deeplabv3plus")]


def spatial(module):
    return [
        m
        for m in module.modules()
        if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)
    ]


def rates(module):
    return [m.dilation[0] for m in spatial(module)]


# ---- the reference and the published counts


@pytest.mark.usefixtures("quiet")
@torch.no_grad()
def test_the_network_is_the_librarys():
    """segmentation_models_pytorch, by position and without reordering."""
    reference = record("smp_deeplabv3plus_resnet50_os16")
    network = (
        zoo.build("deeplabv3plus_resnet50", variant="smp").double().eval()
    )
    assert_same_state(network, reference)
    reference_fill_(network)
    for _, x, expected in recorded(reference):
        assert_equal(network(x), expected)
    geometry = [
        [m.kernel_size[0], m.stride[0], m.padding[0], m.dilation[0]]
        for m in network.modules()
        if isinstance(m, nn.Conv2d)
        and (m.kernel_size[0] > 1 or m.stride[0] > 1)
    ]
    stored = reference["spatial_convs_name_k_stride_pad_dilation"]
    assert geometry == [row[1:] for row in stored]


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("xception65", {}, 41_055_413),
        ("xception65", {"separable": False}, 54_711_461),
        ("xception65", {"output_stride": 8}, 41_055_413),
        ("resnet50", {"variant": "smp"}, 26_682_725),
        ("resnet101", {"variant": "smp"}, 45_674_853),
        ("resnet101", {}, 45_688_261),
        ("resnet101", {"separable": False}, 59_344_309),
    ],
)
def test_exact_counts(name, options, parameters):
    """ResNet-101's: backbone 42,500,160, and the parts counted below."""
    assert count(meta(f"deeplabv3plus_{name}", **options)) == parameters


@pytest.mark.parametrize(
    ("separable", "aspp", "decoder"),
    [(True, 3_019_776, 168_325), (False, 15_535_104, 1_309_045)],
)
def test_parts_counted(separable, aspp, decoder):
    network = meta("deeplabv3plus_xception65", separable=separable)
    assert count(network.backbone) == 37_867_312
    assert count(network.head.context.aspp) == count(network.head.context)
    assert count(network.head.context) == aspp
    assert count(network.head) - aspp == decoder


def test_multiply_adds_of_the_parts():
    """At 513 x 513 and output stride 16, in units of 10^9."""
    found = {}
    for separable in (True, False):
        for decoder in (True, False):
            network = meta(
                "deeplabv3plus_xception65",
                separable=separable,
                decoder=decoder,
            )
            network.backbone.forward = None  # features() alone is used
            found[separable, decoder] = multiply_adds(network, 513, 513) / 1e9
    backbone = meta("deeplabv3plus_xception65").backbone
    below = multiply_adds(backbone, 513, 513) / 1e9
    # Without a decoder the scores are made at the output stride.
    scores = 33**2 * 256 * 21 / 1e9
    for separable, aspp, decoder in (
        (True, 2.70, 2.76),
        (False, 16.34, 21.76),
    ):
        without = found[separable, False]
        assert without - scores - below == pytest.approx(aspp, abs=0.005)
        added = found[separable, True] - without + scores
        assert added == pytest.approx(decoder, abs=0.005)


def test_separable_branches_take_an_eighth_of_the_weights():
    def weights(plans):
        stacks = [SpecStack(plan, 2048) for plan in plans]
        return sum(
            m.weight.numel()
            for stack in stacks
            for m in stack.modules()
            if isinstance(m, nn.Conv2d)
        )

    with torch.device("meta"):
        dense = weights(branch_layers(rate=r) for r in (6, 12, 18))
        separable = weights(
            separable_branch(2048, rate=r) for r in (6, 12, 18)
        )
    assert dense / separable == pytest.approx(8.69, abs=0.005)


# ---- atrous separable convolution


@torch.no_grad()
def test_a_separable_branch_is_its_formula():
    for norm in (True, False):
        plan = separable_branch(6, rate=3, width=4, norm=norm)
        assert windows(plan) == windows(
            (*branch_layers(rate=3), *branch_layers())
        )
        branch = SpecStack(plan, 6).double().eval()
        reference_fill_(branch)
        x = torch.randn(2, 6, 9, 11, dtype=torch.float64)
        y = F.conv2d(x, branch.depthwise.weight, None, 1, 3, 3, groups=6)
        if norm:
            y = branch.depthwise_bn(y).relu()
        y = F.conv2d(y, branch.pointwise.weight)
        torch.testing.assert_close(branch(x), branch.pointwise_bn(y).relu())
        assert branch.depthwise.bias is branch.pointwise.bias is None


def test_the_branch_of_rate_1_is_a_1x1():
    for norm in (True, False):
        plan = separable_branch(6, width=4, norm=norm)
        assert plan == branch_layers(width=4)


def test_a_lost_tap_is_reported_of_a_separable_branch_too():
    head = ASPP([separable_branch(6, rate=7, width=4)], 6).eval()
    with pytest.warns(UserWarning, match="3x3 at rate 7 a 1x3"):
        head(torch.rand(1, 6, 6, 8))


# ---- rates and strides


@pytest.mark.parametrize(
    ("stride", "aspp"), [(8, [12, 24, 36]), (16, [6, 12, 18])]
)
def test_rates_follow_the_output_stride(stride, aspp):
    for name in ("deeplabv3plus_resnet18", "deeplabv3plus_xception41"):
        network = meta(name, output_stride=stride, variant="paper")
        assert rates(network.head.context.aspp) == aspp
        assert network.backbone.output_stride == stride
        library = meta(name, output_stride=stride, variant="smp")
        assert rates(library.head.context.aspp) == [12, 24, 36]
        given = meta(name, output_stride=stride, rates=(2, 5))
        assert rates(given.head.context.aspp) == [2, 5]


def test_resnets_of_both_heads():
    """The library dilates first units, too; the paper's has Multi-Grid."""
    for depth, twice in ((18, 2), (34, 2), (50, 1), (101, 1), (152, 1)):
        name = f"deeplabv3plus_resnet{depth}"
        library = meta(name, output_stride=8, variant="smp").backbone
        units = len(library.layer4)
        assert set(rates(library.layer3)) == {2}
        assert rates(library.layer4) == [4] * units * twice
        assert not library.maxpool.ceil_mode
        grid = [2 * r for r in (1, 2, 4)[:units] for _ in range(twice)]
        paper = meta(name, variant="paper").backbone
        assert rates(paper.layer4) == grid
        assert paper.maxpool.ceil_mode
    mixed = meta(name, variant="paper", backbone_variant="torchvision")
    assert rates(mixed.backbone.layer4) == [1, 4, 8]
    full = meta(
        name,
        variant="paper",
        backbone_variant="torchvision",
        first_unit="full",
    )
    assert rates(full.backbone.layer4) == [2, 4, 8]
    plain = meta(name, multi_grid=(3, 2, 1))
    assert rates(plain.backbone.layer4) == [6, 4, 2]


@pytest.mark.parametrize("size", [(65, 97), (64, 71)])
@pytest.mark.parametrize("name", ["resnet18", "xception41"])
@pytest.mark.usefixtures("quiet")
@torch.no_grad()
def test_features_are_exact_at_every_output_stride(name, size):
    """On the common cells; low-level features are the same in full."""
    options = {"num_classes": 2, "width": 8}
    if name == "resnet18":
        options |= {"variant": "smp", "first_unit": "previous"}
    name = f"deeplabv3plus_{name}"
    coarse = zoo.build(name, output_stride=32, **options).double().eval()
    reference_fill_(coarse)
    x = reference_input(1, 3, *size)
    expected = coarse.backbone.features(x)
    for stride in (16, 8):
        network = meta(name, output_stride=stride, **options)
        network.load_state_dict(coarse.state_dict(), assign=True)
        last, low = network.levels
        found = network.backbone.features(x)
        step = 32 // stride
        torch.testing.assert_close(
            found[last][..., ::step, ::step], expected[last]
        )
        torch.testing.assert_close(found[low], expected[low])
        assert found[low].shape[2:] == tuple(-(-side // 4) for side in size)


# ---- the decoder


@torch.no_grad()
def test_the_decoder_by_hand():
    """Corners aligned in both upsamplings, the context first."""
    for align in (True, False):
        network = deeplabv3plus_resnet(
            18,
            variant="smp",
            num_classes=3,
            width=8,
            rates=(1,),
            align_corners=align,
        )
        network = network.double().eval()
        reference_fill_(network)
        x = reference_input(1, 3, 70, 95)
        maps = network.backbone.features(x)
        low, high = maps["layer1"], maps["layer4"]
        assert low.shape[2:] == (18, 24)
        head = network.head
        context = F.interpolate(
            head.context.extra(head.context.aspp(high)),
            (18, 24),
            mode="bilinear",
            align_corners=align,
        )
        y = head.fuse(torch.cat([context, head.reduce(low)], 1))
        torch.testing.assert_close(network.logits(x), y)
        y = F.interpolate(y, (70, 95), mode="bilinear", align_corners=align)
        torch.testing.assert_close(network(x), y)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.usefixtures("quiet")
@torch.no_grad()
def test_without_its_decoder_the_network_is_the_aspp(variant):
    options = {"variant": variant, "num_classes": 3, "width": 8}
    network = deeplabv3plus_resnet(18, decoder=False, **options).eval()
    x = torch.rand(1, 3, 65, 65)
    scores = network.logits(x)
    assert scores.shape == (1, 3, 5, 5)
    context = network.head.aspp(network.backbone(x))
    if variant == "smp":
        context = network.head.extra(context)
    torch.testing.assert_close(scores, network.head.fuse.score(context))
    whole = deeplabv3plus_resnet(18, **options)
    convolutions = [n for n, _ in whole.head.fuse.named_children()]
    assert convolutions[-1] == "score"
    assert f"fuse{VARIANTS[variant]['fusions']}_pointwise" in convolutions
    added = [whole.head.reduce, *[*whole.head.fuse][:-1]]
    assert count(whole) - count(network) == sum(map(count, added)) > 0


def test_the_pooled_branch_can_be_left_out():
    for separable in (True, False):
        network = meta(
            "deeplabv3plus_resnet18", image_pooling=False, separable=separable
        )
        aspp = network.head.context.aspp
        assert aspp.pooled is None
        assert aspp.project.conv.in_channels == 4 * 256


# ---- what leaves no trace in outputs


def test_momentum_and_dropout_of_both_heads():
    for variant, momentum, dropout in (
        ("paper", 0.0003, 0.1),
        ("smp", 0.1, 0.5),
    ):
        network = meta("deeplabv3plus_resnet18", variant=variant)
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        assert {m.momentum for m in norms} == {momentum}
        drops = [m for m in network.modules() if isinstance(m, nn.Dropout)]
        assert [m.p for m in drops] == [dropout]
        other = meta(
            "deeplabv3plus_resnet18",
            variant=variant,
            dropout=0,
            bn_momentum=0.2,
        )
        assert other.head.fuse.fuse1_pointwise_bn.momentum == 0.2
        assert not any(isinstance(m, nn.Dropout) for m in other.modules())


def test_initial_weights():
    """Fan-out of a depthwise convolution is its own, not all channels'."""
    network = deeplabv3plus_resnet(18, num_classes=200)
    head = network.head
    for convolution, fan in (
        (head.context.aspp.branches[1].depthwise, 9),
        (head.context.aspp.branches[1].pointwise, 256),
        (head.fuse.fuse1_depthwise, 9),
    ):
        std = convolution.weight.std().item()
        assert std == pytest.approx((2 / fan) ** 0.5, rel=0.1)
    assert head.fuse.score.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert head.fuse.score.bias.count_nonzero() == 0


# ---- sizes, dtypes, gradients


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("resnet18", torch.float64),
        ("resnet18", torch.bfloat16),
        ("xception41", torch.float32),
    ],
)
@pytest.mark.usefixtures("quiet")
def test_dtypes_and_gradients(name, dtype):
    network = zoo.build(f"deeplabv3plus_{name}", num_classes=3, width=8)
    network = network.to(dtype)
    y = network(torch.rand(2, 3, 33, 40, dtype=dtype))
    assert y.dtype == dtype
    y.square().mean().backward()
    for parameter in network.parameters():
        assert parameter.grad.isfinite().all()


# ---- errors


def build(**options):
    return meta("deeplabv3plus_resnet50", **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build(num_classes=0), "num_classes=0"),
        (lambda: build(output_stride=64), r"=64.*\[4, 8, 16, 32\]"),
        (lambda: build(variant="tf"), "variant='tf'.*paper.*smp"),
        (lambda: build(backbone_variant="tf"), "variant='tf'"),
        (lambda: build(first_unit="half"), "first_unit='half'"),
        (lambda: build(multi_grid=(1, 2)), "ResNet-50 needs 3"),
        (lambda: build(rates=(6, 0)), "rate=0"),
        (lambda: build(width=0), "width=0"),
        (lambda: build(dropout=1.0), r"dropout=1\.0"),
        (lambda: build(bn_momentum=3), "bn_momentum=3"),
        (lambda: deeplabv3plus_resnet(20), "depth=20"),
        (lambda: separable_branch(4, rate=0), "rate=0"),
        (lambda: zoo.build("deeplabv3plus_xception66"), "did you mean"),
        (
            lambda: meta("deeplabv3plus_xception65", variant="tf"),
            "variant='tf'",
        ),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_every_head_sets_the_same_choices():
    assert len({frozenset(choices) for choices in VARIANTS.values()}) == 1


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("decoder", [True, False])
def test_what_is_not_separable_is_dense_throughout(variant, decoder):
    options = {"variant": variant, "decoder": decoder}
    for separable in (True, False):
        network = meta(
            "deeplabv3plus_resnet18", separable=separable, **options
        )
        groups = {m.groups > 1 for m in spatial(network.head)}
        assert groups == {separable}
