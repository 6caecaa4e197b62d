"""TCN: the released network, its counts, and its blocks by definition."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from references import assert_equal, count, filled, sensitivity, sequence
from torch import nn

from atrous.arithmetic import receptive_field
from atrous.ops.valid_taps import tap_ranges
from atrous.sequences.tcn import TCN, TCNBlock, tcn_plan

# ---- the released network


@torch.no_grad()
def test_the_network_is_the_released_one():
    network, outputs = filled(TCN(), "tcn_adding_2_30x8_k7")
    x = sequence(2, 600)
    assert_equal(network.features(x), outputs["features_len600"])
    assert_equal(network(x)[..., -1], outputs["out_len600"])


@torch.no_grad()
def test_the_block_is_the_released_one():
    plan = tcn_plan((8, 8, 8), kernel=3)
    block, outputs = filled(TCNBlock(plan[2], 4), "tcn_block_4_8_k3_d4")
    assert_equal(block(sequence(4, 96)), outputs["out_in4xlen96"])


def gains(network):
    """Parameters g of weight normalisation."""
    state = network.state_dict()
    return sum(t.numel() for n, t in state.items() if n.endswith("original0"))


def test_published_counts():
    """Without the gains: of the network on the pixels of MNIST."""
    with torch.device("meta"):
        network = TCN(1, 10, widths=(25,) * 8)
    assert gains(network) == 400
    assert count(network) - gains(network) == 66_510


@given(st.integers(1, 9), st.integers(2, 8))
def test_two_convolutions_a_block_double_the_reach(blocks, kernel):
    plan = tcn_plan((4,) * blocks, kernel=kernel)
    windows = [w for unit in plan for w in unit.windows]
    reach = 2 * (kernel - 1) * (2**blocks - 1)
    assert receptive_field(windows) == 1 + reach
    assert receptive_field(windows[::2]) == 1 + reach // 2


def test_the_field_is_longer_than_the_adding_problem():
    """At 600 steps the last dilation, 128, has two dead taps of seven."""
    network = TCN()
    assert receptive_field(network.windows) == 3061
    window = network.windows[-1]
    assert (window.kernel, window.dilation) == (7, 128)
    taps = tap_ranges(600, window.kernel, window.padding, window.dilation)
    assert sum(tap.first < 600 for tap in taps) == 5
    sees = sensitivity(
        lambda x: F.conv1d(
            F.pad(x, (768, 0)), torch.ones(1, 1, 7), None, 1, 0, 128
        ),
        torch.zeros(1, 1, 600),
        599,
    )
    assert sees.count_nonzero() == 5


# ---- blocks


@pytest.mark.parametrize(
    ("channels", "widths", "kernel", "dilations"),
    [(3, (5,), 2, (1,)), (4, (4, 6, 6), 3, None), (2, (7, 3), 4, (5, 2))],
)
@torch.no_grad()
def test_networks_by_definition(channels, widths, kernel, dilations):
    options = {"kernel": kernel, "dilations": dilations}
    network = TCN(channels, 2, widths=widths, **options).double().eval()
    x = torch.randn(2, channels, 40, dtype=torch.float64)
    y = x
    rates = dilations or [2**i for i in range(len(widths))]
    for block, rate in zip(network.blocks, rates, strict=True):
        z = y
        for layer in block.path:
            conv = layer[0]
            z = F.pad(z, ((kernel - 1) * rate, 0))
            z = F.conv1d(z, conv.weight, conv.bias, 1, 0, rate).relu()
        if block.shortcut is not None:
            y = block.shortcut(y)
        y = (y + z).relu()
    expected = torch.einsum("bct,oc->bot", y, network.last.weight)
    expected += network.last.bias[:, None]
    torch.testing.assert_close(network(x), expected)
    shortcuts = [block.shortcut is not None for block in network.blocks]
    before = (channels, *widths)
    assert shortcuts == [a != b for a, b in zip(before, widths, strict=False)]


def test_causal_and_no_further_than_the_field():
    network = TCN(2, 3, widths=(8, 8, 8), kernel=3).double().eval()
    field = receptive_field(network.windows)
    assert field == 29
    x = torch.randn(1, 2, 60, dtype=torch.float64)
    found = sensitivity(network, x, 45)
    assert not found[46:].any()
    assert not found[: 46 - field].any()
    assert found[46 - field] > 0
    assert found[45] > 0


def test_dropout_of_elements_and_of_channels():
    for whole in (False, True):
        block = TCN(4, widths=(64,), dropout=0.5, whole_channels=whole).blocks[
            0
        ]
        dropped = block.path[0][2](torch.ones(2, 64, 50)) == 0
        assert 0.3 < dropped.double().mean() < 0.7
        alike = (dropped == dropped[..., :1]).all()
        assert alike == whole
        block.eval()
        assert not (block.path[0][2](torch.ones(2, 64, 50)) == 0).any()


@pytest.mark.filterwarnings("ignore:.*is deprecated")
@torch.no_grad()
def test_weights_drawn_behind_weight_normalisation_are_lost():
    """In the released code, and so the first weights are torch's own."""
    conv = nn.utils.weight_norm(nn.Conv1d(8, 8, 3))
    before = conv.weight.detach().clone()
    conv.weight.data.normal_(0, 0.01)
    conv(torch.zeros(1, 8, 5))
    torch.testing.assert_close(conv.weight, before)
    block = TCN(2, widths=(64,)).blocks[0]
    assert block.shortcut.weight.std().item() == pytest.approx(0.01, rel=0.2)
    last = TCN(2, 30).last.weight
    assert last.std().item() == pytest.approx(0.01, rel=0.2)
    bound = (2 * 7) ** -0.5  # of torch's uniform initialisation
    drawn = block.path[0][0].weight
    assert drawn.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes_and_gradients(dtype):
    network = TCN(2, 3, widths=(4, 4), kernel=2).to(dtype)
    y = network(torch.rand(2, 2, 9, dtype=dtype))
    assert y.shape == (2, 3, 9)
    assert y.dtype == dtype
    y.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TCN(widths=()), r"widths=\(\)"),
        (lambda: TCN(widths=(4, 0)), "width=0"),
        (lambda: TCN(kernel=1), "kernel=1: must be at least 2"),
        (lambda: TCN(dilations=(1, 2)), r"dilations=\(1, 2\): needs 8"),
        (lambda: TCN(widths=(4,), dilations=(0,)), "dilation=0"),
        (lambda: TCN(0), "channels=0"),
        (lambda: TCN(outputs=0), "outputs=0"),
        (lambda: TCN()(torch.zeros(1, 2, 0)), "T at least 1"),
        (lambda: TCN()(torch.zeros(2, 5)), r"\(2, 5\)"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
