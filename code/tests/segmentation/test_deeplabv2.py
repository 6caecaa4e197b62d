"""DeepLab v2: the references, its tables, multi-scale input."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from references import assert_equal, count, meta, record, recorded
from torch import nn

from atrous import zoo
from atrous.arithmetic import fields, output_size
from atrous.experiments.parity import reference_fill_, reference_input
from atrous.layers.aspp import SummedASPP, fc_layers, score_layers
from atrous.layers.spec import SpecStack, windows
from atrous.segmentation.base import EncoderDecoder, MultiScale, Segmenter
from atrous.segmentation.deeplabv2 import (
    FIELDS_OF_VIEW,
    deeplabv2_resnet,
    deeplabv2_vgg16,
    vgg16_os8_layers,
)

NAMES = [name for name in zoo.names() if name.startswith("deeplabv2")]
PARAMETERS = {
    "deeplabv2_vgg16_7x7": 134_346_581,
    "deeplabv2_vgg16_4x4_r4": 65_140_565,
    "deeplabv2_vgg16_4x4_r8": 65_140_565,
    "deeplabv2_vgg16_largefov": 20_505_429,
    "deeplabv2_vgg16_aspp_s": 37_877_652,
    "deeplabv2_vgg16_aspp_l": 37_877_652,
    "deeplabv2_resnet101": 44_048_532,
}


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("deeplabv2_resnet101", "kazuto_deeplabv2_resnet101_L"),
        ("deeplabv2_vgg16_largefov", "deeplab_vgg16_largefov"),
        ("deeplabv2_vgg16_aspp_s", "deeplab_vgg16_aspp_s"),
        ("deeplabv2_vgg16_aspp_l", "deeplab_vgg16_aspp_l"),
    ],
)
@torch.no_grad()
def test_networks_are_the_references(name, reference):
    reference = record(reference)
    network = zoo.build(name).double().eval()
    reference_fill_(network)
    shapes = [
        list(tensor.shape)
        for key, tensor in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    ]
    assert shapes == [shape for _, _, shape in reference["state_dict"]]
    for _, x, expected in recorded(reference):
        assert_equal(network.logits(x), expected)


def test_every_network_has_its_published_count():
    assert sorted(PARAMETERS) == NAMES
    assert {name: count(meta(name)) for name in NAMES} == PARAMETERS


@pytest.mark.parametrize("name", FIELDS_OF_VIEW)
def test_table_1_of_deeplab_v2(name):
    """fc6's field of view is 8 (k - 1) r + 32 and its output keeps a size."""
    head = meta(f"deeplabv2_vgg16_{name}").head
    (branch,) = head
    window = branch.plan[0].window
    paper = {"7x7": 224, "4x4_r4": 128, "4x4_r8": 224, "largefov": 224}
    assert 8 * (window.kernel - 1) * window.dilation + 32 == paper[name]
    assert output_size(41, window) == 41


def test_vgg16_at_output_stride_8():
    stack = windows(vgg16_os8_layers())
    last = fields(stack)[-1]
    assert (last.jump, last.start) == (8, 0)
    with torch.device("meta"):
        backbone = SpecStack(vgg16_os8_layers(), 3)
        for side, cells in ((321, 41), (513, 65), (131, 18), (64, 9)):
            y = backbone(torch.empty(1, 3, side, side))
            assert y.shape == (1, 512, cells, cells)


@torch.no_grad()
def test_forward_is_the_scores_upsampled():
    network = deeplabv2_resnet(depth=18, num_classes=2).double().eval()
    reference_fill_(network)
    x = reference_input(1, 3, 57, 41)
    scores = network.logits(x)
    size = scores.shape[2:]
    for axis, side in ((2, 57), (3, 41)):
        cells = scores.shape[axis]
        place = (torch.arange(side).double() + 0.5) * cells / side - 0.5
        place = place.clamp(0, cells - 1)
        low = place.long()
        shape = (-1, 1) if axis == 2 else (-1,)
        scores = torch.lerp(
            scores.index_select(axis, low),
            scores.index_select(axis, (low + 1).clamp(max=cells - 1)),
            place.frac().view(shape),
        )
    assert network.logits(x).shape[2:] == size
    torch.testing.assert_close(network(x), scores)


# ---- the head


def test_branches_are_summed():
    x = torch.randn(2, 4, 15, 17, dtype=torch.float64)
    plans = [score_layers(3, rate=rate) for rate in (1, 2, 5)]
    head = SummedASPP(plans, 4).double()
    expected = torch.zeros(2, 3, 15, 17, dtype=torch.float64)
    for rate, branch in zip((1, 2, 5), head, strict=True):
        expected += F.conv2d(
            x, branch.score.weight, branch.score.bias, 1, rate, rate
        )
    torch.testing.assert_close(head(x), expected)


