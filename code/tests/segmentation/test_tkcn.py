"""TKCN: Kronecker convolution in two forms, the head, the network."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from references import count, error, meta
from torch import nn

from atrous.backbones.resnet import ResNet
from atrous.gridding.impulse_response import impulse_response, support
from atrous.gridding.spectrum import gain
from atrous.ops.kronecker import (
    KroneckerConv2d,
    kronecker_conv2d,
    kronecker_kernel,
)
from atrous.segmentation.tkcn import LEVELS, TFA, tfa_head, tkcn

FACTORS = st.tuples(st.integers(1, 6), st.integers(1, 6)).map(
    lambda pair: (max(pair), min(pair))
)


def normal(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g, dtype=torch.float64)


def factors(pair):
    return dict(zip(("dilation", "sharing"), pair, strict=True))


# ---- the convolution


@given(FACTORS, st.integers(0, 9))
@torch.no_grad()
def test_two_steps_are_one_convolution_inside(pair, seed):
    """Where all taps are inside the map, and nowhere nearer the border."""
    r1, r2 = pair
    module = KroneckerConv2d(2, 3, **factors(pair)).double()
    x = normal(1, 2, 2 * r1 + 5, 2 * r1 + 7, seed=seed)
    conv = module.conv
    dense = kronecker_conv2d(x, conv.weight, conv.bias, **factors(pair))
    found = module(x)
    assert found.shape == dense.shape == (1, 3, *x.shape[2:])
    off = (found - dense)[0].abs().amax(0) / dense.abs().max()
    assert off[r1:-r1, r1:-r1].max() < 1e-12
    if r2 > 1:
        # Squares reach r2 // 2 down and right, one less up and left if even.
        assert (off[r1 - r2 // 2 : r1] > 1e-9).any(1).all()
        last = len(off) - r1
        assert (off[last : last + (r2 - 1) // 2] > 1e-9).any(1).all()
        assert off[: r1 - r2 // 2, r1:-r1].sum() < 1e-10
    else:
        assert off.max() < 1e-12


@given(FACTORS, st.integers(1, 3).map(lambda n: 2 * n - 1))
def test_the_kernel_is_the_dilated_one_spread(pair, k):
    """By a transposed convolution with a box, cut to r1 k."""
    r1, r2 = pair
    weight = normal(2, 3, k, k)
    box = weight.new_full((1, 1, r2, r2), 1 / r2**2)
    spread = F.conv_transpose2d(weight.view(6, 1, k, k), box, None, r1)
    spread = F.pad(spread, (0, r1 - r2, 0, r1 - r2)).view(2, 3, r1 * k, -1)
    found = kronecker_kernel(weight, **factors(pair))
    torch.testing.assert_close(found, spread)


@given(st.integers(1, 9), st.integers(0, 3))
@torch.no_grad()
def test_the_released_form_pools_and_dilates(r1, half):
    r2 = min(2 * half + 1, r1 - 1 + r1 % 2)  # odd, at most r1
    module = KroneckerConv2d(2, 3, **factors((r1, r2))).double()
    x = normal(2, 2, 11, 12)
    pooled = F.avg_pool2d(x, r2, 1, r2 // 2)
    conv = module.conv
    found = F.conv2d(pooled, conv.weight, conv.bias, 1, r1, r1)
    torch.testing.assert_close(module(x), found)


@given(st.integers(1, 5))
@torch.no_grad()
def test_without_sharing_it_is_atrous(r1):
    """And ordinary at r1 = 1, at the border as well."""
    module = KroneckerConv2d(2, 3, dilation=r1, sharing=1).double()
    plain = nn.Conv2d(2, 3, 3, padding=r1, dilation=r1).double()
    plain.load_state_dict(module.conv.state_dict())
    x = normal(1, 2, 9, 10)
    assert error(module(x), plain(x)) < 1e-12
    dense = kronecker_conv2d(
        x, plain.weight, plain.bias, dilation=r1, sharing=1
    )
    assert error(dense, plain(x)) < 1e-12


def response(r1, r2):
    module = KroneckerConv2d(1, 1, dilation=r1, sharing=r2)
    nn.init.ones_(module.conv.weight)
    return impulse_response(module, 2 * r1 + r2 + 4)


@pytest.mark.parametrize(
    ("pair", "covered", "attenuated"),
    [
        ((10, 7), 0.605, 0.374),
        ((20, 15), 0.669, 0.301),
        ((30, 25), 0.779, 0.191),
    ],
)
def test_published_levels(pair, covered, attenuated):
    r1, r2 = pair
    assert pair in LEVELS
    touched = support(response(r1, r2))
    assert touched.shape == (2 * r1 + r2,) * 2
    share = touched.double().mean().item()
    assert share == pytest.approx((3 * r2 / (2 * r1 + r2)) ** 2)
    assert share == pytest.approx(covered, abs=5e-4)
    found = gain(response(r1, r2), r1)
    assert found == pytest.approx(attenuated, abs=5e-4)


@given(st.integers(2, 9))
def test_a_full_square_removes_the_grid_and_none_keeps_it(rate):
    assert gain(response(rate, rate), rate) == pytest.approx(0, abs=1e-12)
    assert support(response(rate, rate)).all()
    assert gain(response(rate, 1), rate) == pytest.approx(1)


# ---- the head


def test_what_the_published_count_includes():
    """Levels with biases, the 3x3 convolution, and the scores."""
    with torch.device("meta"):
        head = tfa_head(2048, 19)
    assert count(head) == 30_686_227
    norm = 2 * 512
    levels = [9 * before * 512 + 512 + norm for before in (2048, 512, 512)]
    assert [count(level) for level in head.tfa.levels] == levels
    assert head.tfa.channels == 3584
    assert count(head.fuse) == 9 * 3584 * 512 + norm
    assert count(head.score) == 513 * 19


@torch.no_grad()
def test_levels_are_a_chain_and_all_of_it_is_kept():
    tfa = TFA(3, levels=((2, 1), (3, 2), (4, 3)), width=5).eval()
    x = torch.randn(1, 3, 12, 13)
    kept, *found = tfa(x).split([3, 5, 5, 5], 1)
    assert torch.equal(kept, x)
    for level, y in zip(tfa.levels, found, strict=True):
        x = level[1](level[0](x)).relu()
        assert torch.equal(y, x)
    steps = [level[0] for level in tfa.levels]
    assert [step.conv.dilation[0] for step in steps] == [2, 3, 4]
    assert [step.mean.kernel_size for step in steps] == [1, 2, 3]


def test_dropout_leaves_out_a_tenth_of_the_channels():
    with torch.device("meta"):
        head = tfa_head(8, 3, width=4)
    drop = [m for m in head.modules() if isinstance(m, nn.Dropout2d)]
    assert [m.p for m in drop] == [0.1]
    assert [*dict(head.named_children())] == ["tfa", "fuse", "drop", "score"]


# ---- the network


def spatial(module):
    return [
        m
        for m in module.modules()
        if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)
    ]


def test_stage_4_shares_and_keeps_its_weights():
    network = meta("tkcn_resnet101", num_classes=19, output_stride=8)
    shared = [
        m for m in network.backbone.modules() if type(m) is KroneckerConv2d
    ]
    assert [m.conv.dilation for m in shared] == [(4, 4)] * 3
    assert [m.mean.kernel_size for m in shared] == [3] * 3
    assert all(m.conv.bias is None for m in shared)
    assert [m.conv for m in shared] == spatial(network.backbone.layer4)
    rates = [m.dilation[0] for m in spatial(network.backbone.layer3)]
    assert rates == [1, *[2] * 22]
    with torch.device("meta"):
        plain = ResNet(101, output_stride=8)
    shapes = [t.shape for t in plain.state_dict().values()]
    assert [t.shape for t in network.backbone.state_dict().values()] == shapes
    assert count(network) == count(plain) + 30_686_227


@pytest.mark.parametrize("output_stride", [4, 8, 16, 32])
@pytest.mark.parametrize("depth", [18, 50])
def test_pictures_of_any_size(depth, output_stride):
    network = meta(
        "tkcn_resnet101",
        depth=depth,
        num_classes=7,
        output_stride=output_stride,
    )
    rates = {m.dilation[0] for m in spatial(network.backbone.layer4)}
    assert rates == {32 // output_stride}
    for size in ((64, 96), (61, 83), (1, 9)):
        x = torch.empty(2, 3, *size, device="meta")
        cells = [-(-n // output_stride) for n in size]
        assert network.logits(x).shape == (2, 7, *cells)
        assert network(x).shape == (2, 7, *size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes_and_gradients(dtype):
    network = tkcn(
        depth=18, num_classes=3, levels=((2, 2), (3, 1)), width=4
    ).to(dtype)
    y = network(torch.rand(2, 3, 40, 41, dtype=dtype))
    assert y.dtype == dtype
    y.square().mean().backward()
    for parameter in network.parameters():
        assert parameter.grad.isfinite().all()


WEIGHT = torch.ones(1, 1, 3, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: kronecker_kernel(WEIGHT, dilation=2, sharing=3),
            "dilation=2, sharing=3",
        ),
        (
            lambda: kronecker_conv2d(WEIGHT, WEIGHT, dilation=2, sharing=0),
            "sharing=0",
        ),
        (lambda: KroneckerConv2d(1, 1, dilation=0, sharing=0), "dilation=0"),
        (lambda: KroneckerConv2d(1, 1, dilation=1, sharing=2), "sharing=2"),
        (lambda: TFA(3, levels=()), r"levels=\(\)"),
        (lambda: tfa_head(3, 0), "num_classes=0"),
        (lambda: meta("tkcn_resnet101", levels=((1, 2),)), "sharing=2"),
        (lambda: meta("tkcn_resnet101", output_stride=6), "output_stride=6"),
        (lambda: meta("tkcn_resnet101", depth=19), "depth=19"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
