"""Every recipe, held to its network, its sources and the published counts."""

import difflib
import math
import re
from dataclasses import replace

import pytest
import torch
from references import count

from atrous.convert.pretrained import hed_input
from atrous.datasets.augment import steps
from atrous.datasets.catalogue import DATASETS
from atrous.recipes import schedules
from atrous.recipes.building import build, part
from atrous.recipes.normalisation import freeze_
from atrous.recipes.objectives import Supervised
from atrous.recipes.plain_data import override
from atrous.recipes.published import RECIPES, recipe
from atrous.recipes.recipe import Pixels, from_json

pytestmark = pytest.mark.filterwarnings("ignore:on a feature map of")
# One of each kind; the others of ImageNet differ in the network only.
NAMES = [n for n in RECIPES if "imagenet" not in n or n.startswith("drn_c_58")]


def network_of(found):
    with torch.device("meta"):
        network = build(found.network)
    return freeze_(network) if found.normalisation == "frozen" else network


def side(found):
    """Height and width that its network can take, small ones."""
    return (436, 500) if found.loss.places == "window" else (65, 97)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_goes_to_json_and_every_value_has_a_source(name):
    found = RECIPES[name]
    assert from_json(found.to_json()) == found
    assert found.name == name
    assert [p for p, _ in found.values() if not found.source(p)] == []
    paths = [path for path, _ in found.values()]
    unused = [
        source
        for source in found.sources
        if source
        and not any(f"{path}.".startswith(f"{source}.") for path in paths)
    ]
    assert unused == []
    assert all(aim.value > 0 and aim.what and aim.source for aim in found.aims)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_reaches_all_that_is_trained(name):
    """On the meta device: the network, its groups, its loss, its weights."""
    found = RECIPES[name]
    network = network_of(found).train()
    if found.normalisation == "frozen":
        freeze_(network)
    groups = schedules.parameter_groups(network, found.optimiser)
    assert all(group["lr"] > 0 for group in groups)
    if found.network.initial:
        assert count(part(network, found.network.initial)) > 0
    supervised = Supervised(network, found.loss).to("meta")
    size = side(found)
    labels = torch.zeros(2, *size, dtype=torch.int64, device="meta")
    if found.evaluation.metric == "top-1 error":
        labels = labels[:, 0, 0]
    maps = supervised.maps(network, torch.rand(2, 3, *size, device="meta"))
    if found.loss.kind == "cross_entropy":
        assert len(maps) == len(supervised.targets(labels))
        for logits, target in zip(
            maps, supervised.targets(labels), strict=True
        ):
            assert logits.shape[2:] == target.shape[1:]
            assert logits.shape[1] == found.network.options["num_classes"]
    sum(y.sum() for y in maps).backward()
    trained = [p for group in groups for p in group["params"]]
    assert all(p.grad is not None for p in trained)
    # What is frozen by a rule or by its normalisation has no gradient.
    assert len(trained) == sum(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("name", RECIPES)
def test_classes_data_and_schedule_fit(name):
    found = RECIPES[name]
    source = DATASETS[found.data.name]
    assert found.data.split in source.splits
    assert found.evaluation.split in source.splits
    classes = found.network.options.get("num_classes")
    assert (classes is None) == (source.task == "edges")
    if found.data.void is not None:
        assert found.data.void == classes - 1
    rates = [
        schedules.factor(found.schedule, time, found.length)
        for time in range(found.length)
    ]
    assert rates[0] == 1
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] > 0


@pytest.mark.parametrize("name", RECIPES)
def test_it_is_measured_on_the_pictures_of_its_aims(name):
    """But where the labels of test are with the data set's server."""
    found = RECIPES[name]
    known = found.data.name not in ("voc", "voc_aug", "cityscapes")
    aims = " ".join(aim.what for aim in found.aims)
    wanted = "test" if known and " test" in aims else "val"
    assert found.evaluation.split == wanted


# ---- against the facts of the papers, as far as they can be computed


@pytest.mark.parametrize(
    ("crop", "places"), [(900, 66), (628, 32), (852, 60), (1396, 128)]
)
def test_crops_of_yu_and_koltun_give_the_published_places(crop, places):
    found = RECIPES["yu_front_end_camvid"]
    supervised = Supervised(network_of(found), found.loss)
    assert supervised.sizes((crop, crop)) == [(places, places)]
    labels = torch.arange(crop**2).view(1, crop, crop)
    (target,) = supervised.targets(labels)
    # Every 8th pixel from offset 186.
    assert target.shape == (1, places, places)
    assert target[0, 1, 2] == (186 + 8) * crop + 186 + 16


