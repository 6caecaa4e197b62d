"""VGG-16, the context module and the released networks."""

import numpy as np
import pytest
import torch
from references import FINGERPRINTS, count, error, meta, record
from torch import nn

from atrous import zoo
from atrous.arithmetic import (
    Window,
    coverage,
    fields,
    output_size,
    receptive_field,
)
from atrous.backbones.vgg import VGG16, strided_layers
from atrous.convert.pretrained import hed_input, hed_vgg16_
from atrous.experiments.parity import (
    deviation,
    reference_fill_,
    reference_input,
)
from atrous.layers.context import ContextModule, context_layers, identity_init_
from atrous.layers.spec import LayerSpec, SpecStack, windows
from atrous.segmentation.dilationnet import (
    MARGIN,
    RELEASED,
    DilationNet,
    FrontEnd,
    front_end_layers,
    pad,
    reflect_pad,
)

# ---- parity with the released networks


@pytest.mark.parametrize(
    ("name", "classes", "options"),
    [
        ("dilation8_pascal_voc", 21, {"form": "large", "padding": "first"}),
        ("dilation8_camvid", 11, {}),
        ("dilation7_kitti", 11, {"levels": 7}),
    ],
)
def test_context_modules_are_the_released_ones(name, classes, options):
    reference = record(f"fyu_dilation_context_{name}")
    module = ContextModule(classes, **options).double().eval()
    reference_fill_(module)
    assert count(module) == reference["parameters"]
    for size, output in reference["outputs"].items():
        height, width = map(int, size.removeprefix("out_").split("x"))
        x = reference_input(1, classes, height, width)
        assert deviation(module(x), output) < 1e-9


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("dilation8_voc", "dilation8_pascal_voc"),
        ("dilation7_kitti", "dilation7_kitti"),
    ],
)
@torch.no_grad()
def test_whole_networks_are_the_released_ones(name, reference):
    reference = record(f"fyu_dilation_{reference}")
    network = zoo.build(name).double().eval()
    reference_fill_(network)
    x = reference_input(1, 3, 412, 436)
    outputs = {}
    y = x
    for layer, module in network.front_end.layers.named_children():
        y = outputs[layer] = module(y)
    final = outputs["final"]
    outputs["fc-final"] = final
    outputs["ct_final"] = outputs["ctx_final"] = network.context(final)
    outputs["prob"] = outputs["ct_final"].softmax(1)
    assert torch.equal(network.logits_of_padded(x), outputs["ct_final"])
    for layer, expected in reference["outputs"].items():
        layer = layer.removesuffix("_in412x436")
        assert deviation(outputs[layer], expected) < 1e-9, layer


@pytest.mark.parametrize("name", RELEASED)
def test_state_dicts_are_the_deploy_files(name):
    """Shapes in order; all four, the two that have no record too."""
    stem = {"dilation8_voc": "dilation8_pascal_voc"}.get(name)
    shapes = [tuple(t.shape) for t in meta(name).state_dict().values()]
    stem = f"fyu_dilation_{stem or name}"
    if (FINGERPRINTS / f"{stem}.json").exists():
        expected = record(stem)["state_dict"]
        assert shapes == [tuple(shape) for _, _, shape in expected]
    classes = shapes[-1][0]
    assert shapes[30] == (classes, 4096, 1, 1)
    levels = {"dilation7_kitti": 7, "dilation10_cityscapes": 10}.get(name, 8)
    assert len(shapes) == 32 + 2 * levels


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("dilation8_voc", 141_149_720),
        ("dilation8_camvid", 134_313_443),
        ("dilation7_kitti", 134_312_343),
        ("dilation10_cityscapes", 134_368_179),
    ],
)
def test_exact_counts(name, parameters):
    assert count(meta(name)) == parameters


# ---- the front end


def test_front_end_geometry():
    stack = windows(front_end_layers(21))
    last = fields(stack)[-1]
    assert (last.size, last.jump) == (380, 8)
    assert MARGIN == 186
    # Output i is centred on pixels 8 i to 8 i + 7 of the picture inside.
    assert last.start - MARGIN == 3.5
    sizes = {900: 66, 628: 32, 852: 60, 1396: 128}
    for side, outputs in sizes.items():
        assert output_size(side, stack) == outputs == (side - 372) / 8


