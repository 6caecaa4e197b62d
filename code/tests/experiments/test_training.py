import itertools

import pytest
import torch
from torch import nn

from atrous.datasets.pairs import IGNORE
from atrous.experiments import tasks, training
from atrous.experiments.metrics import (
    Scores,
    boundary_band,
    confusion,
    evaluate,
    iou,
)


def stack_of(width=4):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 8, 1),
    )


def batches(seed=0):
    return tasks.stream(
        tasks.mosaics,
        2,
        size=24,
        generator=torch.Generator().manual_seed(seed),
    )


# ---- fit


def test_fit_lowers_the_loss_and_repeats_itself():
    runs = []
    for _ in range(2):
        with training.reproducible(3) as generator:
            model = stack_of()
            source = tasks.stream(
                tasks.shapes, 4, size=24, extent=(8, 16), generator=generator
            )
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
            runs.append(training.fit(model, source, optimizer, steps=40))
    assert runs[0] == runs[1]
    assert len(runs[0]) == 40
    assert sum(runs[0][-5:]) < 0.95 * sum(runs[0][:5])


def test_reproducible_restores_the_state():
    torch.manual_seed(7)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    with training.reproducible(0) as generator:
        assert torch.get_num_threads() == 1
        own = torch.rand(3, generator=generator)
        assert torch.equal(torch.rand(3), own)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads


def test_reproducible_fixes_algorithms_and_puts_flags_back(monkeypatch):
    flags = torch.backends.cudnn
    monkeypatch.setattr(flags, "benchmark", True)
    monkeypatch.setattr(flags, "allow_tf32", True)
    with training.reproducible(0):
        assert flags.deterministic
        assert not flags.benchmark
        assert not flags.allow_tf32
    assert flags.benchmark
    assert flags.allow_tf32
    assert not flags.deterministic


@pytest.mark.parametrize(
    ("kind", "found"), [(None, "cpu"), ("mps", "cpu"), ("cuda", "cuda")]
)
def test_find_device_knows_float64_and_has_no_tf32(monkeypatch, kind, found):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(
        torch.accelerator,
        "current_accelerator",
        lambda check_available: kind and torch.device(kind),
    )
    assert training.find_device().type == found
    assert not torch.backends.cudnn.allow_tf32


def test_fit_takes_one_step_of_plain_sgd():
    """One weight, squared error: the update is known."""
    model = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    batch = (torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = training.poly(optimizer, 2, power=1.0)

    def squared(logits, labels):
        return (logits - labels).square().mean()

    losses = training.fit(
        model,
        [batch, batch],
        optimizer,
        steps=2,
        scheduler=schedule,
        loss=squared,
    )
    # 2 - 0.1 * 4 = 1.6; at half the rate, 1.6 - 0.05 * 3.2 = 1.44
    assert losses == pytest.approx([4.0, 2.56])
    assert model.weight.item() == pytest.approx(1.44)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            lambda o: training.poly(o, 10),
            [(1 - i / 10) ** 0.9 for i in range(10)],
        ),
        (
            lambda o: training.step_decay(o, 3),
            [0.1 ** (i // 3) for i in range(10)],
        ),
    ],
)
def test_schedules(make, expected):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([2.0 * e for e in expected])


def test_cross_entropy_upsamples_and_ignores():
    logits = torch.zeros(1, 2, 2, 2)
    logits[:, 1] = 3.0
    labels = torch.ones(1, 8, 8, dtype=torch.long)
    labels[:, :4] = IGNORE
    expected = torch.log1p(torch.exp(torch.tensor(-3.0)))
    assert training.cross_entropy(logits, labels).item() == pytest.approx(
        expected.item()
    )


