"""TridentNet: the released unit, shared weights, what a rate sees."""

import pytest
import torch
import torch.nn.functional as F
from references import assert_equal, assert_same_state, count, record, recorded
from torch import nn

from atrous.experiments.parity import reference_fill_
from atrous.large_kernels.trident import TridentStage, TridentUnit
from atrous.layers.residual import ResidualUnit, bottleneck


def filled(module):
    reference_fill_(module.double().eval())
    return module


@torch.no_grad()
def test_a_unit_is_the_released_one():
    reference = record("detectron2_trident_block_64_64")
    unit = TridentUnit(64, 64, bottleneck=16).double().eval()
    assert_same_state(unit, reference)
    reference_fill_(unit)
    outputs = [*recorded(reference, 64)]
    assert len(outputs) == 3
    for rate, (_, x, expected) in enumerate(outputs, 1):
        assert_equal(unit(x)[rate - 1], expected)
        assert_equal(unit.at_rate(x, rate), expected)


@pytest.mark.parametrize("stride_on", ["1x1", "3x3"])
@pytest.mark.parametrize(("channels", "stride"), [(32, 1), (32, 2), (9, 1)])
@torch.no_grad()
def test_a_branch_is_a_residual_unit_of_its_rate(channels, stride, stride_on):
    """Where the widths differ, the shortcut's weights come first."""
    options = {"stride": stride, "stride_on": stride_on}
    unit = filled(TridentUnit(channels, 32, bottleneck=8, **options))
    x = torch.randn(2, channels, 13, 14, dtype=torch.float64)
    state = [*unit.state_dict().values()]
    if unit.shortcut is not None:
        assert state[0].shape == (32, channels, 1, 1)
        state = [*state[6:], *state[:6]]
    for rate, found in zip(unit.rates, unit(x), strict=True):
        plan = bottleneck(8, stride, rate, stride_on)
        plain = ResidualUnit(plan, channels).double().eval()
        pairs = zip(plain.state_dict(), state, strict=True)
        plain.load_state_dict(dict(pairs))
        torch.testing.assert_close(found, plain(x))


@pytest.mark.parametrize("rate", [1, 2, 3, 5])
@torch.no_grad()
def test_every_rth_pixel_at_rate_r_is_the_small_picture_at_rate_1(rate):
    """(w *_r x) at stride r is w *_1 (x at stride r)."""
    x = torch.randn(1, 3, 31, 28, dtype=torch.float64)
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    found = F.conv2d(x, weight, padding=rate, dilation=rate)
    small = x[..., ::rate, ::rate]
    expected = F.conv2d(small, weight, padding=1)
    found = found[..., ::rate, ::rate]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


@torch.no_grad()
def test_a_whole_stage_sees_a_smaller_picture():
    """All of it: the 1x1, the normalisation and the shortcut are pointwise."""
    stage = filled(
        TridentStage(6, 8, units=3, bottleneck=4, stride=1, rates=(1, 3))
    )
    x = torch.randn(1, 6, 25, 31, dtype=torch.float64)
    found = stage.at_rate(x, 3)[..., ::3, ::3]
    expected = stage.at_rate(x[..., ::3, ::3], 1)
    torch.testing.assert_close(found, expected)


def test_rates_cost_no_weights():
    one = TridentUnit(8, 8, bottleneck=4, rates=(1,))
    three = TridentUnit(8, 8, bottleneck=4)
    assert count(one) == count(three)
    assert [*one.state_dict()] == [*three.state_dict()]


@torch.no_grad()
def test_branches_stay_apart_from_unit_to_unit():
    stage = filled(TridentStage(6, 8, units=3, bottleneck=4))
    x = torch.randn(2, 6, 17, 20, dtype=torch.float64)
    maps = stage(x)
    assert [m.shape for m in maps] == [(2, 8, 9, 10)] * 3
    for rate, found in zip((1, 2, 3), maps, strict=True):
        torch.testing.assert_close(found, stage.at_rate(x, rate))
    assert torch.equal(stage.at_rate(x), stage.at_rate(x, 2))
    assert not torch.allclose(maps[0], maps[1])
    strides = [unit.spatial[0].stride[0] for unit in stage]
    assert strides == [2, 1, 1]


def test_all_branches_move_the_same_weights_and_statistics():
    unit = TridentUnit(4, 4, bottleneck=4)
    x = torch.randn(2, 4, 9, 9)
    separate = []
    for branch in range(3):
        unit.zero_grad()
        unit(x)[branch].sum().backward()
        separate.append(unit.spatial[0].weight.grad.clone())
    unit.zero_grad()
    sum(m.sum() for m in unit(x)).backward()
    total = unit.spatial[0].weight.grad
    torch.testing.assert_close(total, sum(separate))
    assert all(gradient.any() for gradient in separate)
    calls = 4 * 3  # forward passes of three branches each
    assert unit.spatial[1].num_batches_tracked == calls
    for parameter in unit.parameters():
        assert parameter.grad.isfinite().all()


def test_only_the_central_tap_is_left_at_a_rate_beyond_the_map():
    unit = filled(TridentUnit(4, 4, bottleneck=4))
    x = torch.randn(1, 4, 5, 5, dtype=torch.float64)
    expected = unit.at_rate(x, 5)
    with torch.no_grad():
        kept = unit.spatial[0].weight[..., 1, 1].clone()
        nn.init.zeros_(unit.spatial[0].weight)
        unit.spatial[0].weight[..., 1, 1] = kept
    torch.testing.assert_close(unit.at_rate(x, 1), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TridentUnit(4, 4, bottleneck=0), "bottleneck=0"),
        (lambda: TridentUnit(4, 4, bottleneck=2, stride=0), "stride=0"),
        (lambda: TridentUnit(4, 4, bottleneck=2, rates=()), r"rates=\(\)"),
        (lambda: TridentUnit(4, 4, bottleneck=2, rates=(0,)), r"=\(0,\)"),
        (
            lambda: TridentUnit(4, 4, bottleneck=2, stride_on="2x2"),
            "stride_on='2x2'",
        ),
        (lambda: TridentStage(4, 4, units=0, bottleneck=2), "units=0"),
        (
            lambda: TridentUnit(4, 4, bottleneck=2)([torch.ones(1, 4, 3, 3)]),
            r"1 maps: .* rates=\(1, 2, 3\)",
        ),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