def test_rates_of_the_groups():
    """Per group: rate, decay and what is in it, as the papers' code has it."""
    for name, wanted in {
        "deeplabv2_resnet101_msc_voc": {
            (2.5e-4, 5e-4): 104,  # frozen norms leave the convolutions
            (2.5e-3, 5e-4): 4,
            (5e-3, 0.0): 4,
        },
        "hed_bsds500": {
            (1e-6, 2e-4): 10,
            (2e-6, 0.0): 10,
            (1e-4, 2e-4): 3,
            (2e-4, 0.0): 3,
            (1e-8, 2e-4): 5,
            (2e-8, 0.0): 5,
            (1e-9, 2e-4): 1,
            (2e-9, 0.0): 1,
        },
    }.items():
        found = RECIPES[name]
        groups = schedules.parameter_groups(network_of(found), found.optimiser)
        counts = {
            (g["lr"], g["weight_decay"]): len(g["params"]) for g in groups
        }
        assert {
            tuple(float(f"{v:.9g}") for v in key): count
            for key, count in counts.items()
        } == wanted, name


def test_only_the_context_learns_on_a_trained_front_end():
    found = RECIPES["yu_context_voc"]
    network = network_of(found)
    schedules.parameter_groups(network, found.optimiser)
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert trained == 6_803_139  # the large module of 21 classes


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("yu_front_end_voc", 134_346_581),
        ("yu_joint_camvid", 134_313_443),
        ("yu_joint_kitti", 134_312_343),
        ("yu_joint_cityscapes", 134_368_179),
        ("deeplabv2_largefov_voc", 20_505_429),
        ("deeplabv2_aspp_l_voc", 37_877_652),
        ("deeplabv2_resnet101_msc_voc", 44_048_532),
        ("deeplabv3_resnet101_voc_os16", 58_040_661),
        ("deeplabv3_resnet101_voc_os8", 58_040_661),
        ("drn_c_58_imagenet", 40_542_008),
        ("drn_d_105_imagenet", 54_801_304),
        ("espnet_cityscapes", 365_109),
        ("bdcn_bsds500", 16_302_120),
    ],
)
def test_networks_have_the_published_counts(name, parameters):
    assert count(network_of(RECIPES[name])) == parameters


def test_how_long_a_training_is():
    patches = RECIPES["hdc_duc_resnet101_cityscapes"]
    assert patches.repeats * DATASETS["cityscapes"].splits["train"] == 35_700
    assert DATASETS["bsds500_aug"].splits["train"] == 28_800
    first = RECIPES["deeplabv3_resnet101_voc_os16"]
    epochs = first.length * first.batch / DATASETS["voc_aug"].splits["train"]
    assert epochs == pytest.approx(45.36, abs=0.01)


def test_paddings_become_zero():
    for name in ("deeplabv2_largefov_voc", "deeplabv3_resnet101_voc_os16"):
        found = RECIPES[name]
        colour = torch.tensor(found.augmentations[0].pad_picture)
        zero = found.pixels(colour[:, None, None])
        assert zero.abs().max() < 1e-4


def test_pixels_of_hed_are_those_of_its_weights():
    picture = torch.rand(1, 3, 4, 5)
    torch.testing.assert_close(
        RECIPES["hed_bsds500"].pixels(picture), hed_input(picture)
    )


def test_pixels_of_espnet_are_divided_twice():
    """(v - mean) / std, and then by 255, of grey levels v."""
    pixels = RECIPES["espnet_camvid"].pixels
    blue = torch.zeros(3, 1, 1)
    blue[2] = 1.0
    found = pixels(blue)[:, 0, 0]
    expected = torch.tensor(
        [(255 - 109.98) / 78.03, -108.19 / 79.14, -104.80 / 78.08]
    )
    torch.testing.assert_close(found, expected / 255, rtol=1e-4, atol=0)
    assert Pixels().colour() == (0.485, 0.456, 0.406)


