"""ResNets: the references, the two conventions, output strides."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import (
    assert_equal,
    count,
    error,
    multiply_adds,
    record,
    recorded,
)
from torch import nn

from atrous.arithmetic import Window, fields
from atrous.backbones.resnet import (
    UNITS,
    VARIANTS,
    ResNet,
    ResNetClassifier,
    resnet_plan,
    resnet_windows,
)
from atrous.convert.dilate import dilate
from atrous.experiments.parity import reference_fill_
from atrous.layers.spec import LayerSpec, windows


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@torch.no_grad()
def test_torchvisions_resnet50(output_stride):
    reference = record(f"torchvision_resnet50_os{output_stride}")
    network = ResNetClassifier(50, output_stride=output_stride).double().eval()
    reference_fill_(network)
    names = [n for n in network.state_dict() if not n.endswith("tracked")]
    assert names == [name for _, name, _ in reference["state_dict"]]
    for layer, x, expected in recorded(reference):
        found = network.features(x) | {"logits": network(x)}
        assert_equal(found[layer], expected)


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [
        (18, 11_689_512),
        (34, 21_797_672),
        (50, 25_557_032),
        (101, 44_549_160),
        (152, 60_192_808),
    ],
)
def test_counts(depth, parameters):
    """Those that torchvision prints for its ImageNet weights."""
    with torch.device("meta"):
        assert count(ResNetClassifier(depth)) == parameters


def geometry(network):
    """(stride, dilation) of each 3x3 convolution, stage by stage."""
    return [
        [
            (m.stride[0], m.dilation[0])
            for m in network.get_submodule(f"layer{stage}").modules()
            if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)
        ]
        for stage in range(1, 5)
    ]


@pytest.mark.parametrize(
    ("options", "last_two"),
    [
        ({}, ([(1, 1)] + [(1, 2)] * 5, [(1, 2), (1, 4), (1, 4)])),
        ({"variant": "caffe"}, ([(1, 2)] * 6, [(1, 4)] * 3)),
        ({"first_unit": "full"}, ([(1, 2)] * 6, [(1, 4)] * 3)),
        (
            {"first_unit": "undilated"},
            ([(1, 1)] + [(1, 2)] * 5, [(1, 1), (1, 4), (1, 4)]),
        ),
        (
            {"variant": "caffe", "multi_grid": (1, 2, 4)},
            ([(1, 2)] * 6, [(1, 4), (1, 8), (1, 16)]),
        ),
        (
            {"multi_grid": (3, 2, 1)},
            ([(1, 1)] + [(1, 2)] * 5, [(1, 6), (1, 8), (1, 4)]),
        ),
    ],
)
def test_rates_at_output_stride_8(options, last_two):
    with torch.device("meta"):
        network = ResNet(50, output_stride=8, **options)
    found = geometry(network)
    spatial = 1 if options.get("variant") == "caffe" else 2
    assert found[0] == [(1, 1)] * 3
    assert found[1] == [(spatial, 1)] + [(1, 1)] * 3
    assert found[2:] == list(last_two)


@pytest.mark.parametrize(
    ("first_unit", "rates"),
    [
        ("previous", ([1, 2, 2, 2], [2, 4, 4, 4])),
        ("full", ([2, 2, 2, 2], [4, 4, 4, 4])),
        ("undilated", ([1, 1, 2, 2], [1, 1, 4, 4])),
    ],
)
def test_a_basic_unit_takes_the_old_rate_where_its_stride_was(
    first_unit, rates
):
    """Undilated it does so in both of its convolutions."""
    with torch.device("meta"):
        network = ResNet(18, output_stride=8, first_unit=first_unit)
    assert geometry(network)[2:] == [[(1, r) for r in row] for row in rates]


@pytest.mark.parametrize(
    ("first_unit", "rates"), [("full", [2, 2, 2]), ("previous", [1, 2, 2])]
)
def test_both_forms_of_dc5(first_unit, rates):
    """detectron2's fifth stage, and torchvision's, which is DETR's."""
    with torch.device("meta"):
        network = ResNet(50, output_stride=16, first_unit=first_unit)
    assert geometry(network)[3] == [(1, rate) for rate in rates]


@pytest.mark.parametrize(
    ("depth", "output_stride", "giga", "activations"),
    [
        (50, 32, 21.4, 116),
        (50, 16, 32.4, 133),
        (50, 8, 99.7, 263),
        (101, 32, 40.8, 170),
        (101, 16, 51.8, 186),
        (101, 8, 177.3, 477),
    ],
)
def test_what_an_output_stride_costs(depth, output_stride, giga, activations):
    """At 512 x 512: multiply-adds, and what is stored to train it.

    That is what convolutions and normalisations give, in millions.
    """
    with torch.device("meta"):
        network = ResNet(depth, output_stride=output_stride)
    stored = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_hook(
                lambda module, x, y: stored.append(y.numel())
            )
    found = multiply_adds(network, 512, 512) / 1e9
    assert found == pytest.approx(giga, abs=0.06)
    assert round(sum(stored) / 1e6) == activations