def test_scores_of_the_front_end_start_small():
    final = FrontEnd(2).layers.final
    assert final.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert not final.bias.any()


def test_front_end_count():
    with torch.device("meta"):
        assert count(FrontEnd(21)) == 134_346_581


def test_dropout_is_where_the_deploy_files_have_it():
    children = dict(FrontEnd(2).layers.named_children())
    dropped = {
        n: m.p for n, m in children.items() if isinstance(m, nn.Dropout)
    }
    assert dropped == {"fc6_drop": 0.5, "fc7_drop": 0.5}


# ---- the context module


@pytest.mark.parametrize(
    ("levels", "dilations", "final"),
    [
        (7, (1, 1, 2, 4, 8, 1, 1), 35),
        (8, (1, 1, 2, 4, 8, 16, 1, 1), 67),
        (10, (1, 1, 2, 4, 8, 16, 32, 64, 1, 1), 259),
    ],
)
def test_context_plans(levels, dilations, final):
    stack = windows(context_layers(5, levels=levels))
    assert tuple(w.dilation for w in stack) == dilations
    assert receptive_field(stack) == final
    assert coverage(stack) == 1


def test_table_1_of_yu_and_koltun():
    stack = windows(context_layers(1))
    assert [f.size for f in fields(stack)] == [3, 5, 9, 17, 33, 65, 67, 67]
    widths = {"basic": [1] * 8, "large": [2, 2, 4, 8, 16, 32, 32, 1]}
    for form, expected in widths.items():
        plan = context_layers(7, form=form)
        assert [layer.width for layer in plan] == [7 * e for e in expected]
        assert [layer.relu for layer in plan] == [True] * 7 + [False]


@pytest.mark.parametrize(
    ("options", "weights", "biases"),
    [
        ({}, 64, 8),
        ({"levels": 7}, 55, 7),
        ({"levels": 10}, 82, 10),
        ({"form": "large"}, 15_422, 97),
    ],
)
@pytest.mark.parametrize("classes", [1, 11, 21])
def test_context_counts(options, weights, biases, classes):
    with torch.device("meta"):
        module = ContextModule(classes, **options)
    assert count(module) == weights * classes**2 + biases * classes


@pytest.mark.parametrize("form", ["basic", "large"])
@pytest.mark.parametrize("padding", ["same", "first"])
def test_without_noise_the_identity_is_max_x_0(form, padding):
    module = ContextModule(3, form=form, padding=padding, noise=0).double()
    x = torch.randn(2, 3, 40, 37, dtype=torch.float64)
    torch.testing.assert_close(module(x), x.clamp(min=0))
    assert (module(x) - x).abs().max() > 1


def test_paddings_differ_only_near_the_border():
    modules = {
        padding: ContextModule(2, padding=padding, init="random").double()
        for padding in ("same", "first", "none")
    }
    x = torch.randn(1, 2, 80, 80, dtype=torch.float64)
    for module in modules.values():
        module.load_state_dict(modules["none"].state_dict())
        for bias in (m.bias for m in module.layers if hasattr(m, "bias")):
            nn.init.constant_(bias, 0.3)  # a border shows where biases are
    same, first, none = (modules[p](x) for p in ("same", "first", "none"))
    assert none.shape == (1, 2, 80 - 66, 80 - 66)
    for padded in (same, first):
        assert padded.shape == x.shape
        torch.testing.assert_close(padded[..., 33:-33, 33:-33], none)
    assert not torch.allclose(same, first)


def test_noise_of_large_is_its_standard_deviation_and_seeded():
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return ContextModule(4, form="large", generator=generator)

    weight = draw(0).layers.layer4.weight  # 8 C channels
    off_centre = weight[:, :, 0, 0]
    assert off_centre.std().item() == pytest.approx(0.01 / 8, rel=0.1)
    assert torch.equal(weight, draw(0).layers.layer4.weight)
    assert not torch.equal(weight, draw(1).layers.layer4.weight)
    default = ContextModule(4, form="large")  # from torch's own generator
    spread = default.layers.layer4.weight[:, :, 0, 0].std().item()
    assert spread == pytest.approx(0.01 / 8, rel=0.2)
    basic = ContextModule(4).layers.layer4.weight
    assert basic.count_nonzero() == 4


