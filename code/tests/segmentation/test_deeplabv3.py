"""DeepLab v3: the references, rates at every output stride, the cascade."""

import warnings
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from references import (
    assert_equal,
    assert_same_state,
    count,
    error,
    meta,
    record,
    recorded,
)
from torch import fx, nn

from atrous import zoo
from atrous.arithmetic import Window, valid_weights
from atrous.experiments.parity import reference_fill_, reference_input
from atrous.layers.aspp import ASPP, aspp_rates, branch_layers, lost_taps
from atrous.layers.spec import LayerSpec, SpecStack
from atrous.segmentation.deeplabv3 import (
    VARIANTS,
    deeplabv3,
    deeplabv3_cascade,
    head_layers,
)

PARALLEL = [n for n in zoo.names() if n.startswith("deeplabv3_resnet")]
CASCADES = [n for n in zoo.names() if n.startswith("deeplabv3_cascade")]
TORCHVISION = {"variant": "torchvision", "output_stride": 8}
UNITS = {"18": 2, "34": 3, "50": 3, "101": 3, "152": 3}


def spatial(module):
    return [
        m
        for m in module.modules()
        if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)
    ]


def rates(module):
    return [convolution.dilation[0] for convolution in spatial(module)]


def norms(network):
    return [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]


# ---- the references


@pytest.mark.parametrize(
    ("reference", "options"),
    [
        ("kazuto_deeplabv3_resnet50_os16_mg124", {}),
        ("torchvision_deeplabv3_resnet50", TORCHVISION),
    ],
)
@pytest.mark.usefixtures("quiet")
@torch.no_grad()
def test_networks_are_the_references(reference, options):
    """kazuto1011's does not upsample, torchvision's does."""
    reference = record(reference)
    network = zoo.build("deeplabv3_resnet50", **options).double().eval()
    assert_same_state(network, reference)
    reference_fill_(network)
    outputs = [*recorded(reference)]
    assert [x.shape[2:] for _, x, _ in outputs] == [
        (129, 129),
        (97, 131),
        (321, 353),  # the only maps larger than the rates
    ]
    for _, x, expected in outputs:
        found = network(x) if options else network.logits(x)
        assert_equal(found, expected)


@pytest.mark.parametrize("rate", [6, 12])
@torch.no_grad()
def test_aspp_is_torchvisions(rate):
    reference = record(f"torchvision_aspp_only_r{rate}")
    plans = [branch_layers(rate=r) for r in (1, rate, 2 * rate, 3 * rate)]
    head = ASPP(plans, 2048, dropout=0.5).double().eval()
    assert_same_state(head, reference)
    reference_fill_(head)
    for key, expected in reference["outputs"].items():
        shape = map(int, key.removeprefix("out_in").split("x"))
        x = reference_input(1, *shape)
        if min(x.shape[2:]) <= 3 * rate:
            with pytest.warns(UserWarning, match=f"at rate {3 * rate} a 1x3"):
                assert_equal(head(x), expected)
        else:
            assert_equal(head(x), expected)


def test_published_counts():
    for depth, paper, torchvision in (
        (50, 39_048_533, 39_638_869),
        (101, 58_040_661, 58_630_997),
    ):
        name = f"deeplabv3_resnet{depth}"
        assert count(meta(name)) == paper
        assert count(meta(name, output_stride=8)) == paper
        assert count(meta(name, variant="torchvision")) == torchvision


@pytest.mark.parametrize("depth", ["18", "34", "50", "101", "152"])
def test_a_replica_adds_the_same_at_every_output_stride(depth):
    name = f"deeplabv3_cascade_resnet{depth}"
    counts = [count(meta(name, block=block)) for block in (4, 5, 6, 7)]
    basic = 2 * (9 * 512 * 512 + 2 * 512)
    each = 13_387_776 if int(depth) >= 50 else UNITS[depth] * basic
    assert [b - a for a, b in pairwise(counts)] == [each] * 3
    for stride in (8, 32, 64, 128, 256):
        assert count(meta(name, output_stride=stride)) == counts[-1]


# ---- rates


