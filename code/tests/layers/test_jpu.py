"""Joint pyramid upsampling: the reference, its sizes, its branches."""

import pytest
import torch
import torch.nn.functional as F
from references import assert_equal, assert_same_state, record

from atrous.experiments.parity import reference_fill_, reference_input
from atrous.layers.jpu import JPU

SIZES = ((16, 36, 44), (24, 18, 22), (40, 9, 11))


def pyramid(sizes):
    return [torch.rand(1, *size, dtype=torch.float64) for size in sizes]


@torch.no_grad()
def test_it_is_the_released_one():
    reference = record("fastfcn_jpu_32")
    module = JPU((16, 24, 40), width=32).double().eval()
    assert_same_state(module, reference)
    reference_fill_(module)
    maps = [reference_input(1, *size) for size in SIZES]
    assert_equal(module(maps), reference["outputs"]["out_36x44"])


@pytest.mark.parametrize("align_corners", [True, False])
@torch.no_grad()
def test_maps_are_joined_coarsest_first(align_corners):
    module = JPU((3, 4), width=2, rates=(3,), align_corners=align_corners)
    reference_fill_(module.double().eval())
    fine, coarse = pyramid([(3, 9, 11), (4, 5, 6)])
    upsampled = F.interpolate(
        module.laterals[0](coarse),
        (9, 11),
        mode="bilinear",
        align_corners=align_corners,
    )
    joined = torch.cat([upsampled, module.laterals[1](fine)], 1)
    expected = module.branches[0](joined)
    torch.testing.assert_close(module([fine, coarse]), expected)


def test_the_branches_are_made_of_dilation():
    with torch.device("meta"):
        module = JPU((512, 1024, 2048))
        maps = [
            torch.empty(1, c, side, side)
            for c, side in ((512, 64), (1024, 32), (2048, 16))
        ]
        assert module(maps).shape == (1, 4 * 512, 64, 64)
    found = [branch.depthwise for branch in module.branches]
    assert [conv.dilation[0] for conv in found] == [1, 2, 4, 8]
    assert [conv.groups for conv in found] == [3 * 512] * 4


def test_gradients():
    module = JPU((3, 4, 5), width=4)
    maps = [
        torch.randn(2, c, side, side, requires_grad=True)
        for c, side in ((3, 12), (4, 6), (5, 3))
    ]
    module(maps).square().sum().backward()
    for tensor in (*maps, *module.parameters()):
        assert tensor.grad.isfinite().all()
        assert tensor.grad.any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: JPU(()), r"channels=\(\)"),
        (lambda: JPU((3, 0)), r"channels=\(3, 0\)"),
        (lambda: JPU((3,), rates=()), r"rates=\(\)"),
        (lambda: JPU((3,), width=0), "width=0"),
        (lambda: JPU((3, 4))(pyramid([(3, 4, 4)])), "1 maps: must be 2"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
