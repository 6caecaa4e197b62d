"""UniRepLKNet: the released block, the sizes, the merge of a whole network."""

import pytest
import torch
import torch.nn.functional as F
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
from atrous.experiments.parity import reference_fill_
from atrous.large_kernels.dilated_reparam import merge_
from atrous.large_kernels.unireplknet import (
    ARCHITECTURES,
    ResponseNorm,
    UniRepLKNet,
    UniRepLKNetBlock,
)

# Small kernels among large ones: 3 and 5 have no branches.
SMALL = {"widths": (8, 12, 16, 20), "kernels": ((3,), (13, 3), (7, 5), (9,))}


@torch.no_grad()
def test_a_block_is_the_released_one_before_and_after_the_merge():
    reference = record("unireplknet_block_32_k13")
    block = UniRepLKNetBlock(32).double().eval()
    assert_same_state(block, reference)
    reference_fill_(block)
    found = {}
    for layer, x, expected in recorded(reference, 32):
        if layer == "reparam_out":
            merge_(block)
        found[layer] = block(x)
        assert_equal(found[layer], expected)
    assert [*found] == ["out", "reparam_out"]


@pytest.mark.parametrize(
    ("name", "parameters", "merged", "millions", "giga"),
    # The released table has the last two columns, of merged networks at
    # 224 x 224; it cuts the largest counts off.
    [
        ("unireplknet_a", 4_649_060, 4_437_300, 4.4, 0.6),
        ("unireplknet_f", 6_489_328, 6_235_216, 6.2, 0.9),
        ("unireplknet_p", 11_080_520, 10_741_704, 10.7, 1.6),
        ("unireplknet_n", 18_818_880, 18_318_560, 18.3, 2.8),
        ("unireplknet_t", 31_693_420, 31_037_980, 31, 4.9),
        ("unireplknet_s", 56_456_704, 55_645_984, 56, 9.1),
        ("unireplknet_b", 99_089_416, 98_008_456, 98, None),
        ("unireplknet_l", 220_076_056, 218_454_616, 218, None),
        ("unireplknet_xl", 388_690_984, 386_529_064, 386, None),
    ],
)
def test_published_numbers(name, parameters, merged, millions, giga):
    network = meta(name)
    assert count(network) == parameters
    merge_(network)
    assert count(network) == merged
    tolerance = 0.05 if millions < 20 else 0.6
    assert merged / 1e6 == pytest.approx(millions, abs=tolerance)
    if giga is not None:
        found = multiply_adds(network, 224, 224) / 1e9
        assert found == pytest.approx(giga, abs=0.05)


def test_every_size_is_here():
    names = [name.removeprefix("unireplknet_") for name in ARCHITECTURES]
    assert names == ["a", "f", "p", "n", "t", "s", "b", "l", "xl"]
    depths = {
        name: [len(stage) for stage in options["kernels"]]
        for name, options in ARCHITECTURES.items()
    }
    assert depths["unireplknet_a"] == [2, 2, 6, 2]
    assert depths["unireplknet_n"] == [2, 2, 8, 2]
    assert depths["unireplknet_t"] == [3, 3, 18, 3]
    assert depths["unireplknet_xl"] == [3, 3, 27, 3]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_kernels_of_the_blocks(name):
    """Those of 13 have six branches, those of 3 are one convolution."""
    stages = meta(name).stages
    kernels = ARCHITECTURES[name]["kernels"]
    for stage, row in zip(stages, kernels, strict=True):
        found = [block.depthwise for block in stage]
        assert [m.kernel for m in found] == [*row]
        branches = [len(m.branches) for m in found]
        assert branches == [{13: 6, 3: 1}[kernel] for kernel in row]
    assert {k for row in kernels for k in row} == {3, 13}
    # From T on the third stage has smaller ones after each large one.
    step = {18: 2, 27: 3}.get(len(kernels[2]), 1)
    large = [i for i, kernel in enumerate(kernels[2]) if kernel == 13]
    assert large == [*range(0, len(kernels[2]), step)]


def test_branches_begin_with_kernels_of_7():
    for kernel, branches in ((3, 1), (5, 1), (7, 4), (9, 5)):
        depthwise = UniRepLKNetBlock(4, kernel).depthwise
        assert len(depthwise.branches) == branches
        norms = sum(isinstance(m, nn.BatchNorm2d) for m in depthwise.modules())
        assert norms == (branches if kernel >= 7 else 0)


