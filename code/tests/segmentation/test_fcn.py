"""FCN: geometry from the plan, upsampling fixed and learned, skips."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from references import count, meta
from torch import nn

from atrous.arithmetic import Field
from atrous.ops.upsampling import bilinear_kernel, transposed_bilinear
from atrous.segmentation import fcn
from atrous.segmentation.fcn import FCN, SKIPS, Upsampling

STRIDES = [*SKIPS]


@pytest.fixture
def narrow(monkeypatch):
    """The networks with a sixty-fourth of their channels."""
    plan = fcn.fcn_layers()
    thin = [
        layer
        if layer.width is None
        else layer._replace(width=layer.width // 64)
        for layer in plan
    ]
    monkeypatch.setattr(fcn, "fcn_layers", lambda: tuple(thin))
    widths = {name: width // 64 for name, width in fcn.WIDTHS.items()}
    monkeypatch.setattr(fcn, "WIDTHS", widths)


def random_scoring(network):
    for module in network.scoring.values():
        nn.init.normal_(module.weight)
        nn.init.normal_(module.bias)
    return network


# ---- geometry and counts


@pytest.mark.parametrize(
    ("stride", "offsets", "margin"),
    [
        (32, {}, 19),
        (16, {"pool4": 5}, 27),
        (8, {"pool4": 5, "pool3": 9}, 31),
    ],
)
def test_crops_of_the_deploy_files(stride, offsets, margin):
    network = meta(f"fcn{stride}s_vgg16")
    assert network.offsets == offsets
    assert network.margin == margin
    assert network.field.jump == stride


def test_counts():
    """VGG-16 with fc6 and fc7, and a 1x1 convolution a scored map."""
    vgg = 14_714_688 + 49 * 512 * 4096 + 4096 + 4096**2 + 4096
    total = vgg
    for stride, width in ((32, 4096), (16, 512), (8, 256)):
        total += 21 * (width + 1)
        assert count(meta(f"fcn{stride}s_vgg16")) == total
        learned = meta(f"fcn{stride}s_vgg16", learned=True)
        kernels = {32: (64,), 16: (4, 32), 8: (4, 4, 16)}[stride]
        added = sum(21**2 * k**2 for k in kernels)
        assert count(learned) == total + added


@settings(max_examples=12)
@given(st.integers(1, 99), st.integers(1, 99), st.sampled_from(STRIDES))
def test_pictures_of_any_size_on_the_meta_device(height, width, stride):
    network = meta(f"fcn{stride}s_vgg16", num_classes=2)
    picture = torch.empty(1, 3, height, width, device="meta")
    assert network(picture).shape == (1, 2, height, width)
    cells = network.coarse_logits(picture).shape[2:]
    for side, n in zip((height, width), cells, strict=True):
        last = network.field.start + (n - 1) * stride
        assert network.field.start < stride / 2
        assert last >= side - 1 - stride / 2


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.usefixtures("narrow")
def test_cells_are_centred_where_the_plan_says(stride):
    """The response to a linear ramp of scores is the ramp of the pixels."""
    network = FCN(num_classes=1, prediction_stride=stride)
    field, size = network.field, (70, 90)

    def ramp(x):
        rows, columns = (32 + side // stride for side in size)
        y = field.start + stride * torch.arange(rows, dtype=x.dtype)
        z = field.start + stride * torch.arange(columns, dtype=x.dtype)
        return (1000 * y[:, None] + z)[None, None]

    network.coarse_logits = ramp
    found = network(torch.zeros(1, 3, *size, dtype=torch.float64))[0, 0]
    y = torch.arange(size[0], dtype=torch.float64)
    z = torch.arange(size[1], dtype=torch.float64)
    expected = 1000 * y[:, None] + z
    inside = (slice(stride, None), slice(stride, None))
    torch.testing.assert_close(found[inside], expected[inside])


# ---- upsampling


@pytest.mark.parametrize("factor", [2, 8, 16])
@torch.no_grad()
def test_learned_upsampling_starts_bilinear(factor):
    learned = Upsampling(3, factor, learned=True).double()
    fixed = Upsampling(3, factor)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    y = learned(x)
    assert y.shape == (2, 3, factor * 5, factor * 6)
    torch.testing.assert_close(y, fixed(x))
    half = factor // 2
    inner = (..., slice(half, -half), slice(half, -half))
    torch.testing.assert_close(y[inner], transposed_bilinear(x, factor))
    assert count(fixed) == 0
    kernel = bilinear_kernel(factor, x)
    assert kernel.sum().item() == pytest.approx(factor**2)
    torch.testing.assert_close(learned.weight[1, 1], kernel)
    assert learned.weight[0, 1].count_nonzero() == 0


@pytest.mark.parametrize("factor", [2, 4])
@torch.no_grad()
def test_it_is_interpolation_inside_and_fades_at_the_border(factor):
    x = torch.rand(1, 1, 6, 7, dtype=torch.float64) + 1
    found = transposed_bilinear(x, factor)
    expected = F.interpolate(
        x, scale_factor=factor, mode="bilinear", align_corners=False
    )
    half = factor // 2
    inside = (..., slice(half, -half), slice(half, -half))
    torch.testing.assert_close(found[inside], expected[inside])
    outer = torch.ones_like(found, dtype=torch.bool)
    outer[inside] = False
    assert (found[outer] < expected[outer]).all()


@given(st.sampled_from([2, 4, 8]), st.integers(0, 7), st.integers(-9, 9))
@torch.no_grad()
def test_outputs_lie_where_the_field_says(factor, cell, start):
    """The centre of mass of an impulse's response is its own place."""
    x = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    x[0, 0, cell, 3] = 1
    up = Upsampling(1, factor)
    before = Field(5, 2 * factor, start)
    after = up.field(before)
    weights = up(x)[0, 0].sum(1)
    places = after.start + after.jump * torch.arange(len(weights))
    mean = (weights * places).sum() / weights.sum()
    assert mean.item() == pytest.approx(before.start + cell * before.jump)
    assert after.size == 5