def test_scores_start_small_and_unbiased():
    head = SummedASPP([score_layers(21, rate=6)], 2048)
    assert head[0].score.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert head[0].score.bias.count_nonzero() == 0
    head = SummedASPP([fc_layers(21, rate=6)], 64)
    assert head[0].fc8.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert head[0].fc8.bias.count_nonzero() == 0
    assert head[0].fc6.bias.count_nonzero() > 0


def test_dropout_follows_fc6_and_fc7():
    branch = meta("deeplabv2_vgg16_aspp_l").head[0]
    names = [
        n
        for n, m in branch.named_children()
        if m.__class__.__name__ == "Dropout"
    ]
    assert names == ["fc6_drop", "fc7_drop"]
    assert all(branch.get_submodule(name).p == 0.5 for name in names)


# ---- multi-scale input


class Doubled(Segmenter):
    """A network whose logits are easy to foresee."""

    def __init__(self):
        super().__init__(num_classes=2, output_stride=4)

    def logits(self, x):
        return 2 * x[..., ::4, ::4]


def pixels(x, size, scale_y, scale_x):
    """Bilinear resizing in numpy, corners not aligned."""
    for axis, side, scale in ((2, size[0], scale_y), (3, size[1], scale_x)):
        n = x.shape[axis]
        place = np.clip((np.arange(side) + 0.5) / scale - 0.5, 0, n - 1)
        low = place.astype(int)
        high = np.minimum(low + 1, n - 1)
        part = (place - low).reshape((-1, 1) if axis == 2 else (-1,))
        x = x.take(low, axis) * (1 - part) + x.take(high, axis) * part
    return x


def test_multi_scale_is_the_maximum_over_scales():
    """Scales map pixels by the scale itself, not by the rounded size."""
    x = torch.randn(1, 2, 41, 50, dtype=torch.float64)
    network = MultiScale(Doubled())
    found = network.logits(x)
    assert found.shape == (1, 2, 11, 13)
    maps = []
    for scale in (1, 0.75, 0.5):
        size = int(41 * scale), int(50 * scale)
        small = 2 * pixels(x.numpy(), size, scale, scale)[..., ::4, ::4]
        scales = 11 / small.shape[2], 13 / small.shape[3]
        maps.append(pixels(small, (11, 13), *scales))
    expected = torch.from_numpy(np.max(maps, axis=0))
    torch.testing.assert_close(found, expected)
    for lone in maps:
        assert not np.allclose(found, lone)
    full = pixels(found.numpy(), (41, 50), 41 / 11, 50 / 13)
    torch.testing.assert_close(network(x), torch.from_numpy(full))


def test_multi_scale_fuses_in_training_too_and_shares_weights():
    inner = deeplabv2_resnet(depth=18, num_classes=2)
    network = MultiScale(inner)
    assert count(network) == count(inner)
    assert network.train().logits(torch.rand(2, 3, 64, 64)).ndim == 4
    network.eval()
    x = torch.rand(1, 3, 64, 64)
    network(x).sum().backward()
    assert inner.head[0].score.weight.grad.count_nonzero() > 0
    assert network.output_stride == inner.output_stride == 8
    assert MultiScale(inner, scales=(0.25, 0.5)).output_stride == 16
    single = MultiScale(inner, scales=(1,))
    torch.testing.assert_close(single(x), inner(x))


def test_the_order_of_scales_does_not_matter():
    network = deeplabv2_resnet(depth=18, num_classes=2).eval()
    x = torch.rand(1, 3, 64, 48)
    a = MultiScale(network, scales=(0.5, 1, 0.75))(x)
    b = MultiScale(network, scales=(1, 0.75, 0.5))(x)
    assert torch.equal(a, b)


# ---- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: deeplabv2_vgg16(num_classes=0), "num_classes=0"),
        (lambda: deeplabv2_vgg16(rates=()), r"branches=\[\]"),
        (lambda: deeplabv2_vgg16(rates=(6, 0)), "rate=0"),
        (lambda: deeplabv2_vgg16(kernel=4, rates=(3,)), "kernel=4"),
        (lambda: deeplabv2_vgg16(width=0), "width=0"),
        (lambda: deeplabv2_resnet(num_classes=0), "num_classes=0"),
        (lambda: deeplabv2_resnet(rates=(0,)), "rate=0"),
        (lambda: deeplabv2_resnet(output_stride=5), "output_stride=5"),
        (lambda: MultiScale(Doubled(), scales=()), r"scales=\(\)"),
        (lambda: MultiScale(Doubled(), scales=(1, 0)), r"scales=\(1, 0\)"),
        (lambda: zoo.build("deeplabv2"), "did you mean"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_any_backbone_and_head_will_do():
    network = EncoderDecoder(
        nn.AvgPool2d(4), nn.Conv2d(3, 2, 1), num_classes=2, output_stride=4
    )
    assert network(torch.rand(1, 3, 21, 22)).shape == (1, 2, 21, 22)