def test_stages_by_name():
    network = meta("unireplknet_a", num_classes=7)
    for size in ((224, 160), (97, 131), (1, 9)):
        x = torch.empty(2, 3, *size, device="meta")
        maps = network.features(x)
        assert [*maps] == ["stage1", "stage2", "stage3", "stage4"]
        for i, (width, m) in enumerate(
            zip((40, 80, 160, 320), maps.values(), strict=True)
        ):
            cells = (-(-side // 2 ** (i + 2)) for side in size)
            assert m.shape == (2, width, *cells)
        assert network(x).shape == (2, 7)


@torch.no_grad()
def test_what_stands_before_the_stages_and_after_them():
    """Two convolutions with a GELU between; the mean, a norm, the head."""
    network = UniRepLKNet(**SMALL, num_classes=5).double().eval()
    reference_fill_(network)
    x = torch.randn(2, 3, 40, 44, dtype=torch.float64)
    first, one, _, second, other = network.downsamples[0]
    y = F.gelu(one(F.conv2d(x, first.weight, first.bias, 2, 1)))
    y = other(F.conv2d(y, second.weight, second.bias, 2, 1))
    torch.testing.assert_close(network.downsamples[0](x), y)
    maps = network.features(x)
    y = network.stages[0](y)
    torch.testing.assert_close(maps["stage1"], y)
    conv, norm = network.downsamples[1]
    y = norm(F.conv2d(y, conv.weight, conv.bias, 2, 1))
    torch.testing.assert_close(maps["stage2"], network.stages[1](y))
    mean = maps["stage4"].flatten(2).mean(2)
    spread = mean.var(1, keepdim=True, correction=0)
    mean = (mean - mean.mean(1, keepdim=True)) / (spread + 1e-6).sqrt()
    mean = mean * network.norm.weight + network.norm.bias
    torch.testing.assert_close(network(x), network.head(mean))


@torch.no_grad()
def test_a_merged_network_is_the_same_function():
    network = UniRepLKNet(**SMALL, num_classes=5).double().eval()
    reference_fill_(network)
    x = torch.randn(2, 3, 75, 90, dtype=torch.float64)
    maps, logits = network.features(x), network(x)
    merge_(network)
    for name, expected in maps.items():
        assert error(network.features(x)[name], expected) < 1e-13
    assert error(network(x), logits) < 1e-13
    left = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not left
    state = {name: tensor.clone() for name, tensor in network.named_buffers()}
    assert not state
    merge_(network)  # which changes nothing more
    assert error(network(x), logits) < 1e-13


@torch.no_grad()
def test_merged_weights_load_into_a_merged_network():
    options = {**SMALL, "num_classes": 5}
    one, other = UniRepLKNet(**options), UniRepLKNet(**options)
    merge_(one)
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict(one.state_dict())
    merge_(other).load_state_dict(one.state_dict())
    x = torch.rand(1, 3, 40, 40)
    assert torch.equal(one(x), other(x))


@torch.no_grad()
def test_response_norm():
    """Of a channel's norm over the map, relative to all channels' mean."""
    norm = ResponseNorm(3).double()
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    assert torch.equal(norm(x), x)
    nn.init.normal_(norm.gamma)
    nn.init.normal_(norm.beta)
    norms = x.square().sum((2, 3)).sqrt()
    share = norms / norms.mean(1, keepdim=True)
    gamma, beta = (p.view(3, 1, 1) for p in norm.parameters())
    expected = x + gamma * share[..., None, None] * x + beta
    torch.testing.assert_close(norm(x), expected, rtol=1e-5, atol=1e-5)


def test_a_channel_of_zeros_has_a_gradient():
    """Though the slope of its norm, x / |x|, has none there."""
    norm = ResponseNorm(3)
    nn.init.ones_(norm.gamma)
    x = torch.randn(2, 3, 4, 5)
    x[:, 0] = 0
    x.requires_grad_()
    norm(x).square().sum().backward()
    assert x.grad.isfinite().all()
    assert x.grad[:, 1:].all()
    assert norm(torch.zeros(1, 3, 2, 2)).count_nonzero() == 0


def test_first_weights():
    network = UniRepLKNet(**SMALL)
    for name, parameter in network.named_parameters():
        if name.endswith("gamma") and "response" not in name:
            assert (parameter == 1e-6).all(), name
        if name.endswith("bias"):
            assert parameter.count_nonzero() == 0, name
    block = network.stages[3][0]
    large = network.stages[1][0].depthwise.branches[0][0]
    for module in (block.expand, block.reduce, network.head, large):
        assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes_and_gradients(dtype):
    """The scale of 1e-6 leaves little of them, but something."""
    network = UniRepLKNet(**SMALL, num_classes=3).to(dtype)
    y = network(torch.rand(2, 3, 70, 71, dtype=dtype))
    assert y.dtype == dtype
    y.square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), name
        if dtype == torch.float64:
            assert parameter.grad.any(), name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: meta("unireplknet_a", num_classes=0), "num_classes=0"),
        (lambda: meta("unireplknet_a", widths=(8, 8)), r"widths=\(8, 8\)"),
        (lambda: UniRepLKNet(widths=(), kernels=()), r"widths=\(\)"),
        (lambda: UniRepLKNet(widths=(1,), kernels=((3,),)), r"widths=\(1,\)"),
        (lambda: UniRepLKNetBlock(3), "channels=3: .* 4"),
        (lambda: UniRepLKNetBlock(8, 12), "kernel=12"),
        (lambda: UniRepLKNetBlock(8, 4), "even"),
        (lambda: zoo.build("unireplknet_z"), "did you mean 'unireplknet_"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