# ---- skips


@pytest.mark.usefixtures("narrow")
@torch.no_grad()
def test_skips_by_hand():
    network = random_scoring(FCN(num_classes=3)).double().eval()
    x = torch.randn(1, 3, 45, 70, dtype=torch.float64)
    maps = network.backbone.features(x)
    y = network.scoring["fc7"](maps["fc7"])
    for name, offset in (("pool4", 5), ("pool3", 9)):
        y = transposed_bilinear(y, 2, padding=0)
        skip = network.scoring[name](maps[name])
        rows, columns = (slice(offset, offset + n) for n in y.shape[2:])
        y = y + skip[..., rows, columns]
    torch.testing.assert_close(network.coarse_logits(x), y)
    y = transposed_bilinear(y, 8, padding=0)
    torch.testing.assert_close(network(x), y[..., 31:76, 31:101])


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.usefixtures("narrow")
def test_gradients(learned):
    """With positive weights no ReLU is dead, and all have some."""
    network = random_scoring(FCN(num_classes=2, learned=learned)).eval()
    for parameter in network.parameters():
        parameter.data.abs_()
    y = network(torch.rand(1, 3, 40, 33))
    y.square().mean().backward()
    for parameter in network.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.count_nonzero() > 0
    assert len([*network.up.parameters()]) == 3 * learned


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@torch.no_grad()
def test_scores_start_at_zero_in_any_dtype(dtype):
    network = FCN(num_classes=2, prediction_stride=16).to(dtype).eval()
    y = network(torch.rand(1, 3, 40, 33, dtype=dtype))
    assert y.dtype == dtype
    assert y.count_nonzero() == 0


def test_dropout_follows_fc6_and_fc7():
    network = meta("fcn8s_vgg16")
    names = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Dropout) and module.p == 0.5
    ]
    assert names == ["backbone.fc6_drop", "backbone.fc7_drop"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: meta("fcn8s_vgg16", num_classes=0), "num_classes=0"),
        (
            lambda: FCN(prediction_stride=4),
            r"prediction_stride=4.*\[32, 16, 8\]",
        ),
        (lambda: Upsampling(2, 3, learned=True), "factor=3"),
        (lambda: Upsampling(2, 0)(torch.ones(1, 2, 2, 2)), "factor=0"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
