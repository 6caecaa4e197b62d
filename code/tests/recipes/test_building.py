"""Networks of recipes and the weights they start from."""

import re

import pytest
import torch
from torch import nn

from atrous.recipes.building import build, count, part, start_
from atrous.recipes.plain_data import override
from atrous.recipes.published import RECIPES
from atrous.recipes.recipe import Initial, Network


def small(*settings):
    found = RECIPES["espnet_camvid"]
    for setting in ("network.options.q=1", *settings):
        found = override(found, setting)
    return found


def test_options_of_the_evaluation_take_the_place_of_the_others():
    found = RECIPES["deeplabv3_resnet101_voc_os16"]
    network = override(found, "network.name=deeplabv3_resnet18").network
    with torch.device("meta"):
        assert build(network).output_stride == 16
        assert build(network, output_stride=8).output_stride == 8
        several = build(RECIPES["deeplabv2_resnet101_msc_voc"].network)
    assert several.scales == (1.0, 0.75, 0.5)
    found = part(several, Initial("", "backbone"))
    assert found is several.network.backbone


def test_parts_end_where_they_are_told_to():
    with torch.device("meta"):
        network = build(Network("hed"))
    found = part(network, Initial("", "backbone", "conv2_1"))
    names = [name for name, _ in found.named_children()]
    assert names[-1] == "conv2_1"
    assert count(found)[0] < count(network)[0]
    assert found.conv1_1 is network.backbone.conv1_1
    with pytest.raises(ValueError, match=r"initial\.last='conv9'"):
        part(network, Initial("", "backbone", "conv9"))
    with pytest.raises(ValueError, match=r"initial\.part='back'"):
        part(network, Initial("", "back"))


def test_weights_of_one_recipe_start_the_next(tmp_path):
    """The encoder's state, as a run saves it, into the whole network."""
    encoder = build(override(small(), "network.name=espnet_c").network)
    file = tmp_path / "last.pt"
    torch.save({"iteration": 3, "model": encoder.state_dict()}, file)
    network = build(small().network)
    words = start_(network, small(), file=file)
    assert words == (
        f"starts from {file} as the encoder, trained by its own recipe"
    )
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(network.encoder.state_dict()[name], tensor)


def test_vgg16_with_its_classifier_starts_the_front_end(tmp_path):
    """In torchvision's layout, at a quarter of the widths and below."""
    widths = (3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2)
    names = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    state = {}
    for name, c_in, c_out in zip(names, widths, widths[1:], strict=False):
        state[f"features.{name}.weight"] = torch.rand(c_out, c_in, 3, 3)
        state[f"features.{name}.bias"] = torch.rand(c_out)
    for name, c_in, c_out in ((0, 2 * 49, 4), (3, 4, 4), (6, 4, 9)):
        state[f"classifier.{name}.weight"] = torch.rand(c_out, c_in)
        state[f"classifier.{name}.bias"] = torch.rand(c_out)
    torch.save(state, tmp_path / "vgg16.pth")
    recipe = RECIPES["yu_front_end_voc"]
    with torch.device("meta"):
        network = build(recipe.network)
    layers = network.layers  # the same layers, narrow
    for name, module in layers.named_children():
        if isinstance(module, nn.Conv2d):
            c_in = 3 if name == "conv1_1" else 4 if name == "final" else 2
            c_in = 4 if name == "fc7" else c_in
            c_out = 4 if name in ("fc6", "fc7") else 2
            narrow = nn.Conv2d(c_in, c_out, module.kernel_size)
            setattr(layers, name, narrow)
    final = layers.final.weight.clone()
    start_(network, recipe, file=tmp_path / "vgg16.pth")
    loaded = layers.state_dict()
    for ours, theirs in zip(
        [n for n in loaded if not n.startswith("final")],
        [n for n in state if not n.startswith("classifier.6")],
        strict=True,
    ):
        assert torch.equal(loaded[ours].flatten(), state[theirs].flatten())
    assert torch.equal(layers.final.weight, final)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "espnet_camvid starts from the encoder, trained by its own"),
        (
            {"file": "a.pt", "from_scratch": True},
            "--from-scratch: must be one",
        ),
    ],
)
def test_missing_weights_are_asked_for(options, message):
    network = build(small().network)
    with pytest.raises(ValueError, match=re.escape(message)):
        start_(network, small(), **options)


def test_fresh_weights_are_said_aloud():
    network, recipe = build(small().network), small()
    before = [p.clone() for p in network.parameters()]
    words = start_(network, recipe, from_scratch=True)
    assert words.startswith("STARTS FROM FRESH WEIGHTS, not from the encoder")
    assert all(map(torch.equal, before, network.parameters()))
    alone = override(recipe, "network.initial=null")
    assert start_(network, alone) == "starts from fresh weights"


def test_counts_tell_what_is_trained():
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    network[1].requires_grad_(False)
    assert count(network) == (13, 9)
