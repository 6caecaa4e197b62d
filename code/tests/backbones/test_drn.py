"""Dilated residual networks: the references, their table, their rules."""

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
from torch import nn

from atrous import zoo
from atrous.arithmetic import fields
from atrous.backbones.drn import (
    ARCHITECTURES,
    DRNClassifier,
    drn_backbone,
    drn_plan,
    drn_windows,
)
from atrous.backbones.resnet import resnet_plan, resnet_windows
from atrous.experiments.parity import (
    deviation,
    reference_fill_,
    reference_input,
)
from atrous.ops.upsampling import transposed_bilinear
from atrous.segmentation.drn_seg import DRNSeg

OWN = [name for name in ARCHITECTURES if not name.startswith("drn_a")]
PARAMETERS = {
    "drn_a_18": 11_689_512,
    "drn_a_34": 21_797_672,
    "drn_a_50": 25_557_032,
    "drn_b_26": 21_126_584,
    "drn_c_26": 21_126_584,
    "drn_c_42": 31_234_744,
    "drn_c_58": 41_591_608,
    "drn_d_22": 16_393_752,
    "drn_d_38": 26_501_912,
    "drn_d_54": 35_809_176,
    "drn_d_105": 54_801_304,
}

# ---- parity with the released networks


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("drn_a_50", {"first_unit": "undilated"}),
        ("drn_c_26", {}),
        ("drn_c_42", {}),
        ("drn_d_22", {}),
        ("drn_d_38", {}),
    ],
)
@torch.no_grad()
def test_classifiers_are_the_released_ones(name, options):
    reference = record(f"fyu_drn_{name}")
    network = zoo.build(name, **options).double().eval()
    assert_same_state(network, reference)
    reference_fill_(network)
    outputs = [*recorded(reference)]
    assert [layer for layer, _, _ in outputs] == ["logits"]
    for _, x, expected in outputs:
        assert_equal(network(x), expected)


@pytest.mark.parametrize("name", ["drn_c_26", "drn_d_22"])
@torch.no_grad()
def test_segmentation_networks_are_the_released_ones(name):
    """Their fixed bilinear kernel comes last and is no state of ours."""
    reference = record(f"fyu_drnseg_{name}")
    network = zoo.build(f"{name}_seg").double().eval()
    assert_same_state(network, reference)
    reference_fill_(network)
    outputs = [*recorded(reference)]
    assert len(outputs) == 4
    for layer, x, expected in outputs:
        found = network.logits(x)
        if layer == "logprob":
            found = transposed_bilinear(found).log_softmax(1)
        assert_equal(found, expected)


# ---- the family's rules, for variants without a record too


def test_every_variant_has_its_count():
    assert {name: count(meta(name)) for name in ARCHITECTURES} == PARAMETERS
    live = meta("drn_c_58", dead_projection=False)
    assert count(live) == 40_542_008 == 41_591_608 - 1_049_600
    for name in ARCHITECTURES:
        channels = meta(name).backbone.channels
        head = 1000 * (channels + 1) - 19 * (channels + 1)
        assert count(meta(f"{name}_seg")) == PARAMETERS[name] - head


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_name_counts_the_layers(name):
    """Convolutions on the longest path, and the classifier."""
    pooling = name.startswith("drn_a")
    depth = len(drn_windows(name)) - pooling + 1
    assert depth == int(name.split("_")[2])


@pytest.mark.parametrize("name", OWN)
def test_the_table_of_levels(name):
    """Each convolution of a level, on the network and not on its plan."""
    widths = (16, 32, 64, 128, 256, 512, 512, 512)
    strides = (1, 2, 2, 2, 1, 1, 1, 1)
    dilations = (1, 1, 1, 1, 2, 4, 2, 1)
    inner = {"22": (2, 2, 2, 2), "26": (2, 2, 2, 2), "105": (3, 4, 23, 3)}
    _, architecture, number = name.split("_")
    counts = (1, 1, *inner.get(number, (3, 4, 6, 3)), 1, 1)
    deep = number in ("54", "58", "105")
    backbone = meta(name).backbone
    (stem,) = spatial(backbone.stem)
    assert (stem.kernel_size, stem.stride) == ((7, 7), (1, 1))
    assert stem.out_channels == 16
    for i, (width, stride, dilation, units) in enumerate(
        zip(widths, strides, dilations, counts, strict=True), 1
    ):
        level = backbone.get_submodule(f"level{i}")
        per_unit = 2 - (deep if 3 <= i <= 6 else architecture == "d")
        found = spatial(level)
        assert len(level) == units
        assert len(found) == units * per_unit
        assert [c.stride[0] for c in found] == [stride] + [1] * (
            len(found) - 1
        )
        for convolution in found:
            assert convolution.kernel_size == (3, 3)
            assert convolution.dilation == (dilation, dilation)
            assert convolution.padding == (dilation, dilation)
            assert convolution.out_channels == width
            assert convolution.bias is None
        wide = 4 * width if deep and 3 <= i <= 6 else width
        norms = [m for m in level.modules() if isinstance(m, nn.BatchNorm2d)]
        assert norms[-1].num_features == wide