@pytest.mark.parametrize("depth", [18, 50])
def test_rates_unit_by_unit(depth):
    """They stand in place of the stage's, and leave strides as they are."""
    options = {"output_stride": 16, "multi_grid": (2,) * UNITS[depth][3]}
    given = {2: range(2, 2 + UNITS[depth][1]), 4: UNITS[depth][3] * [7]}
    with torch.device("meta"):
        plain = geometry(ResNet(depth, **options))
        found = geometry(ResNet(depth, unit_rates=given, **options))
    assert [found[0], found[2]] == [plain[0], plain[2]]
    each = 2 if depth == 18 else 1  # 3x3 convolutions a unit
    for stage, rates in given.items():
        strides = [stride for stride, _ in plain[stage - 1]]
        expected = [rate for rate in rates for _ in range(each)]
        assert found[stage - 1] == [*zip(strides, expected, strict=True)]


def test_another_stem():
    plan = (LayerSpec("conv", Window(5, 4, padding=2), 24, norm=True),)
    with torch.device("meta"):
        network = ResNet(18, stem=plan)
        maps = network.features(torch.empty(1, 3, 65, 97))
    assert maps["stem"].shape == (1, 24, 17, 25)
    assert not hasattr(network, "conv1")
    stack = resnet_windows(network.plan, stem=windows(plan))
    assert stack[0] == plan[0].window
    assert stack[1:] == resnet_windows(network.plan)[2:]
    assert fields(stack)[-1].jump == 32


@pytest.mark.parametrize(
    ("options", "reduce", "spatial", "ceil"),
    [
        ({}, 1, 2, False),
        ({"variant": "caffe"}, 2, 1, True),
        ({"stride_on": "1x1"}, 2, 1, False),
        ({"variant": "caffe", "stride_on": "3x3"}, 1, 2, True),
        ({"ceil_mode": True}, 1, 2, True),
        ({"variant": "caffe", "ceil_mode": False}, 2, 1, False),
    ],
)
def test_each_choice_can_be_set_on_its_own(options, reduce, spatial, ceil):
    with torch.device("meta"):
        network = ResNet(50, **options)
    unit = network.layer2[0]
    assert unit.conv1.stride == (reduce, reduce)
    assert unit.conv2.stride == (spatial, spatial)
    assert network.maxpool.ceil_mode == ceil


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("size", [(97, 131), (64, 80)])
@torch.no_grad()
def test_each_convention_is_exact_for_its_own_weights(depth, variant, size):
    """Dilated, a network gives on the coarse grid what it gave there."""
    if (depth, variant) == (18, "caffe"):
        options = {"variant": variant, "first_unit": "previous"}
    else:
        options = {"variant": variant}
    coarse, *dense = (
        ResNet(depth, output_stride=os, **options).double().eval()
        for os in (32, 16, 8, 4)
    )
    reference_fill_(coarse)
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    expected = coarse(x)
    for network in dense:
        network.load_state_dict(coarse.state_dict())
        step = 32 // network.output_stride
        assert error(network(x)[..., ::step, ::step], expected) < 1e-12


@torch.no_grad()
def test_the_other_convention_is_not_exact():
    coarse = ResNet(50).double().eval()
    dense = ResNet(50, output_stride=16, first_unit="full").double().eval()
    reference_fill_(coarse)
    dense.load_state_dict(coarse.state_dict())
    x = torch.randn(1, 3, 97, 97, dtype=torch.float64)
    assert error(dense(x)[..., ::2, ::2], coarse(x)) > 1e-3


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([*UNITS]),
    st.sampled_from([4, 8, 16, 32]),
    st.sampled_from(["3x3", "1x1"]),
    st.sampled_from(["previous", "full"]),
)
def test_plans_keep_the_field_and_reach_the_stride(depth, stride, on, first):
    plan = resnet_plan(
        depth, output_stride=stride, stride_on=on, first_unit=first
    )
    last = fields(resnet_windows(plan))[-1]
    assert last.jump == stride
    assert last.start == 0
    undilated = fields(resnet_windows(resnet_plan(depth, stride_on=on)))[-1]
    on_first = depth >= 50 and on == "1x1"
    exact = (first == "full") == on_first or stride == 32
    if exact:
        assert last.size == undilated.size


