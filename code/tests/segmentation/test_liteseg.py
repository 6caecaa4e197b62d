"""LiteSeg: the reference, its branches, what they cover, the decoder."""

import pytest
import torch
import torch.nn.functional as F
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
from atrous.arithmetic import receptive_field, usage
from atrous.experiments.parity import reference_fill_, reference_input
from atrous.gridding.impulse_response import impulse_response, support
from atrous.layers.spec import windows
from atrous.segmentation.liteseg import (
    DASPP,
    RATES,
    DASPPBranch,
    liteseg_mobilenetv2,
)


def filled(module):
    module.double().eval()
    reference_fill_(module)
    return module


# ---- the reference


@pytest.mark.usefixtures("quiet")
@torch.no_grad()
def test_the_network_is_the_released_one():
    """By position, the classifier that is never run among the weights."""
    reference = record("liteseg_mobilenet_19")
    network = zoo.build("liteseg_mobilenetv2").double().eval()
    assert_same_state(network, reference)
    reference_fill_(network)
    for _, x, expected in recorded(reference):
        assert_equal(network(x), expected)


def test_exact_counts():
    network = meta("liteseg_mobilenetv2")
    assert count(network) == 4_382_707
    assert count(network.backbone.fc) == 1_281_000
    found = multiply_adds(network, 512, 1024) / 1e9
    assert found == pytest.approx(4.31, abs=0.005)


# ---- the branches


@pytest.mark.parametrize("rate", RATES)
@torch.no_grad()
def test_a_branch_by_hand(rate):
    """Only the 3x3 after it is rectified; at rate 1 nothing is."""
    branch = filled(DASPPBranch(5, rate=rate, width=4))
    x = torch.randn(1, 5, 13, 14, dtype=torch.float64)
    atrous, after = branch.atrous, branch.after
    pad = 0 if rate == 1 else rate
    y = F.conv2d(x, atrous.depthwise.weight, None, 1, pad, rate, 5)
    y = atrous.pointwise_bn(F.conv2d(y, atrous.pointwise.weight))
    if rate > 1:
        y = F.conv2d(y, after.depthwise.weight, None, 1, 1, 1, 4)
        y = F.conv2d(y, after.pointwise.weight)
        y = after.pointwise_bn(y).relu()
    torch.testing.assert_close(branch(x), y)
    assert (y.min() < 0) == (rate == 1)


@pytest.mark.parametrize(
    ("rate", "covered", "field"),
    [(1, 1, 1), (3, 9, 9), (6, 9, 15), (9, 9, 21)],
)
def test_what_a_branch_covers_of_its_field(rate, covered, field):
    """By the plan and by an impulse: the 3x3 fills all holes of rate 3."""
    branch = DASPPBranch(1, rate=rate, width=1)
    stack = windows(branch.plan)
    assert receptive_field(stack) == field
    assert sum(ways > 0 for ways in usage(stack)) == covered
    for parameter in branch.parameters():
        nn.init.ones_(parameter)
    seen = support(impulse_response(branch, 31))
    rows = seen.any(1).nonzero().flatten()
    assert len(rows) == covered
    assert int(rows.max() - rows.min()) + 1 == field


@torch.no_grad()
def test_the_input_its_branches_and_its_mean_are_joined():
    for image_pooling in (True, False):
        head = filled(DASPP(5, width=4, image_pooling=image_pooling))
        seen = []
        head.project.register_forward_pre_hook(
            lambda _, args, seen=seen: seen.append(*args)
        )
        x = torch.randn(2, 5, 12, 11, dtype=torch.float64)
        y = head(x)
        assert y.shape == (2, 4, 12, 11)
        maps = [x, *(branch(x) for branch in head.branches)]
        if image_pooling:
            means = x.mean((2, 3))[:, :, None, None].expand_as(x)
            maps.append(head.pooled(means))
        torch.testing.assert_close(seen[0], torch.cat(maps, 1))
        project = head.project
        z = seen[0] * project.depthwise.weight.view(1, -1, 1, 1)
        z = project.pointwise_bn(F.conv2d(z, project.pointwise.weight))
        torch.testing.assert_close(y, z.relu())


def test_small_maps_and_lone_pictures_are_reported():
    head = DASPP(5, width=4)
    with pytest.raises(ValueError, match="batch size 1 in training"):
        head(torch.rand(1, 5, 12, 12))
    with pytest.warns(UserWarning, match="3x3 at rate 9 a 1x3"):
        head.eval()(torch.rand(1, 5, 9, 12))


# ---- the network


@torch.no_grad()
def test_the_decoder_by_hand():
    """Low-level features are joined as they are; corners aligned twice."""
    for align in (True, False):
        network = filled(
            liteseg_mobilenetv2(
                num_classes=3, width=8, rates=(1, 2), align_corners=align
            )
        )
        x = reference_input(1, 3, 70, 95)
        maps = network.backbone.features(x)
        low = maps["stage2"]
        assert low.shape == (1, 24, 18, 24)
        context = F.interpolate(
            network.head.context(maps["last"]),
            (18, 24),
            mode="bilinear",
            align_corners=align,
        )
        y = network.head.fuse(torch.cat([context, low], 1))
        torch.testing.assert_close(network.logits(x), y)
        y = F.interpolate(y, (70, 95), mode="bilinear", align_corners=align)
        torch.testing.assert_close(network(x), y)


@pytest.mark.usefixtures("quiet")
@torch.no_grad()
def test_without_its_decoder():
    network = liteseg_mobilenetv2(decoder=False).eval()
    x = torch.rand(1, 3, 65, 65)
    scores = network.logits(x)
    assert scores.shape == (1, 19, 3, 3)
    context = network.head.context(network.backbone.features(x)["last"])
    torch.testing.assert_close(scores, network.head.fuse.score(context))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.usefixtures("quiet")
def test_dtypes_and_gradients(dtype):
    """The classifier has none: it is never run."""
    network = liteseg_mobilenetv2(num_classes=3).to(dtype)
    y = network(torch.rand(2, 3, 65, 70, dtype=dtype))
    assert y.dtype == dtype
    y.square().mean().backward()
    without = []
    for name, parameter in network.named_parameters():
        if parameter.grad is None:
            without.append(name)
        else:
            assert parameter.grad.isfinite().all()
    assert without == ["backbone.fc.weight", "backbone.fc.bias"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: meta("liteseg_mobilenetv2", num_classes=0), "num_classes=0"),
        (lambda: meta("liteseg_mobilenetv2", width=0), "width=0"),
        (lambda: meta("liteseg_mobilenetv2", rates=(1, 0)), "rate=0"),
        (lambda: meta("liteseg_mobilenetv2", rates=()), r"rates=\(\)"),
        (
            lambda: meta("liteseg_mobilenetv2", output_stride=64),
            "output_stride=64",
        ),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