def test_the_second_stage_of_v3_follows_the_first():
    first = RECIPES["deeplabv3_resnet101_voc_os16"]
    second = RECIPES["deeplabv3_resnet101_voc_os8"]
    assert second.network.initial.part == ""
    states = [network_of(r).state_dict() for r in (first, second)]
    shapes = [{n: t.shape for n, t in s.items()} for s in states]
    assert shapes[0] == shapes[1]
    assert second.optimiser.lr == pytest.approx(first.optimiser.lr / 7)
    assert first.evaluation.scales == steps(0.5, 1.75, 0.25)
    groups = schedules.parameter_groups(network_of(second), second.optimiser)
    total = sum(p.numel() for p in network_of(second).parameters())
    norms = total - sum(p.numel() for g in groups for p in g["params"])
    assert norms > 0
    assert math.isclose(
        schedules.factor(first.schedule, 15_000, 30_000), 0.5**0.9
    )


# ---- names and errors


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(ValueError, match="did you mean 'hed_bsds500'"):
        recipe("hed_bsds50")
    close = difflib.get_close_matches("drn_d_22_imagnet", RECIPES, n=1)
    assert recipe(close[0]) is RECIPES["drn_d_22_imagenet"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("length=0", "length=0: must be at least 1"),
        ("batch=0", "batch=0: must be at least 1"),
        ("repeats=0", "repeats=0: must be at least 1"),
        ("optimiser.clip=0", "optimiser.clip=0.0: must be more than 0"),
        ("pixels.std=[1, 0, 1]", "pixels.std=[1.0, 0.0, 1.0]: must be more"),
        ("optimiser.lr=0", "optimiser.lr=0.0: must be more than 0"),
        ("unit=steps", "unit='steps': must be one of"),
        ("loss.places=pixel", "loss.places='pixel': must be one of"),
        ("normalisation=sync", "normalisation='sync': must be one of"),
        ("optimiser.rules.0.kind=w", "optimiser.rules.0.kind='w': must be"),
        ('augmentations=[{"flip": 2}]', "flip=2"),
    ],
)
def test_wrong_values_are_named(setting, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        override(RECIPES["hed_bsds500"], setting)


def test_the_table_has_all_that_is_switched_on():
    found = RECIPES["espnet_camvid"]
    lines = found.table().splitlines()
    shown = {line.split()[0] for line in lines[1 : -len(found.aims)]}
    on = {path for path, value in found.values() if value}
    assert shown < on
    kinds = "optimiser.", "schedule.", "loss.", "augmentations.0.aspect."
    assert all(path.startswith(kinds) for path in on - shown)
    assert "optimiser.lr" in shown
    assert "augmentations.0.crop" not in shown
    assert "55.64" in lines[-1]
    nothing = replace(found, sources={})
    assert nothing.source("optimiser.lr") == ""
    longest = replace(found, sources={"optimiser": "a", "optimiser.lr": "b"})
    assert longest.source("optimiser.lr") == "b"
    assert longest.source("optimiser.kind") == "a"


def test_a_table_shows_what_is_off_where_it_is_usually_on():
    """Biases without decay, a front end that stays, doubts that count."""
    for name, path in (
        ("yu_context_voc", "optimiser.rules.0.weight_decay"),
        ("yu_context_voc", "optimiser.rules.1.lr"),
        ("hed_bsds500", "loss.doubtful"),
    ):
        lines = recipe(name).table().splitlines()
        found = [line.split()[1] for line in lines if line.startswith(path)]
        assert found in (["0.0"], ["false"])


def test_a_table_shows_what_is_read_and_nothing_else():
    """Adam's betas are none of SGD's business, and eta none of a class's."""
    shown = {
        name: {line.split()[0] for line in recipe(name).table().splitlines()}
        for name in (
            "deeplabv3_resnet101_voc_os16",
            "hed_bsds500",
            "espnet_camvid",
        )
    }
    v3, hed, espnet = shown.values()
    for here, absent in (
        (v3, ("optimiser.betas", "loss.eta", "schedule.factor")),
        (hed, ("optimiser.betas", "loss.mean", "schedule.power")),
        (espnet, ("optimiser.momentum", "loss.fusion", "schedule.power")),
    ):
        assert not here & {*absent}
    assert "schedule.power" in v3
    assert "loss.eta" in hed
    assert "optimiser.betas" in espnet
    assert not {path for path in v3 if ".aspect." in path}
