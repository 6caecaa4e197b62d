"""What is counted on paper is what a step on a CPU holds."""

import gc

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from atrous.recipes.__main__ import main
from atrous.recipes.building import build
from atrous.recipes.memory import kept_bytes, step
from atrous.recipes.objectives import Supervised
from atrous.recipes.plain_data import override
from atrous.recipes.published import RECIPES, recipe
from atrous.recipes.schedules import optimizer
from atrous.recipes.settings import PRECISIONS

SIZE, BATCH = (48, 64), 2


def small(name):
    made = recipe(name)
    changes = {
        "espnet_camvid": ("network.options.p=1", "network.options.q=1"),
        "drn_d_22_cityscapes": (),
    }
    for change in changes[name]:
        made = override(made, change)
    return made


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("espnet_camvid", "float32"),
        ("espnet_camvid", "bfloat16"),
        ("drn_d_22_cityscapes", "float32"),
        ("drn_d_22_cityscapes", "bfloat16"),
    ],
)
def test_a_step_on_a_cpu_holds_what_is_counted(name, precision):
    made = small(name)
    found = step(made, SIZE, BATCH, precision=precision)
    half = PRECISIONS[precision]
    network = build(made.network)
    classes = made.network.options["num_classes"]
    weights = torch.ones(classes) if made.loss.class_weights else None
    supervised = Supervised(network, made.loss, weights)
    pictures = torch.rand(BATCH, 3, *SIZE)
    labels = torch.randint(11, (BATCH, *SIZE))
    norms = supervised.norms(labels).float()

    def forward():
        with torch.autocast("cpu", half, enabled=half is not None):
            return supervised(pictures, labels, norms)

    kept = kept_bytes(network, forward)
    # In half precision normalisation keeps its statistics in four bytes,
    # and is counted with two.
    assert kept == pytest.approx(found.kept, rel=0.003 if half else 0)
    # Torch's own account of what is alive when the pass is done.
    gc.collect()
    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True
    ) as watched:
        loss = forward()
    alive = sum(
        event.nbytes()
        for event in watched.profiler.kineto_results.events()
        if event.name() == "[memory]"
    )
    # What was there before, and is kept: of pictures, half a copy of them is.
    given = labels.nbytes + (0 if half else pictures.nbytes)
    assert alive + given == pytest.approx(found.kept, rel=0.02)
    trained = optimizer(network, made.optimiser)
    loss.backward()
    trained.step()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert found.gradients == sum(g.nbytes for g in gradients)
    state = [
        x
        for held in trained.state.values()
        for x in held.values()
        if torch.is_tensor(x) and x.ndim  # not the counter of steps
    ]
    assert found.state == sum(x.nbytes for x in state)


def test_half_precision_halves_the_maps_and_copies_the_weights():
    """Of large pictures; what is trained stays in four bytes."""
    made = recipe("drn_d_22_cityscapes")
    whole, half, double = (
        step(made, (256, 256), 2, precision=precision)
        for precision in ("float32", "bfloat16", "float64")
    )
    assert half.weights == whole.weights
    assert half.gradients == whole.gradients
    copies = whole.gradients / 2
    maps = (half.kept - copies) / whole.kept
    assert 0.5 < maps < 0.6
    assert double.kept == pytest.approx(2 * whole.kept, rel=0.05)
    assert double.gradients == 2 * whole.gradients


def test_memory_that_tensors_share_counts_once():
    layer = nn.Conv2d(3, 3, 1)
    x = torch.rand(1, 3, 8, 8)
    once = kept_bytes(layer, lambda: layer(x).sum())
    twice = kept_bytes(layer, lambda: (layer(x) + layer(x)).sum())
    assert once == twice == x.nbytes


def test_what_is_kept_grows_with_the_batch_and_not_the_weights():
    made = small("espnet_camvid")
    one, two = (step(made, SIZE, batch) for batch in (1, 2))
    assert one.weights == two.weights
    assert 1.9 < two.kept / one.kept < 2.01


def test_frozen_norms_keep_no_statistics_and_train_nothing():
    made = small("drn_d_22_cityscapes")
    frozen = override(made, "normalisation=frozen")
    assert step(frozen, SIZE, BATCH).gradients < step(made, SIZE, 2).gradients


def test_a_finer_output_stride_needs_more(capsys):
    words = ["memory", "deeplabv3_resnet101_voc_os16", "--batch=2"]
    assert main([*words, "--crops", "321"]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    sums = {line.split()[0]: float(line.split()[-3]) for line in lines}
    assert sums["32"] < sums["16"] < sums["8"]


@pytest.mark.parametrize("name", ["hed_bsds500", "drn_a_18_imagenet"])
def test_other_tasks_are_counted(name):
    assert step(RECIPES[name], (64, 64), 1).kept > 0


def test_wrong_sizes_are_named(capsys):
    with pytest.raises(ValueError, match="batch=0"):
        step(small("espnet_camvid"), SIZE, 0)
    with pytest.raises(ValueError, match="precision='int8': must be one of"):
        step(small("espnet_camvid"), SIZE, 1, precision="int8")
    assert main(["memory", "yu_front_end_voc", "--crops", "64"]) == 1
    assert "takes no such pictures" in capsys.readouterr().err
