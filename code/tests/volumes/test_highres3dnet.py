"""HighRes3DNet: the released one, its field, and its form of phases."""

import pytest
import torch
import torch.nn.functional as F
from references import assert_equal, count, error, filled
from torch import nn

from atrous.arithmetic import coverage, receptive_field
from atrous.experiments.parity import reference_fill_, reference_input
from atrous.layers.residual import Unit, basic
from atrous.volumes.highres3dnet import (
    HighRes3DNet,
    PreactivatedUnit,
    highres3dnet_plan,
)

SMALL = {"num_classes": 3, "width": 4, "units": 1}


@torch.no_grad()
def test_the_network_is_the_released_one():
    network, outputs = filled(HighRes3DNet(1, 4), "highres3dnet_1_4")
    x = reference_input(1, 1, 20 * 24, 28).view(1, 1, 20, 24, 28)
    assert_equal(network(x), outputs["out_20x24x28"])


def test_counts_and_field():
    with torch.device("meta"):
        network, larger = HighRes3DNet(), HighRes3DNet(dropout=True)
    assert count(network) == 814_064
    # 80 more channels: their 1x1x1, their normalisation, 16 more a score.
    assert count(larger) == 814_064 + 80 * (64 + 2) + 160 * 16
    assert receptive_field(network.windows) == 87
    assert coverage(network.windows, axes=3) == 1
    assert network(torch.empty(1, 1, 5, 6, 7, device="meta")).shape == (
        *(1, 160, 5, 6, 7),
    )


def test_one_voxel_sees_87_along_an_axis():
    """Positive weights; along the others volumes of three voxels."""
    network = HighRes3DNet(1, 1, width=2).double().eval()
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    x = torch.ones(1, 1, 3, 3, 99, dtype=torch.float64, requires_grad=True)
    network(x)[0, 0, 1, 1, 49].backward()
    touched = x.grad.amax((0, 1, 2, 3)).nonzero().flatten()
    assert touched.tolist() == [*range(49 - 43, 49 + 44)]


# ---- siblings


def by_definition(network, x, dilations):
    """The network of its parts by plain functions, in evaluation mode."""

    def normed(x, norm):
        return F.batch_norm(
            x, norm.running_mean, norm.running_var, norm.weight, norm.bias
        )

    conv, norm, _ = network.first
    x = normed(F.conv3d(x, conv.weight, padding=1), norm).relu()
    for stage, rate in zip(network.stages, dilations, strict=True):
        for unit in stage:
            y = x
            for norm, _, conv in zip(*[iter(unit.path)] * 3, strict=True):
                y = F.conv3d(
                    normed(y, norm).relu(),
                    conv.weight,
                    padding=rate,
                    dilation=rate,
                )
            zeros = y.new_zeros(
                *(len(y), (y.shape[1] - x.shape[1]) // 2, *y.shape[2:])
            )
            x = torch.cat([zeros, x, zeros], 1) + y
    if len(network.dropout):
        conv, norm = network.dropout[:2]
        x = normed(F.conv3d(x, conv.weight), norm).relu()
    conv, norm = network.score
    return normed(F.conv3d(x, conv.weight), norm)


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize(
    ("dilations", "units"), [((1, 2, 4), 1), ((3,), 2), ((2, 1), 1)]
)
@torch.no_grad()
def test_networks_by_definition(dilations, units, dropout):
    options = SMALL | {"dilations": dilations, "units": units}
    network = HighRes3DNet(2, dropout=dropout, **options).double().eval()
    reference_fill_(network)
    x = torch.randn(1, 2, 7, 5, 9, dtype=torch.float64)
    expected = by_definition(network, x, dilations)
    assert error(network(x), expected) < 1e-12


@pytest.mark.parametrize("training", [False, True])
def test_stages_by_phases_are_the_dilated_ones(training):
    dilated = HighRes3DNet(**SMALL).double().train(training)
    reference_fill_(dilated)
    phases = HighRes3DNet(form="phases", **SMALL).double().train(training)
    phases.load_state_dict(dilated.state_dict())
    x = torch.randn(2, 1, 8, 4, 12, dtype=torch.float64)
    results = []
    for network in (phases, dilated):
        y = network(x)
        y.square().mean().backward()
        results.append([y, *(p.grad for p in network.parameters())])
    for found, expected in zip(*results, strict=True):
        assert error(found, expected) < 1e-9
    assert all(
        m.dilation == (1, 1, 1)
        for m in phases.modules()
        if isinstance(m, nn.Conv3d)
    )


def test_dropout_of_whole_channels_while_training():
    network = HighRes3DNet(dropout=True, **SMALL)
    *_, drop = network.dropout
    dropped = drop(torch.ones(2, 80, 3, 3, 3)) == 0
    assert 0.3 < dropped.double().mean() < 0.7
    assert torch.equal(dropped, dropped[..., :1, :1, :1].expand_as(dropped))


def test_plans_are_those_of_residual_networks():
    assert highres3dnet_plan() == tuple(
        (basic(width, 1, rate, rate),) * 3
        for width, rate in ((16, 1), (32, 2), (64, 4))
    )


VOLUME = torch.zeros(1, 1, 8, 6, 8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: HighRes3DNet(0), "channels=0"),
        (lambda: HighRes3DNet(num_classes=0), "num_classes=0"),
        (lambda: HighRes3DNet(width=0), "width=0"),
        (lambda: HighRes3DNet(units=0), "units=0"),
        (lambda: HighRes3DNet(dilations=()), r"dilations=\(\)"),
        (lambda: HighRes3DNet(dilations=(0,)), "dilation=0"),
        (lambda: HighRes3DNet(form="fast"), "form='fast': .*'phases'"),
        (lambda: HighRes3DNet(**SMALL)(VOLUME[0]), r"\(1, 8, 6, 8\)"),
        (lambda: HighRes3DNet(**SMALL)(VOLUME.int()), "torch.int32: must"),
        (
            lambda: HighRes3DNet(form="phases", **SMALL)(VOLUME),
            r"\(1, 8, 8, 6, 8\).*multiples of rate=4",
        ),
        (
            lambda: PreactivatedUnit(basic(4, 1, 1, 1), 6),
            "channels=6: a shortcut to 4",
        ),
        (
            lambda: PreactivatedUnit(Unit(basic(4, 1, 1, 1)[0], (4, 7)), 4),
            "channels=4: a shortcut to 7",
        ),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
