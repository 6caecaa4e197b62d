"""DUC and the network of HDC and DUC."""

import pytest
import torch
import torch.nn.functional as F
from references import count, error, meta
from torch import nn

from atrous.arithmetic import fields, output_size
from atrous.backbones.resnet import resnet_windows
from atrous.experiments.parity import reference_fill_, reference_input
from atrous.gridding.hybrid_rates import RESNET101_RATES
from atrous.layers.aspp import SummedASPP, score_layers
from atrous.layers.spec import windows
from atrous.segmentation.hdc_duc import DUC, STEM, hdc_duc_resnet

NAME = "hdc_duc_resnet101"


def small(**options):
    """The same on ResNet-18, its two units a stage at hybrid rates."""
    options = {"unit_rates": {3: (1, 2), 4: (5, 9)}} | options
    network = hdc_duc_resnet(depth=18, num_classes=3, **options).double()
    reference_fill_(network)
    return network.eval()


# ---- the head


def test_counts_of_the_heads():
    assert count(meta(NAME).head) == 89_658_112
    assert count(meta(NAME, upscale=1).head) == 1_400_908


@pytest.mark.parametrize("d", [1, 2, 3])
def test_duc_is_the_reshape_form_to_the_bit(d):
    """The class is the slow axis of the channels, the cell the fast one.

    In whole numbers, of which no sum is rounded, in whatever order.
    """
    head = DUC(4, num_classes=5, upscale=d, rates=(1, 2)).double()
    for parameter in head.parameters():
        parameter.data = torch.randint(-9, 10, parameter.shape).double()
    x = torch.randint(-9, 10, (2, 4, 6, 7)).double()
    s = sum(
        F.conv2d(x, b.score.weight, b.score.bias, 1, r, r)
        for b, r in zip(head, (1, 2), strict=True)
    )
    cells = s.reshape(2, 5, d, d, 6, 7).permute(0, 1, 4, 2, 5, 3)
    assert torch.equal(head(x), cells.reshape(2, 5, 6 * d, 7 * d))


def test_every_place_of_a_cell_has_weights_of_its_own():
    head = DUC(2, num_classes=3, upscale=4, rates=(1,))
    x = torch.randn(1, 2, 5, 5)
    head(x)[0, 1, 4 * 2 + 3, 4 * 1 + 2].backward()  # v = 3, u = 2
    seen = head[0].score.bias.grad.nonzero().flatten().tolist()
    assert seen == [1 * 16 + 3 * 4 + 2]
    by_weight = head[0].score.weight.grad.abs().sum((1, 2, 3))
    assert by_weight.nonzero().flatten().tolist() == seen


def test_at_1_it_is_the_head_of_deeplab_v2():
    head = DUC(4, num_classes=5, upscale=1)
    plain = SummedASPP([score_layers(5, rate=r) for r in (6, 12, 18, 24)], 4)
    plain.load_state_dict(head.state_dict())
    x = torch.randn(1, 4, 30, 30)
    assert error(head(x), plain(x)) < 1e-5


def test_defaults_and_start():
    head = DUC(64)
    assert [b.score.dilation[0] for b in head] == [6, 12, 18, 24]
    for branch in head:
        assert branch.score.out_channels == 19 * 64
        assert branch.score.weight.std().item() == pytest.approx(0.01, rel=0.1)
        assert branch.score.bias.count_nonzero() == 0


# ---- the network


def test_its_windows():
    network = meta(NAME)
    spatial = [
        [
            (m.stride[0], m.dilation[0], m.padding[0])
            for m in stage.modules()
            if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)
        ]
        for stage in network.backbone.children()
    ]
    assert spatial[0] == [(2, 1, 1), (1, 1, 1), (1, 1, 1)]
    assert spatial[1:3] == [[(1, 1, 1)] * 3, [(1, 1, 1)] * 4]
    assert spatial[3] == [(1, r, r) for r in RESNET101_RATES[3]]
    assert spatial[4] == [(1, r, r) for r in RESNET101_RATES[4]]
    assert network.backbone.layer2[0].conv1.stride == (2, 2)
    stack = resnet_windows(network.backbone.plan, stem=windows(STEM))
    last = fields(stack)[-1]
    assert (last.jump, last.start) == (8, 2)
    for cells in (1, 5, 128):
        assert output_size(8 * cells, stack) == cells


