"""VAN: the released B0 and its block, the other sizes, stages by name."""

import pytest
import torch
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
from atrous.arithmetic import Window
from atrous.experiments.parity import reference_fill_
from atrous.large_kernels.large_kernel_attention import (
    LargeKernelAttention,
    lka_windows,
)
from atrous.large_kernels.van import ARCHITECTURES, VAN, VANBlock

SMALL = {"widths": (8, 12, 16, 20), "depths": (1, 2, 1, 1)}


@torch.no_grad()
def test_b0_is_the_released_one():
    reference = record("van_b0")
    network = zoo.build("van_b0").double().eval()
    assert_same_state(network, reference)
    reference_fill_(network)
    outputs = [*recorded(reference)]
    assert len(outputs) == 5
    _, x, _ = outputs[0]
    found = network.features(x) | {"logits": network(x)}
    for layer, _, expected in outputs:
        assert_equal(found[layer], expected)


@torch.no_grad()
def test_a_block_is_the_released_one():
    reference = record("van_block_64_r8")
    block = VANBlock(64, expansion=8).double().eval()
    assert_same_state(block, reference)
    reference_fill_(block)
    parts = {"out": block, "attn": block.attention}
    for layer, x, expected in recorded(reference, 64):
        assert_equal(parts.pop(layer)(x), expected)
    assert not parts


@pytest.mark.parametrize(
    ("name", "parameters", "millions", "giga"),
    # The released table has the last two columns; it counts activations and
    # normalisations, too.
    [
        ("van_b0", 4_105_800, 4.1, 0.9),
        ("van_b1", 13_861_800, 13.9, 2.5),
        ("van_b2", 26_578_472, 26.6, 5.0),
        ("van_b3", 44_765_608, 44.8, 9.0),
    ],
)
def test_published_numbers(name, parameters, millions, giga):
    network = meta(name)
    assert count(network) == parameters
    assert round(parameters / 1e6, 1) == millions
    found = multiply_adds(network, 224, 224) / 1e9
    assert found == pytest.approx(giga, abs=0.08)


def test_the_dense_kernel_of_table_3_mixes_channels():
    """Its 124.7 M are B0 with 21 x 21 C x C weights in place of an LKA."""
    network = meta("van_b0")
    parameters = count(network)
    for module in network.modules():
        if isinstance(module, LargeKernelAttention):
            channels = module.pointwise.out_channels
            parameters += 21**2 * channels**2 + channels - count(module)
    assert round(parameters / 1e6, 1) == 124.7


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_stages_by_name(name):
    network = meta(name, num_classes=7)
    widths, depths = ARCHITECTURES[name].values()
    for size in ((224, 160), (97, 131), (1, 9)):
        x = torch.empty(2, 3, *size, device="meta")
        maps = network.features(x)
        assert [*maps] == ["stage1", "stage2", "stage3", "stage4"]
        for number, (width, m) in enumerate(
            zip(widths, maps.values(), strict=True)
        ):
            cells = (-(-side // 2 ** (number + 2)) for side in size)
            assert m.shape == (2, width, *cells)
        assert network(x).shape == (2, 7)
    for stage, depth, ratio in zip(
        network.stages, depths, (8, 8, 4, 4), strict=True
    ):
        blocks = [m for m in stage if isinstance(m, VANBlock)]
        assert len(blocks) == depth
        for block in blocks:
            first = block.feed_forward[0]
            assert first.out_channels == ratio * first.in_channels


@torch.no_grad()
def test_logits_are_those_of_the_mean_of_the_last_stage():
    network = VAN(**SMALL, num_classes=3).eval()
    x = torch.rand(2, 3, 50, 41)
    last = network.features(x)["stage4"]
    expected = network.head(last.flatten(2).mean(2))
    torch.testing.assert_close(network(x), expected)
    # Its places are normalised over their channels.
    torch.testing.assert_close(last.mean(1), torch.zeros_like(last[:, 0]))


def test_options_reach_every_block():
    windows = (Window(5, padding=2), Window(7, padding=3))
    network = VAN(**SMALL, windows=windows, gate="sum")
    found = [
        m for m in network.modules() if isinstance(m, LargeKernelAttention)
    ]
    assert len(found) == 5
    for module in found:
        assert module.gate == "sum"
        assert [c.dilation for c in module.depthwise] == [(1, 1), (1, 1)]
    default = VANBlock(4).attention.gate.depthwise
    assert [c.dilation[0] for c in default] == [
        w.dilation for w in lka_windows()
    ]


def test_first_weights():
    network = VAN(widths=(64,), depths=(1,), expansions=(4,))
    conv, _, block, _ = network.stages[0]
    fans = {conv: 49 * 64, block.feed_forward[1]: 9, block.attention.after: 64}
    for module, fan in fans.items():
        std = module.weight.std().item()
        assert std == pytest.approx((2 / fan) ** 0.5, rel=0.1)
    assert network.head.weight.std().item() == pytest.approx(0.02, rel=0.05)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            assert parameter.count_nonzero() == 0, name
        if "scale" in name:
            assert (parameter == 0.01).all(), name


@torch.no_grad()
def test_scales_stand_before_both_parts():
    """At 0 they leave the input; one of them alone leaves one part."""
    block = VANBlock(6).double().eval()
    x = torch.randn(1, 6, 9, 8, dtype=torch.float64)
    nn.init.zeros_(block.layer_scale_1)
    nn.init.zeros_(block.layer_scale_2)
    assert torch.equal(block(x), x)
    nn.init.constant_(block.layer_scale_1, 2.0)
    expected = x + 2 * block.attention(block.norm1(x))
    torch.testing.assert_close(block(x), expected)
    nn.init.constant_(block.layer_scale_2, 3.0)
    expected = expected + 3 * block.feed_forward(block.norm2(expected))
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes_and_gradients(dtype):
    network = VAN(**SMALL, num_classes=3).to(dtype)
    y = network(torch.rand(2, 3, 40, 41, dtype=dtype))
    assert y.dtype == dtype
    y.square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: meta("van_b0", num_classes=0), "num_classes=0"),
        (lambda: meta("van_b0", depths=(1, 1)), r"depths=\(1, 1\)"),
        (lambda: meta("van_b0", depths=(1, 1, 0, 1)), "depth=0"),
        (lambda: meta("van_b0", widths=(1, 0, 1, 1)), "width=0"),
        (lambda: meta("van_b0", gate="plus"), "gate='plus'"),
        (lambda: VAN(widths=(), depths=(), expansions=()), r"widths=\(\)"),
        (lambda: zoo.build("van_b7"), "did you mean 'van_b"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