@pytest.mark.parametrize("depth", UNITS)
def test_replicas_go_on_where_stage_4_ends(depth):
    """They keep the field if their strides become dilations."""
    on_first = {"stride_on": "1x1", "first_unit": "full"}
    options = on_first if depth >= 50 else {}
    sizes = set()
    for stride in (8, 16, 32, 64, 128):
        plan = resnet_plan(depth, block=6, output_stride=stride, **options)
        assert len(plan) == 6
        last = fields(resnet_windows(plan))[-1]
        assert (last.jump, last.start) == (stride, 0)
        sizes.add(last.size)
        with torch.device("meta"):
            network = ResNet(depth, block=6, output_stride=stride)
            maps = network.features(torch.empty(1, 3, 97, 129))
        assert [*maps][-2:] == ["layer5", "layer6"]
        assert network.layer5[0].downsample is None or stride > 32
    assert len(sizes) == 1
    windows = [w for stage in plan[4:] for unit in stage for w in unit.windows]
    stage_4 = [w for unit in plan[3] for w in unit.windows]
    assert windows == 2 * stage_4


@torch.no_grad()
def test_surgery_makes_the_same_of_replicas():
    coarse = ResNet(18, block=6, output_stride=128).double().eval()
    reference_fill_(coarse)
    dense = ResNet(18, block=6, output_stride=16).double().eval()
    dense.load_state_dict(coarse.state_dict())
    x = torch.randn(1, 3, 130, 97, dtype=torch.float64)
    torch.testing.assert_close(dilate(coarse, 16)(x), dense(x))


def test_the_field_is_the_gradients():
    """Positive weights, so that nothing cancels; a mean for the maximum."""
    last = fields(resnet_windows(resnet_plan(18, output_stride=8)))[-1]
    assert last.size == 435
    network = ResNet(18, output_stride=8).double().eval()
    network.maxpool = nn.AvgPool2d(3, 2, 1)  # a maximum has one gradient
    for parameter in network.parameters():
        if parameter.ndim == 4:
            nn.init.constant_(parameter, 1 / parameter[0].numel())
    x = torch.ones(1, 3, 457, 457, dtype=torch.float64, requires_grad=True)
    y = network(x)[0, 0, 28, 28]
    seen = torch.autograd.grad(y, x)[0][0, 0].sum(1).nonzero().flatten()
    assert seen[0] == 8 * 28 - 217
    assert seen[-1] == 8 * 28 + 217


@pytest.mark.parametrize("depth", UNITS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_features_by_name_on_the_meta_device(depth, variant):
    for stride in (4, 8, 16, 32):
        with torch.device("meta"):
            network = ResNet(depth, output_stride=stride, variant=variant)
            maps = network.features(torch.empty(2, 3, 97, 129))
        assert list(maps) == ["stem", "layer1", "layer2", "layer3", "layer4"]
        assert maps["layer4"].shape[1] == network.channels
        strides = [4, 4, min(8, stride), min(16, stride), stride]
        for x, step in zip(maps.values(), strides, strict=True):
            assert x.shape[2] == -(-97 // step)
            assert x.shape[3] == -(-129 // step)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16]
)
def test_dtypes_and_gradients(dtype):
    network = ResNetClassifier(18, num_classes=5, output_stride=16).to(dtype)
    network.eval()(torch.rand(1, 3, 40, 48, dtype=dtype)).sum().backward()
    for parameter in network.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.dtype == dtype


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ResNet(20), r"depth=20.*\[18, 34, 50, 101, 152\]"),
        (lambda: ResNet(50, output_stride=6), r"=6.*\[4, 8, 16, 32\]"),
        (lambda: ResNet(50, output_stride=64), r"=64.*\[4, 8, 16, 32\]"),
        (lambda: ResNet(50, block=3), "block=3: must be at least 4"),
        (lambda: ResNet(50, variant="tf"), "variant='tf'.*torchvision"),
        (lambda: ResNet(50, stride_on="5x5"), "stride_on='5x5'"),
        (lambda: ResNet(50, first_unit="half"), "first_unit='half'"),
        (lambda: ResNet(50, ceil_mode="yes"), "ceil_mode='yes'"),
        (lambda: ResNet(18, multi_grid=(1, 2, 4)), "ResNet-18 needs 2"),
        (lambda: ResNet(50, multi_grid=(1, 0, 4)), r"multi_grid=\(1, 0, 4\)"),
        (lambda: ResNet(18, unit_rates={5: (1, 1)}), "stage 5 has 0 units"),
        (lambda: ResNet(18, unit_rates={0: (1, 1)}), "stage 0 has 0 units"),
        (
            lambda: ResNet(18, unit_rates={3: (1,)}),
            "rates=.*stage 3 has 2 units",
        ),
        (lambda: ResNet(18, unit_rates={3: (1, 0)}), r"rates=\{3: \(1, 0\)\}"),
        (lambda: ResNetClassifier(18, num_classes=0), "num_classes=0"),
        (lambda: resnet_plan(50, first_unit="x"), "first_unit='x'"),
        (lambda: resnet_plan(50, stride_on="x"), "stride_on='x'"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