@pytest.mark.parametrize("classes", [3, 12])
def test_a_fresh_large_module_stays_close_to_max_x_0(classes):
    generator = torch.Generator().manual_seed(0)
    module = ContextModule(classes, form="large", generator=generator)
    x = torch.randn(1, classes, 40, 40, generator=generator)
    error = (module(x) - x.clamp(min=0)).square().mean().sqrt().item()
    assert 0.005 < error < 0.1  # max(x, 0) itself deviates by 0.58


def test_random_init_is_xaviers():
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return ContextModule(
            8, form="large", init="random", generator=generator
        )

    module = draw(0)
    weight = module.layers.layer4.weight
    assert torch.equal(weight, draw(0).layers.layer4.weight)
    assert not torch.equal(weight, draw(1).layers.layer4.weight)
    fan = 9 * (weight.shape[0] + weight.shape[1])
    assert weight.abs().max() <= (6 / fan) ** 0.5
    assert weight.std().item() == pytest.approx((2 / fan) ** 0.5, rel=0.05)
    assert module.layers.layer4.bias.count_nonzero() == 0


# ---- VGG-16 at an output stride


@pytest.mark.parametrize("output_stride", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(64, 80), (67, 93)])
@torch.no_grad()
def test_dilated_vgg_agrees_on_the_coarse_grid(output_stride, size):
    coarse = hed_vgg16_(VGG16(16)).double()
    dense = hed_vgg16_(VGG16(output_stride)).double()
    x = torch.rand(1, 3, *size, dtype=torch.float64)
    step = 16 // output_stride
    expected, found = coarse(hed_input(x)), dense(hed_input(x))
    found = found[..., ::step, ::step]
    h, w = expected.shape[2:]
    assert found.shape[2] >= h
    assert found.shape[3] >= w
    assert error(found[..., :h, :w], expected) < 1e-12


def test_vgg_keeps_its_field_at_every_output_stride():
    for output_stride in (1, 2, 4, 8, 16):
        last = fields(windows(strided_layers(output_stride)))[-1]
        assert (last.jump, last.size) == (output_stride, 196)


def test_features_are_named_after_their_layers():
    features = VGG16().features(torch.rand(1, 3, 32, 48))
    assert list(features)[:3] == ["conv1_1", "conv1_2", "pool1"]
    assert features["pool3"].shape == (1, 256, 4, 6)
    assert features["conv5_3"].shape == (1, 512, 2, 3)
    assert features["conv5_3"].min() >= 0
    assert count(VGG16()) == 14_714_688


def test_features_are_taken_after_relu_and_dropout():
    plan = [
        LayerSpec("a", Window(1), 2, dropout=1.0),
        LayerSpec("b", Window(1), 3),
    ]
    features = SpecStack(plan, 1).features(torch.ones(1, 1, 4, 4))
    assert list(features) == ["a", "b"]
    assert features["a"].count_nonzero() == 0  # all dropped
    assert features["b"].min() >= 0