@pytest.mark.parametrize(
    ("stride", "first_two", "last", "aspp"),
    [
        (8, [1] + [2] * 5, [2, 4, 4], (12, 24, 36)),
        (16, [1] * 6, [1, 2, 2], (6, 12, 18)),
        (32, [1] * 6, [1, 1, 1], (3, 6, 9)),
    ],
)
def test_rates_follow_the_output_stride(stride, first_two, last, aspp):
    network = meta(
        "deeplabv3_resnet50", variant="torchvision", output_stride=stride
    )
    assert rates(network.backbone.layer3) == first_two
    assert rates(network.backbone.layer4) == last
    assert tuple(rates(network.head.aspp)) == aspp == aspp_rates(stride)
    network = meta("deeplabv3_resnet50", output_stride=stride)
    full = 32 // stride
    assert rates(network.backbone.layer3) == [max(1, full // 2)] * 6
    assert rates(network.backbone.layer4) == [full, 2 * full, 4 * full]
    assert tuple(rates(network.head.aspp)) == aspp


def test_given_rates_stay():
    network = meta(
        "deeplabv3_resnet50", output_stride=8, rates=(6, 12, 18, 24)
    )
    assert rates(network.head.aspp) == [6, 12, 18, 24]
    assert network.head.aspp.project.conv.in_channels == 6 * 256
    single = meta("deeplabv3_resnet18", rates=(), width=32)
    assert rates(single.head) == []
    assert count(single.head.aspp) == 2 * (512 * 32 + 64) + 64 * 32 + 64


@pytest.mark.parametrize(
    ("stride", "strides", "block_rates"),
    [
        (8, [2, 1, 1, 1, 1, 1], [2, 4, 8, 16, 32]),
        (16, [2, 2, 1, 1, 1, 1], [1, 2, 4, 8, 16]),
        (32, [2, 2, 2, 1, 1, 1], [1, 1, 2, 4, 8]),
        (64, [2, 2, 2, 2, 1, 1], [1, 1, 1, 2, 4]),
        (128, [2, 2, 2, 2, 2, 1], [1, 1, 1, 1, 2]),
        (256, [2, 2, 2, 2, 2, 2], [1, 1, 1, 1, 1]),
    ],
)
def test_figure_3_of_deeplab_v3(stride, strides, block_rates):
    """Strides of blocks 2 to 7, rates of blocks 3 to 7, Multi-Grid or not."""
    for grid in ((1, 1, 1), (1, 2, 4)):
        network = meta(
            "deeplabv3_cascade_resnet50", output_stride=stride, multi_grid=grid
        )
        blocks = [
            network.backbone.get_submodule(f"layer{i}") for i in range(2, 8)
        ]
        assert [block[0].conv1.stride[0] for block in blocks] == strides
        for block in blocks:
            inner = {c.stride for u in [*block][1:] for c in spatial(u)}
            assert inner == {(1, 1)}
        assert rates(blocks[1]) == [block_rates[0]] * 6
        for block, rate in zip(blocks[2:], block_rates[1:], strict=True):
            assert rates(block) == [rate * factor for factor in grid]


@pytest.mark.parametrize("name", PARALLEL + CASCADES)
def test_multi_grid_by_default_and_never_on_1x1(name):
    grid = (1, 2, 1) if "cascade" in name else (1, 2, 4)
    depth = name.rpartition("resnet")[2]
    network = meta(name)
    twice = 2 if int(depth) < 50 else 1
    expected = [2 * factor for factor in grid[: UNITS[depth]]]
    found = rates(network.backbone.layer4)
    if twice == 1:
        assert found == expected
    else:
        assert found == [r for r in expected for _ in range(2)]
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            assert (module.dilation, module.padding) == ((1, 1), (0, 0))


def test_other_libraries_variants():
    """segmentation_models_pytorch dilates first units; VainF drops less."""
    smp = meta(
        "deeplabv3_resnet50",
        **TORCHVISION,
        first_unit="full",
        align_corners=True,
    )
    assert rates(smp.backbone.layer3) == [2] * 6
    assert rates(smp.backbone.layer4) == [4] * 3
    assert smp.backbone.layer2[0].conv2.stride == (2, 2)
    assert count(smp) == 39_638_869
    vainf = meta("deeplabv3_resnet101", **TORCHVISION, dropout=0.1)
    assert vainf.head.aspp.project.conv_drop.p == 0.1
    mixed = meta("deeplabv3_resnet50", backbone_variant="torchvision")
    assert rates(mixed.backbone.layer4) == [1, 4, 8]
    assert not mixed.backbone.maxpool.ceil_mode
    twice = meta("deeplabv3_resnet50", **TORCHVISION, multi_grid=(3, 2, 1))
    assert rates(twice.backbone.layer4) == [6, 8, 4]


@pytest.mark.parametrize(
    ("depth", "variant", "size"),
    [(18, "torchvision", (129, 90)), (50, "caffe", (97, 131))],
)
@torch.no_grad()
def test_a_cascade_is_exact_at_every_output_stride(depth, variant, size):
    """Table 1 compares one set of weights: the coarse grid is the same."""
    name = f"deeplabv3_cascade_resnet{depth}"
    options = {"backbone_variant": variant, "num_classes": 3}
    coarse = zoo.build(name, output_stride=256, **options).double().eval()
    reference_fill_(coarse)
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    expected = coarse.logits(x)
    assert expected.shape == (1, 3, 1, 1)
    for stride in (128, 64, 32, 16, 8):
        network = meta(name, output_stride=stride, **options)
        network.load_state_dict(coarse.state_dict(), assign=True)
        found = network.logits(x)
        assert found.shape[2:] == tuple(-(-side // stride) for side in size)
        step = 256 // stride
        torch.testing.assert_close(found[..., ::step, ::step], expected)


# ---- pooling of the whole picture, and rates beyond the map


def test_image_pooling_is_the_mean_laid_over_all_places():
    head = ASPP([branch_layers(width=4)], 6).double().eval()
    reference_fill_(head)
    seen = []
    head.project.register_forward_pre_hook(lambda _, args: seen.append(*args))
    x = torch.randn(2, 6, 5, 7, dtype=torch.float64)
    assert head(x).shape == (2, 4, 5, 7)
    means = x.mean((2, 3))[:, :, None, None].expand(-1, -1, 5, 7)
    torch.testing.assert_close(seen[0][:, :4], head.branches[0](x))
    torch.testing.assert_close(seen[0][:, 4:], head.pooled(means))
    bare = meta("deeplabv3_resnet18", image_pooling=False)
    assert bare.head.aspp.project.conv.in_channels == 4 * 256


def test_one_picture_cannot_train_the_pooled_branch():
    head = ASPP([branch_layers(width=4)], 6)
    x = torch.rand(1, 6, 5, 5)
    with pytest.raises(ValueError, match=r"batch size 1 in training.*pooling"):
        head(x)
    assert head(x.expand(2, -1, -1, -1)).shape == (2, 4, 5, 5)
    head.pooled.eval()  # frozen, the rest still trains
    assert head(x).shape == (1, 4, 5, 5)
    assert head.eval()(x).shape == (1, 4, 5, 5)
    bare = ASPP([branch_layers(width=4)], 6, image_pooling=False)
    assert bare(x).shape == (1, 4, 5, 5)


@torch.no_grad()
def test_a_rate_beyond_the_map_is_a_1x1():
    (layer,) = branch_layers(rate=17, width=4)
    branch = SpecStack((layer,), 6).double().eval()
    x = torch.randn(1, 6, 17, 17, dtype=torch.float64)
    centre = branch.conv.weight[..., 1:2, 1:2]
    torch.testing.assert_close(branch.conv(x), F.conv2d(x, centre))
    assert lost_taps([layer.window], (17, 17)).endswith("at rate 17 a 1x1")
    assert lost_taps([layer.window], (18, 18)) == ""


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_lost_taps_agree_with_valid_weights(kernel):
    for rate in range(1, 12):
        window = Window(kernel, 1, rate, rate * (kernel // 2))
        # An axis keeps a tap if any place reaches it.
        image = torch.ones(1, 1, 9, 9)
        weight = torch.ones(1, 1, kernel, kernel, requires_grad=True)
        F.conv2d(image, weight, None, 1, window.padding, rate).sum().backward()
        kept = int((weight.grad[0, 0, kernel // 2] > 0).sum())
        words = lost_taps([window], (9, 9))
        assert words.endswith(f"a {kept}x{kept}") == (kept < kernel)
        if kept == 1:
            assert valid_weights(9, window) == {1: 81}


def test_the_warning_says_what_became_of_the_filter_once_a_call_site():
    network = meta("deeplabv3_resnet18", output_stride=8)
    picture = torch.empty(1, 3, 129, 257, device="meta")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            network(picture)
        assert len(caught) == 1
        network(picture)
    assert len(caught) == 2
    assert [warning.filename for warning in caught] == [__file__] * 2
    text = str(caught[0].message)
    assert "feature map of 17x33" in text
    assert "3x3 at rate 24 a 1x3, 3x3 at rate 36 a 1x1" in text
    assert "rate 12" not in text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network(torch.empty(1, 3, 297, 297, device="meta"))
        with pytest.raises(UserWarning, match="36x37"):
            network(torch.empty(1, 3, 281, 289, device="meta"))


# ---- what leaves no trace in outputs


@pytest.mark.parametrize("name", ["deeplabv3_resnet18", CASCADES[0]])
def test_momentum_is_the_papers_in_torchs_convention(name):
    """It decays by 0.9997; torch weighs the new batch by 1 - 0.9997."""
    network = meta(name)
    assert {m.momentum for m in norms(network)} == {0.0003}
    assert len(norms(network)) == len(norms(network.backbone)) + (
        6 if "cascade" not in name else 0
    )
    assert {m.eps for m in norms(network)} == {1e-5}
    other = meta(name, bn_momentum=0.1)
    assert {m.momentum for m in norms(other)} == {0.1}
    if "cascade" not in name:
        theirs = meta(name, variant="torchvision")
        assert {m.momentum for m in norms(theirs)} == {0.1}


def test_dropout_is_torchvisions_only():
    def dropouts(network):
        return [
            (name, m.p)
            for name, m in network.named_modules()
            if isinstance(m, nn.Dropout)
        ]

    assert dropouts(meta("deeplabv3_resnet50")) == []
    assert dropouts(meta("deeplabv3_cascade_resnet50")) == []
    theirs = meta("deeplabv3_resnet50", variant="torchvision")
    assert dropouts(theirs) == [("head.aspp.project.conv_drop", 0.5)]
    head = ASPP([branch_layers(width=256)], 4, dropout=0.5)
    x = torch.rand(4, 4, 8, 8)
    # After the ReLU, so that half of what is positive goes.
    share = (head(x) == 0).float().mean()
    assert 0.7 < share < 0.8
    assert 0.45 < (head.eval()(x) == 0).float().mean() < 0.55


def test_initial_weights():
    network = deeplabv3(18, num_classes=300)
    assert network.head.classifier.score.weight.std().item() == pytest.approx(
        0.01, rel=0.03
    )
    assert network.head.classifier.score.bias.count_nonzero() == 0
    for convolution, fan in (
        (network.backbone.conv1, 49 * 64),
        (network.backbone.layer4[1].conv2, 9 * 512),
        (network.head.aspp.branches[1].conv, 9 * 256),
        (network.head.aspp.project.conv, 256),
    ):
        std = convolution.weight.std().item()
        assert std == pytest.approx((2 / fan) ** 0.5, rel=0.05)
    cascade = deeplabv3_cascade(18, num_classes=300)
    assert cascade.head.score.weight.std().item() == pytest.approx(
        0.01, rel=0.03
    )


def test_the_extra_layer_is_normalised_and_rectified():
    extra, score = head_layers(5, width=8, extra=True)
    assert extra == LayerSpec("extra", Window(3, padding=1), 8, norm=True)
    assert head_layers(5) == (score,)
    head = SpecStack((extra, score), 8)
    names = [name for name, _ in head.named_children()]
    assert names == ["extra", "extra_bn", "extra_relu", "score"]
    assert head.extra.bias is None
    assert head.score.bias is not None
    assert [*head.features(torch.rand(2, 8, 3, 3))] == ["extra", "score"]


# ---- sizes, dtypes, gradients, tracing


@pytest.mark.parametrize("name", PARALLEL + CASCADES)
@pytest.mark.usefixtures("quiet")
def test_pictures_of_any_size_on_the_meta_device(name):
    larger = (64, 128, 256) if "cascade" in name else (4,)
    for stride in (8, 16, 32, *larger):
        network = meta(name, num_classes=5, output_stride=stride)
        for size in ((97, 130), (64, 7)):
            picture = torch.empty(2, 3, *size, device="meta")
            # Caffe's pooling gives maps of even sides one cell more.
            stem = [(side + 1) // 2 // 2 + 1 for side in size]
            cells = [-(-side * 4 // stride) for side in stem]
            assert network.logits(picture).shape == (2, 5, *cells)
        assert network(picture).shape == (2, 5, 64, 7)


@torch.no_grad()
def test_forward_is_the_scores_upsampled():
    for align in (False, True):
        network = deeplabv3_cascade(
            18, block=5, num_classes=2, align_corners=align
        ).eval()
        x = torch.rand(1, 3, 65, 49)
        expected = F.interpolate(
            network.logits(x), (65, 49), mode="bilinear", align_corners=align
        )
        assert torch.equal(network(x), expected)
        corners = [y[..., -1, -1] for y in (network(x), network.logits(x))]
        assert error(*corners) < 1e-5


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16]
)
@pytest.mark.parametrize(
    ("build", "options"),
    [
        (deeplabv3, {}),
        (deeplabv3, TORCHVISION),
        (deeplabv3_cascade, {}),
        (deeplabv3_cascade, {"output_stride": 256}),
    ],
)
@pytest.mark.usefixtures("quiet")
def test_dtypes_and_gradients(build, options, dtype):
    """In training, of which image pooling asks two pictures."""
    network = build(18, num_classes=3, **options).to(dtype)
    side = 257 if options.get("output_stride") == 256 else 40
    y = network(torch.rand(2, 3, side, side, dtype=dtype))
    assert y.dtype == dtype
    y.square().mean().backward()
    for parameter in network.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.dtype == dtype


def test_aspp_can_be_traced():
    head = ASPP([branch_layers(rate=r, width=4) for r in (1, 2)], 6).eval()
    x = torch.rand(1, 6, 5, 7)
    assert error(fx.symbolic_trace(head)(x), head(x)) < 1e-5


# ---- errors


def cascade(**options):
    return meta("deeplabv3_cascade_resnet50", **options)


def parallel(**options):
    return meta("deeplabv3_resnet50", **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: parallel(num_classes=0), "num_classes=0"),
        (lambda: cascade(num_classes=0), "num_classes=0"),
        (lambda: parallel(output_stride=64), r"=64.*\[4, 8, 16, 32\]"),
        (lambda: cascade(output_stride=512), r"=512.*128, 256\]"),
        (lambda: cascade(block=5, output_stride=128), r"=128.*32, 64\]"),
        (lambda: cascade(block=3), "block=3"),
        (lambda: parallel(variant="tf"), "variant='tf'.*paper.*torchvision"),
        (lambda: parallel(backbone_variant="tf"), "variant='tf'"),
        (lambda: cascade(backbone_variant="tf"), "variant='tf'"),
        (lambda: parallel(first_unit="half"), "first_unit='half'"),
        (lambda: parallel(multi_grid=(1, 2)), "ResNet-50 needs 3"),
        (lambda: cascade(multi_grid=(1, 0, 1)), r"multi_grid=\(1, 0, 1\)"),
        (lambda: parallel(rates=(6, 0)), "rate=0"),
        (lambda: parallel(width=0), "width=0"),
        (lambda: parallel(dropout=1.0), r"dropout=1\.0"),
        (lambda: parallel(bn_momentum=3), "bn_momentum=3"),
        (lambda: cascade(bn_momentum=-1), "bn_momentum=-1"),
        (lambda: deeplabv3(20), "depth=20"),
        (lambda: deeplabv3_cascade(20), "depth=20"),
        (lambda: ASPP([], 4), r"branches=\[\]"),
        (lambda: aspp_rates(0), "output_stride=0"),
        (lambda: aspp_rates(64), "output_stride=64"),
        (lambda: zoo.build("deeplabv3_resnet52"), "did you mean"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_every_head_sets_the_same_choices():
    assert len({frozenset(choices) for choices in VARIANTS.values()}) == 1