def spatial(module):
    return [
        m
        for m in module.modules()
        if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)
    ]


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ({}, [1, 2, 2, 2, 2, 4, 4, 4]),
        ({"first_unit": "full"}, [2, 2, 2, 2, 4, 4, 4, 4]),
        ({"first_unit": "previous"}, [1, 2, 2, 2, 2, 4, 4, 4]),
        ({"first_unit": "undilated"}, [1, 1, 2, 2, 1, 1, 4, 4]),
    ],
)
def test_forms_of_architecture_a(options, rates):
    backbone = meta("drn_a_18", **options).backbone
    found = [*spatial(backbone.layer3), *spatial(backbone.layer4)]
    assert [c.dilation[0] for c in found] == rates
    windows = drn_windows("drn_a_18", **options)
    assert [w.dilation for w in windows[-8:]] == rates
    assert all(w.dilation == 1 for w in windows[:-8])


@pytest.mark.parametrize("variant", ["drn_a_18", "drn_a_34", "drn_a_50"])
def test_architecture_a_keeps_the_field_of_its_resnet(variant):
    depth = int(variant.removeprefix("drn_a_"))
    ours = fields(drn_windows(variant))[-1]
    plain = fields(resnet_windows(resnet_plan(depth)))[-1]
    assert (ours.size, ours.jump) == (plain.size, 8)


@pytest.mark.parametrize("first_unit", [None, "full"])
@torch.no_grad()
def test_the_released_a_50_is_neither_of_the_other_forms(first_unit):
    network = zoo.build("drn_a_50", first_unit=first_unit).double().eval()
    reference_fill_(network)
    for _, x, expected in recorded(record("fyu_drn_drn_a_50")):
        assert deviation(network(x), expected) > 1e-3