def test_its_stem():
    stem = meta(NAME).backbone.stem
    widths = [m.out_channels for m in stem if isinstance(m, nn.Conv2d)]
    assert widths == [64, 64, 128]
    kinds = [type(m).__name__ for m in stem]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU"] * 3 + ["MaxPool2d"]
    assert (stem.pool.kernel_size, stem.pool.stride) == (3, 2)
    assert stem.pool.padding == 0
    assert not any(
        m.bias is not None
        for m in stem
        if hasattr(m, "weight") and isinstance(m, nn.Conv2d)
    )


def test_its_count_is_resnets_with_another_stem():
    """Its first unit takes 128 channels for 64, in two 1x1 convolutions."""
    plain = count(meta("deeplabv2_resnet101").backbone)
    stem = 9 * (3 * 64 + 64 * 64 + 64 * 128) + 2 * (64 + 64 + 128)
    old = 49 * 3 * 64 + 2 * 64
    more = 64 * (64 + 256)
    assert count(meta(NAME).backbone) == plain - old + stem + more


def test_its_state_dict_runs_from_the_stem_to_the_head():
    keys = [*meta(NAME).state_dict()]
    assert keys[0] == "backbone.stem.conv1.weight"
    parts = [key.rpartition(".")[0].split(".")[:2] for key in keys]
    order = [*dict.fromkeys(map(tuple, parts))]
    assert order == [
        *(("backbone", p) for p in ("stem", "layer1", "layer2", "layer3")),
        ("backbone", "layer4"),
        *(("head", str(i)) for i in range(4)),
    ]


@pytest.mark.parametrize("size", [(96, 128), (97, 130), (8, 8), (5, 3)])
def test_pictures_of_any_size_on_the_meta_device(size):
    network = meta(NAME, num_classes=5)
    picture = torch.empty(2, 3, *size, device="meta")
    assert network(picture).shape == (2, 5, *size)
    assert network.logits(picture).shape == (2, 5, *size)
    coarse = meta(NAME, upscale=2)
    cells = [-(-side // 4) for side in size]
    assert coarse.logits(picture).shape == (2, 19, *cells)
    assert coarse(picture).shape == (2, 19, *size)


@torch.no_grad()
def test_whole_cells_need_no_interpolation_and_others_are_padded():
    network = small()
    x = reference_input(1, 3, 40, 56)
    assert torch.equal(network(x), network.logits(x))
    part = x[..., :37, :49]
    padded = torch.zeros_like(x)
    padded[..., :37, :49] = part
    found = network(part)
    assert found.shape == (1, 3, 37, 49)
    assert torch.equal(found, network.logits(padded)[..., :37, :49])


@torch.no_grad()
def test_smaller_cells_are_upsampled_bilinearly():
    network = small(upscale=2, rates=(1, 2))
    x = reference_input(1, 3, 40, 56)
    scores = network.logits(x)
    assert scores.shape == (1, 3, 10, 14)
    assert len(network.head) == 2
    expected = F.interpolate(scores, (40, 56), mode="bilinear")
    torch.testing.assert_close(network(x), expected)


@torch.no_grad()
def test_hybrid_rates_change_the_function_not_the_weights():
    hybrid, plain = small(), small(unit_rates=None)
    shapes = [
        {k: v.shape for k, v in network.state_dict().items()}
        for network in (hybrid, plain)
    ]
    assert shapes[0] == shapes[1]
    x = reference_input(1, 3, 64, 64)
    assert not torch.allclose(hybrid(x), plain(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes_and_gradients(dtype):
    network = small().to(dtype)
    out = network(torch.rand(1, 3, 33, 40).to(dtype))
    assert out.dtype == dtype
    out.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DUC(4, num_classes=0), "num_classes=0"),
        (lambda: DUC(4, upscale=0), "upscale=0"),
        (lambda: DUC(4, rates=()), r"branches=\[\]"),
        (lambda: DUC(4, rates=(6, 0)), "rate=0"),
        (lambda: hdc_duc_resnet(depth=50), "stage 3 has 6 units"),
        (lambda: hdc_duc_resnet(depth=20), "depth=20"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        call()