def test_parameter_groups():
    model = nn.ModuleDict({"front": stack_of(), "context": stack_of()})
    model.front[0].weight.requires_grad_(False)
    groups = training.parameter_groups(
        model,
        lr=0.1,
        factors={"context": 10, "context.2": 5},
        bias_factor=2,
        weight_decay=1e-3,
    )
    found = {
        id(p): (g["lr"], g["weight_decay"])
        for g in groups
        for p in g["params"]
    }
    named = dict(model.named_parameters())
    assert len(found) == len(named) - 1
    expected = {
        "front.2.weight": (0.1, 1e-3),
        "front.2.bias": (0.2, 0),
        "context.0.weight": (1.0, 1e-3),
        "context.0.bias": (2.0, 0),
        "context.2.weight": (0.5, 1e-3),
    }
    for name, values in expected.items():
        assert found[id(named[name])] == pytest.approx(values), name
    with pytest.raises(ValueError, match=r"factors=\['head'\]"):
        training.parameter_groups(model, lr=0.1, factors={"head": 2})
    torch.optim.SGD(groups)


def test_fit_refuses_what_cannot_work():
    model = stack_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="steps=0"):
        training.fit(model, batches(), optimizer, steps=0)
    few = itertools.islice(batches(), 2)
    with pytest.raises(ValueError, match="ran out after 2 of 3"):
        training.fit(model, few, optimizer, steps=3)
    nn.init.constant_(model[2].bias, float("nan"))
    with pytest.raises(FloatingPointError, match="nan at step 0"):
        training.fit(model, batches(), optimizer, steps=3)


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_a_batch_without_labels_moves_nothing(optimizer):
    """Random crops of real pictures hold such; the steps are counted."""
    options = {"SGD": {"momentum": 0.9}}.get(optimizer, {})
    model, source = stack_of(), iter(batches())
    make = getattr(torch.optim, optimizer)
    steps = make(model.parameters(), lr=0.1, weight_decay=0.1, **options)
    training.fit(model, source, steps, steps=2)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    x, y = next(source)
    empty = [(x, torch.full_like(y, 255))] * 3
    schedule = training.poly(steps, 4)
    losses = training.fit(model, empty, steps, steps=3, scheduler=schedule)
    assert losses == [0.0] * 3
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert schedule.last_epoch == 0
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = training.cross_entropy(logits, torch.full((1, 8, 8), 255))
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


def test_dictionaries_of_torchvisions_networks():
    plain, source = stack_of(), iter(batches())
    named = lambda_module(lambda x: {"out": plain(x), "aux": x})
    x, y = next(source)
    found, expected = (
        evaluate(network, [(x, y)], classes=8).mean_iou
        for network in (named, plain)
    )
    assert found == expected
    loss = training.cross_entropy(named(x), y)
    assert loss == training.cross_entropy(plain(x), y)


# ---- scores