def test_hed_weights_find_edges_in_a_real_network():
    """A checkerboard excites the first layer, a blank picture does not."""
    network = hed_vgg16_(VGG16())
    mean = torch.tensor([122.67892, 116.66877, 104.00699]) / 255
    blank = mean[:, None, None].expand(1, 3, 32, 32)
    squares = (torch.arange(32) // 8) % 2
    board = blank * (squares[:, None] ^ squares)
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    flat, edges = (
        network.features(hed_input(x))["conv1_2"][inner].std()
        for x in (blank, board)
    )
    assert edges > 10 * flat
    assert hed_input(blank).abs().max() < 1e-4


# ---- whole networks: pictures of any size, devices, dtypes


@pytest.mark.parametrize("name", RELEASED)
@pytest.mark.parametrize("size", [(64, 96), (61, 83)])
def test_pictures_of_any_size_on_the_meta_device(name, size):
    network = meta(name)
    picture = torch.empty(2, 3, *size, device="meta")
    classes = network.context.layers[-1].out_channels
    assert network(picture).shape == (2, classes, *size)
    padded = torch.empty(1, 3, 900, 900, device="meta")
    assert network.logits_of_padded(padded).shape == (1, classes, 66, 66)


@torch.no_grad()
def test_a_picture_is_its_scores_upsampled():
    network = DilationNet(2).double().eval()
    reference_fill_(network)
    x = reference_input(1, 3, 21, 16)
    margins = ((0, 0), (0, 0), (186, 189), (186, 186))
    padded = torch.from_numpy(np.pad(x.numpy(), margins, mode="reflect"))
    assert torch.equal(pad(x), padded)
    final = network.front_end.logits_of_padded(padded)
    assert final.min() < 0  # a ReLU between the two halves would show
    scores = network.context(final)
    assert torch.equal(network.logits_of_padded(padded), scores)
    assert scores.shape == (1, 2, 3, 2)
    # Score (i, j) stands at pixel (8 i + 3.5, 8 j + 3.5); borders are held.
    for axis, shape in ((2, (21, 1)), (3, (16,))):
        last = scores.shape[axis] - 1
        place = (torch.arange(max(shape)).double() - 3.5) / 8
        place = place.clamp(0, last)
        below = place.long()
        scores = torch.lerp(
            scores.index_select(axis, below),
            scores.index_select(axis, (below + 1).clamp(max=last)),
            place.frac().view(shape),
        )
    torch.testing.assert_close(network(x), scores)


def test_only_vocs_context_is_large_and_pads_its_first_layer():
    """The deploy files; the fingerprints hold no pads for two of them."""
    plans = {n: meta(n).context for n in RELEASED}
    assert {n: (c.form, c.padding) for n, c in plans.items()} == {
        "dilation8_voc": ("large", "first"),
        "dilation8_camvid": ("basic", "same"),
        "dilation7_kitti": ("basic", "same"),
        "dilation10_cityscapes": ("basic", "same"),
    }


def test_reflect_pad_is_torchs_and_numpys():
    x = torch.rand(1, 2, 9, 7)
    expected = torch.nn.functional.pad(x, (4, 5, 4, 6), mode="reflect")
    assert torch.equal(reflect_pad(x, 4, (6, 5)), expected)
    far = reflect_pad(x, 20, (30, 11))[0, 0].numpy()
    expected = np.pad(x[0, 0].numpy(), ((20, 30), (20, 11)), mode="reflect")
    assert (far == expected).all()


# ---- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: zoo.build("dilation8_vok"), "did you mean 'dilation8_voc'"),
        (
            lambda: zoo.build("unet"),
            "Segmentation.*dilation10_cityscapes.*hed.*drn_",
        ),
        (lambda: ContextModule(0), "num_classes=0"),
        (lambda: ContextModule(3, levels=4), "levels=4"),
        (lambda: ContextModule(3, form="huge"), "form='huge'"),
        (lambda: ContextModule(3, padding="valid"), "padding='valid'"),
        (lambda: ContextModule(3, init="xavier"), "init='xavier'"),
        (lambda: identity_init_(ContextModule(3), noise=-1), "noise=-1"),
        (lambda: FrontEnd(0), "num_classes=0"),
        (lambda: VGG16(32), r"output_stride=32.*\[1, 2, 4, 8, 16\]"),
        (lambda: SpecStack([LayerSpec("a", Window(1), 1)] * 2, 1), "unique"),
        (lambda: reflect_pad(torch.rand(1, 3, 1, 9), 1, (1, 1)), "below 2"),
        (lambda: reflect_pad(torch.rand(1, 3, 9, 9), -1, (1, 1)), "-1"),
        (
            lambda: meta("dilation8_voc").logits_of_padded(
                torch.empty(1, 3, 901, 900, device="meta")
            ),
            r"\(1, 3, 901, 900\).*372 more",
        ),
        (
            lambda: meta("dilation8_voc").logits_of_padded(
                torch.empty(1, 3, 372, 900, device="meta")
            ),
            "372",
        ),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
