import pytest
import torch
import torch.nn.functional as F
from torch import nn

from atrous import zoo
from atrous.arithmetic import Window
from atrous.backbones.drn import ARCHITECTURES, drn_backbone, drn_plan
from atrous.backbones.resnet import resnet_plan
from atrous.convert.tracing import trace
from atrous.experiments.calls import record_calls, stages, step_after


def on_meta(build, *args, **options):
    with torch.device("meta"):
        return build(*args, **options)


class Small(nn.Module):
    """A stride, a rate, a sum, a concatenation and an interpolation."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(2)
        self.dilated = nn.Conv2d(8, 8, 3, dilation=2, padding=2)

    def forward(self, x):
        y = self.pool(self.norm(self.stem(x)))
        y = y + self.dilated(y) + 1
        y = torch.cat([y, y, y], 1)
        return F.interpolate(y, x.shape[2:], mode="bilinear")


def test_calls_are_written_down_in_order():
    assert record_calls(Small(), 32) == (
        ("stem", "convolution", Window(3, 2), (3, 32), (8, 16)),
        ("pool", "max", Window(2, 2), (8, 16), (8, 8)),
        ("dilated", "convolution", Window(3, 1, 2), (8, 8), (8, 8)),
        ("sum", "sum", None, (8, 8), (8, 8)),
        ("concatenation", "concatenation", None, (8, 8), (24, 8)),
        ("interpolation", "bilinear", None, (24, 8), (24, 32)),
    )


def test_the_network_is_left_alone():
    network = Small().double().train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    record_calls(network, 32)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(module.training for module in network.modules())
    assert not network.stem._forward_hooks


def test_layers_are_those_of_a_trace():
    """By torch.fx, which follows the code and needs no shapes."""
    built = on_meta(zoo.build, "deeplabv3_resnet50", output_stride=8)
    network = nn.Sequential(built.backbone, built.head)
    _, traced = trace(network)
    expected = [
        (op.node.target, op.kernel[0], op.stride, op.dilation[0])
        for op in traced
        if op.kernel
    ]
    found = [
        (c.name, c.window.kernel, c.window.stride, c.window.dilation)
        for c in record_calls(network, 321)
        if c.window
    ]
    assert found == expected


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_paths_are_those_of_the_plan(name):
    """Projections of shortcuts stand beside them, and units are counted."""
    plan = drn_plan(name)
    rest = {"stem": ("conv1", "maxpool")} if "stem" not in plan else {}
    rows = rest | {level: f"{level}." for level in plan}
    rows |= {} if rest else {"stem": "stem"}
    network = on_meta(drn_backbone, name)
    found = stages(record_calls(network, 64), rows)
    for level, units in plan.items():
        windows = [w for unit in units for w in unit.windows]
        expected = [(w.kernel, w.stride, w.dilation) for w in windows]
        path = [call.window for call in found[level].path()]
        assert expected == [(w.kernel, w.stride, w.dilation) for w in path]
        added = [unit for unit in units if unit.shortcut == "added"]
        assert len(found[level].units) == len(added)
        assert found[level].makes[0] == units[-1].widths[-1]


def test_a_sampled_shortcut_stands_beside_the_path():
    name = "deeplabv3_cascade_resnet50"
    calls = record_calls(on_meta(zoo.build, name, output_stride=64), 257)
    rows = {"block5": "backbone.layer5.", "rest": ""}
    options = {"stride_on": "1x1", "first_unit": "full"}
    plan = resnet_plan(
        50, output_stride=64, multi_grid=(1, 2, 1), block=5, **options
    )
    path = stages(calls, rows)["block5"].path()
    strides = [w.stride for unit in plan[4] for w in unit.windows]
    assert [call.window.stride for call in path] == strides
    assert sum(strides) == len(strides) + 1


def test_branches_are_told_from_what_joins_them():
    calls = record_calls(on_meta(zoo.build, "deeplabv3_resnet50"), 513)
    branches = ["head.aspp.branches.*", "head.aspp.pooled"]
    rows = {"rest": "", "ASPP": [*branches, "head.aspp.concatenation"]}
    found = stages(calls, rows)["ASPP"]
    rates = [[call.rate for call in branch] for branch in found.branches]
    assert rates == [[None], [6], [12], [18], [None]]
    assert found.branches[-1][0].reads == (2048, 1)
    assert [call.kind for call in found.join] == ["concatenation"]
    assert (found.reads, found.makes) == ((2048, 33), (1280, 33))
    assert not found.units


def test_summed_branches_are_no_residual_units():
    calls = record_calls(on_meta(zoo.build, "deeplabv2_vgg16_aspp_s"), 321)
    rows = {"rest": "", "ASPP": ["head.*", "head.sum"]}
    found = stages(calls, rows)["ASPP"]
    assert len(found.branches) == 4
    assert not found.units
    assert [call.rate for call in found.path(2)] == [8, None, None]
    assert {call.kind for call in found.join} == {"sum"}
    assert found.makes == (21, 41)
    alone = stages(calls, {"rest": "", "sum": "head.sum"})["sum"]
    assert not alone.units
    assert [call.kind for call in alone.path()] == ["sum"] * 3


def test_a_step_after_a_stage_keeps_its_map():
    found = stages(record_calls(Small(), 32), {"all": ""})["all"]
    step = step_after(found, "dense CRF")
    assert (step.reads, step.makes) == ((24, 32), (24, 32))
    assert step.path()[0].kind == "dense CRF"


def test_a_drawing_leaves_nothing_out():
    calls = record_calls(Small(), 32)
    with pytest.raises(ValueError, match=r"\['stem'\].*'pool', a max"):
        stages(calls, {"stem": "stem"})
    with pytest.raises(ValueError, match=r"\['tail'\].*no call"):
        stages(calls, {"all": "", "tail": "tail"})


def test_bad_networks_and_sizes_are_refused():
    tall = nn.Sequential(nn.Conv2d(3, 1, (3, 1)))
    with pytest.raises(ValueError, match=r"'0' has kernel_size=\(3, 1\)"):
        record_calls(tall, 8)
    with pytest.raises(ValueError, match="size=0"):
        record_calls(tall, 0)