def test_confusion_and_iou_by_hand():
    labels = torch.tensor([[[0, 0, 1], [1, 2, 255]]])
    guess = torch.tensor([[[0, 1, 1], [1, 0, 2]]])
    counts = confusion(guess, labels, 4)
    assert counts.tolist() == [
        [1, 1, 0, 0],
        [0, 2, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    scores = iou(counts)
    assert scores[:3].tolist() == pytest.approx([1 / 3, 2 / 3, 0])
    assert scores[3].isnan()


def test_boundary_band_by_hand():
    labels = torch.zeros(1, 5, 8, dtype=torch.long)
    labels[..., 4:] = 1
    for width in (1, 2, 3):
        band = boundary_band(labels, width)
        expected = torch.zeros(8, dtype=torch.bool)
        expected[4 - width : 4 + width] = True
        assert torch.equal(band, expected.expand(1, 5, 8))
    labels[..., 4:] = IGNORE
    assert not boundary_band(labels, 3).any()
    corner = torch.zeros(1, 6, 6, dtype=torch.long)
    corner[0, 0, 0] = 1
    band = boundary_band(corner, 2)
    assert band.sum() == 8  # 3 x 3 without its far corner
    assert not band[0, 2, 2]


class Constant(nn.Module):
    """Always predicts one class, at a quarter of the resolution."""

    def __init__(self, index):
        super().__init__()
        self.index = index

    def forward(self, x):
        logits = torch.zeros(len(x), 2, x.shape[2] // 4, x.shape[3] // 4)
        logits[:, self.index] = 1
        return logits


def test_evaluate_by_hand():
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[..., 6:] = 1
    batch = (torch.zeros(1, 3, 8, 8), labels)
    found = evaluate(Constant(0), [batch, batch], classes=2, band=1)
    assert found == Scores((0.75, 0.0), 0.375, 0.25)
    perfect = evaluate(
        lambda_module(
            lambda x: nn.functional.one_hot(labels, 2).movedim(3, 1).float()
        ),
        [batch],
        classes=2,
    )
    assert perfect == Scores((1.0, 1.0), 1.0, 1.0)


def test_one_logit_against_a_background_of_zero():
    labels = torch.arange(64).view(1, 8, 8) % 2
    z = torch.where(labels == 1, 3.0, -2.0)[:, None]
    network = lambda_module(lambda x: torch.cat([0 * z, z], 1))
    found = evaluate(network, [(z, labels)], classes=2)
    assert found.iou == (1.0, 1.0)


def lambda_module(function):
    class Wrapped(nn.Module):
        def forward(self, x):
            return function(x)

    return Wrapped()


INTS = torch.tensor([0, 1])


def evaluated(output, shape=(1, 4, 4), *, classes=2):
    labels = torch.zeros(shape, dtype=torch.long)
    network = lambda_module(lambda x: output)
    return evaluate(network, [(labels, labels)], classes=classes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: confusion(INTS.view(1, 2), INTS.view(2, 1), 2),
            r"\(1, 2\).*\(2, 1\)",
        ),
        (
            lambda: confusion(torch.tensor([0]), torch.tensor([3]), 3),
            "labels hold class 3: there are 3",
        ),
        (
            lambda: confusion(torch.tensor([-1]), torch.tensor([0]), 3),
            "prediction hold class -1",
        ),
        (
            lambda: confusion(torch.tensor([0.9, 0.2]), INTS, 2),
            r"prediction of torch.float32: .*logits.argmax\(1\)",
        ),
        (
            lambda: confusion(INTS, torch.tensor([1.0, 0.0]), 2),
            "labels of torch.float32",
        ),
        (
            lambda: evaluated(torch.zeros(1, 1, 4, 4), classes=2),
            r"gives 1 channels, classes=2; .*torch.cat\(\[0 \* z, z\], 1\)",
        ),
        (
            lambda: evaluated(torch.zeros(1, 1, 4, 4), classes=1),
            "gives 1 channels, classes=1",
        ),
        (
            lambda: evaluated(torch.zeros(1, 19, 4, 4), classes=21),
            "gives 19 channels, classes=21",
        ),
        (
            lambda: evaluated(torch.zeros(1, 2, 4, 4), (1, 1, 4, 4)),
            r"labels of shape \(1, 1, 4, 4\): must be \(1, H, W\)",
        ),
        (
            lambda: evaluated({"features": torch.zeros(1, 2, 4, 4)}),
            r"gives a dict of \['features'\]: must be logits",
        ),
        (
            lambda: training.cross_entropy(
                torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4).long()
            ),
            "labels of shape",
        ),
        (lambda: boundary_band(torch.zeros(1, 2, 2), 0), "width=0"),
        (lambda: evaluate(stack_of(), [], classes=2), "batches"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_progress_bar_shows_and_leaves_nothing(monkeypatch, capsys):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    bars = []

    class Loud(training.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, disable=False, **kwargs)
            bars.append(self)

    monkeypatch.setattr(training, "tqdm", Loud)
    model = stack_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    training.fit(model, batches(), optimizer, steps=3, title="seed 0")
    shown = capsys.readouterr().err
    assert "seed 0" in shown
    assert shown.split("\r")[-2].strip() == ""
    assert not bars[0].leave