def numbered(unit):
    """A unit off the meta device, all weights 0.1, its last norm at 0."""
    unit = unit.to_empty(device="cpu").double()
    for parameter in unit.parameters():
        nn.init.constant_(parameter, 0.1)
    norms = [m for m in unit.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
    last = unit.get_submodule(f"bn{unit.convolutions}")
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return unit


@pytest.mark.parametrize("name", OWN)
@torch.no_grad()
def test_residual_connections_are_where_they_should_be(name):
    """With its main path at 0 a unit gives its shortcut, or nothing."""
    backbone = meta(name).backbone
    added = {"b": range(1, 9), "c": range(1, 7), "d": range(3, 7)}[name[4]]
    for i in range(1, 9):
        for unit in backbone.get_submodule(f"level{i}"):
            channels = unit.conv1.in_channels
            unit = numbered(unit)
            x = torch.rand(1, channels, 4, 4, dtype=torch.float64)
            found = unit(x)
            if i not in added:
                assert found.count_nonzero() == 0
            elif unit.downsample is None:
                assert torch.equal(found, x)
            else:
                assert torch.equal(found, unit.downsample(x))


def test_the_dead_projection_stands_in_the_released_place():
    """After level 7's second batch norm; nothing else has one."""
    dead = [k for k in meta("drn_c_58").state_dict() if "tracked" not in k]
    live = meta("drn_c_58", dead_projection=False).state_dict()
    extra = [key for key in dead if key not in live]
    assert len(extra) == 5
    assert all("level7.0.downsample" in key for key in extra)
    place = dead.index(extra[0])
    assert dead[place - 1] == "backbone.level7.0.bn2.running_var"
    assert dead[place + 5] == "backbone.level8.0.conv1.weight"
    shape = meta("drn_c_58").state_dict()[extra[0]].shape
    assert shape == (512, 2048, 1, 1)
    assert [key for key in dead if key not in extra] == [
        key for key in live if "tracked" not in key
    ]


def test_the_dead_projection_does_nothing():
    network = DRNClassifier("drn_c_58", num_classes=3).double()
    live = DRNClassifier("drn_c_58", num_classes=3, dead_projection=False)
    loaded = live.double().load_state_dict(network.state_dict(), strict=False)
    assert not loaded.missing_keys
    x = torch.rand(2, 3, 33, 24, dtype=torch.float64)
    assert error(network(x), live(x)) < 1e-9  # in training
    network(x).sum().backward()
    projection = network.backbone.level7[0].downsample
    for name, parameter in network.named_parameters():
        dead = any(parameter is p for p in projection.parameters())
        assert (parameter.grad is None) == dead, name
    assert projection[1].num_batches_tracked == 0


# ---- classes and places


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_pictures_of_any_size_on_the_meta_device(name):
    classifier = meta(name, num_classes=5)
    bilinear = meta(f"{name}_seg", num_classes=7)
    transposed = meta(f"{name}_seg", num_classes=7, upsampling="transposed")
    for size in ((64, 96), (61, 83), (1, 9)):
        x = torch.empty(2, 3, *size, device="meta")
        cells = tuple(-(-side // 8) for side in size)
        assert classifier(x).shape == (2, 5)
        assert classifier.dense_logits(x).shape == (2, 5, *cells)
        for network in (bilinear, transposed):
            assert network(x).shape == (2, 7, *size)
            assert network.logits(x).shape == (2, 7, *cells)


def test_published_numbers_of_classes_are_the_defaults():
    x = torch.empty(1, 3, 8, 8, device="meta")
    assert meta("drn_d_22")(x).shape == (1, 1000)
    assert meta("drn_d_22_seg")(x).shape == (1, 19, 8, 8)


@pytest.mark.parametrize("name", ["drn_a_18", "drn_c_26", "drn_d_22"])
@torch.no_grad()
def test_a_picture_is_the_mean_of_its_places(name):
    network = DRNClassifier(name, num_classes=4).double().eval()
    reference_fill_(network)
    x = reference_input(2, 3, 57, 41)
    scores = network.dense_logits(x)
    assert scores.shape == (2, 4, 8, 6)
    torch.testing.assert_close(network(x), scores.mean((2, 3)))
    features = network.backbone(x)
    weight, bias = network.fc.weight.flatten(1), network.fc.bias
    place = features[:, :, 3, 5] @ weight.T + bias
    torch.testing.assert_close(scores[:, :, 3, 5], place)


@pytest.mark.parametrize("name", OWN)
def test_features_by_name(name):
    backbone = meta(name).backbone
    maps = backbone.features(torch.empty(1, 3, 97, 130, device="meta"))
    assert list(maps) == ["stem", *(f"level{i}" for i in range(1, 9))]
    steps = (1, 1, 2, 4, 8, 8, 8, 8, 8)
    for x, step in zip(maps.values(), steps, strict=True):
        assert x.shape[2:] == (-(-97 // step), -(-130 // step))


def test_the_last_feature_is_the_output():
    backbone = drn_backbone("drn_d_22").eval()
    x = torch.rand(1, 3, 24, 17)
    maps = backbone.features(x)
    assert torch.equal(backbone(x), maps["level8"])
    assert min(m.min() for m in maps.values()) >= 0
    names = list(meta("drn_a_18").backbone.features(x.to("meta")))
    assert names == ["stem", "layer1", "layer2", "layer3", "layer4"]


# ---- upsampling


@torch.no_grad()
def test_forward_is_the_scores_upsampled():
    networks = {
        upsampling: DRNSeg("drn_d_22", num_classes=3, upsampling=upsampling)
        for upsampling in ("bilinear", "transposed")
    }
    for network in networks.values():
        reference_fill_(network.double().eval())
    x = reference_input(1, 3, 61, 48)
    scores = networks["bilinear"].logits(x)
    expected = F.interpolate(
        scores, (61, 48), mode="bilinear", align_corners=False
    )
    assert error(networks["bilinear"](x), expected) < 1e-12
    expected = transposed_bilinear(scores)[..., :61, :48]
    assert error(networks["transposed"](x), expected) < 1e-12


@pytest.mark.parametrize("factor", [2, 4, 8, 16])
def test_transposed_is_bilinear_inside_and_fades_at_the_border(factor):
    x = torch.randn(2, 5, 6, 9, dtype=torch.float64)
    found = transposed_bilinear(x, factor)
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear")
    border = factor // 2
    inside = (..., slice(border, -border), slice(border, -border))
    assert error(found[inside], expected[inside]) < 1e-12
    ones = transposed_bilinear(torch.ones_like(x), factor)[0, 0]
    far = (torch.arange(border).double() + 0.5 + border) / factor
    torch.testing.assert_close(ones[:border, factor], far)
    torch.testing.assert_close(ones[-border:, factor], far.flip(0))
    torch.testing.assert_close(ones[factor, :border], far)
    assert ones[0, 0] == pytest.approx(far[0].item() ** 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_transposed_keeps_dtype_and_device(dtype):
    x = torch.rand(1, 2, 3, 4, dtype=dtype)
    assert transposed_bilinear(x).dtype == dtype
    assert transposed_bilinear(x.to("meta")).device.type == "meta"


# ---- receptive field, initial weights, gradients


def test_the_field_is_the_gradients():
    """Positive weights, so that nothing cancels."""
    last = fields(drn_windows("drn_c_26"))[-1]
    assert (last.size, last.jump, last.start) == (581, 8, 0)
    network = drn_backbone("drn_c_26").double().eval()
    for parameter in network.parameters():
        if parameter.ndim == 4:
            nn.init.constant_(parameter, 1 / parameter[0].numel())
    reach, centre = 290, 304
    x = torch.ones(
        1, 3, centre + reach + 9, 8, dtype=torch.float64, requires_grad=True
    )
    y = network(x)[0, 0, centre // 8, 0]
    seen = torch.autograd.grad(y, x)[0][0, 0].sum(1).nonzero().flatten()
    assert seen[0] == centre - reach
    assert seen[-1] == centre + reach


def test_fields_of_the_family():
    found = {name: fields(drn_windows(name))[-1] for name in ARCHITECTURES}
    assert {(f.jump, f.start) for f in found.values()} == {(8, 0)}
    assert found["drn_b_26"] == found["drn_c_26"]
    for one, other in (("c_26", "d_22"), ("c_42", "d_38"), ("c_58", "d_54")):
        # levels 1, 2, 7 and 8 have one convolution less in D
        difference = 2 * 1 + 2 * 2 + 2 * 2 * 8 + 2 * 1 * 8
        sizes = found[f"drn_{one}"].size, found[f"drn_{other}"].size
        assert sizes[0] - sizes[1] == difference


def test_convolutions_start_from_hes_normal_by_fan_out():
    network = DRNSeg("drn_d_22", num_classes=500)
    for convolution, fan in (
        (network.backbone.level3[0].conv1, 9 * 64),
        (network.backbone.level8[0].conv1, 9 * 512),
        (network.seg, 500),
    ):
        std = convolution.weight.std().item()
        assert std == pytest.approx((2 / fan) ** 0.5, rel=0.05)
    assert network.seg.bias.count_nonzero() == 0
    first = DRNClassifier("drn_a_18").backbone.layer4[0].conv1.weight
    assert first.std().item() == pytest.approx((2 / 4608) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16]
)
@pytest.mark.parametrize("name", ["drn_b_26_seg", "drn_d_22"])
def test_dtypes_and_gradients(name, dtype):
    network = zoo.build(name, num_classes=3).to(dtype)
    y = network(torch.rand(2, 3, 40, 41, dtype=dtype))
    assert y.dtype == dtype
    y.square().mean().backward()
    for parameter in network.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.dtype == dtype


# ---- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: drn_plan("drn_c_27"), r"'drn_c_27'.*drn_c_26"),
        (lambda: drn_windows("resnet"), "name='resnet'"),
        (lambda: drn_backbone("drn"), "name='drn'"),
        (lambda: meta("drn_c_26", first_unit="full"), "='full': drn_c_26"),
        (lambda: meta("drn_d_22_seg", first_unit="x"), "first_unit='x'"),
        (lambda: meta("drn_a_18", first_unit="half"), "first_unit='half'"),
        (
            lambda: meta(
                "drn_d_22_seg", upsampling="transposed", align_corners=True
            ),
            "align_corners=True: .* take 'bilinear'",
        ),
        (
            lambda: meta("drn_c_42", dead_projection=True),
            "dead_projection=True: drn_c_42",
        ),
        (lambda: meta("drn_a_50", dead_projection=False), "drn_a_50"),
        (lambda: meta("drn_c_26", num_classes=0), "num_classes=0"),
        (lambda: meta("drn_c_26_seg", num_classes=0), "num_classes=0"),
        (
            lambda: meta("drn_c_26_seg", upsampling="nearest"),
            "upsampling='nearest'.*transposed",
        ),
        (lambda: transposed_bilinear(torch.ones(1, 1, 2, 2), 3), "factor=3"),
        (lambda: transposed_bilinear(torch.ones(1, 1, 2, 2), 0), "factor=0"),
        (lambda: zoo.build("drn_c_62"), "did you mean"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
