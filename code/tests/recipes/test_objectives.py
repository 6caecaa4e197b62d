"""A loss of a batch is the same however the batch is split."""

import copy
import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from atrous import zoo
from atrous.datasets.pairs import IGNORE
from atrous.edges.losses import deep_supervision
from atrous.recipes.batches import collate
from atrous.recipes.normalisation import SharedBatchNorm2d, freeze_, is_shared
from atrous.recipes.objectives import Supervised, class_weights
from atrous.recipes.recipe import Loss
from atrous.segmentation.base import MultiScale, Segmenter
from atrous.segmentation.dilationnet import MARGIN, Unpadded

CLASSES, SIZE = 3, (13, 18)
MEANS = ("pixels", "logits", "scales", "window")


class Small(Segmenter):
    """A segmenter at output stride 4, quick and whole."""

    def __init__(self):
        super().__init__(num_classes=CLASSES, output_stride=4)
        self.score = nn.Conv2d(3, CLASSES, 3, stride=4, padding=1)

    def logits(self, x):
        return self.score(x)


class SmallUnpadded(Unpadded):
    """A network without padding that takes a margin away."""

    def __init__(self):
        super().__init__(CLASSES)
        self.score = nn.Conv2d(3, CLASSES, 1)

    def logits_of_padded(self, x):
        inner = x[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
        return F.avg_pool2d(self.score(inner), 8)


class SmallEdges(nn.Module):
    """Three maps of logits at every pixel."""

    def __init__(self):
        super().__init__()
        self.score = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.score(x)


def case(kind):
    """A loss, a network for it, five pictures and their labels."""
    torch.manual_seed(3)
    size = SIZE
    if kind == "window":
        network, size = SmallUnpadded(), (2 * MARGIN + 16, 2 * MARGIN + 24)
    elif kind == "scales":
        network = MultiScale(Small(), scales=(0.5, 1.0))
    else:
        network = SmallEdges() if kind.startswith("edges") else Small()
    labels = torch.randint(0, CLASSES, (5, *size))
    # Labelled in parts, so that the mean of means would be another number.
    labels[torch.rand(5, *size) < torch.rand(5, 1, 1)] = IGNORE
    labels[1] = IGNORE
    loss, weights = Loss(places=kind if kind in MEANS else "pixels"), None
    if kind == "weights":
        weights = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
    elif kind == "sum":
        loss = Loss(mean=False)
    elif kind.startswith("edges"):
        loss = Loss("edges", doubtful=kind == "edges", side=0.5, negative=1.1)
        labels = (torch.rand(5, *size) * 2 - 0.5).clamp(0, 1)
    pictures = torch.rand(5, 3, *size, dtype=torch.float64)
    return Supervised(network.double(), loss, weights), pictures, labels


KINDS = (*MEANS, "weights", "sum", "edges", "edges without doubt")


def shares(supervised, pictures, labels, sizes):
    """Loss of each part of a batch, all with the norms of the batch."""
    parts = [
        *zip(pictures.split(sizes), labels.split(sizes), strict=True),
    ]
    norms = sum(supervised.norms(part) for _, part in parts).clamp(min=1)
    return [supervised(*part, norms) for part in parts]


@pytest.mark.parametrize("kind", KINDS)
def test_parts_add_up_to_the_whole(kind):
    supervised, pictures, labels = case(kind)
    (whole,) = shares(supervised, pictures, labels, [5])
    whole.backward()
    gradients = [p.grad.clone() for p in supervised.parameters()]
    for sizes in ([2, 3], [1, 1, 1, 1, 1], [4, 0, 1]):
        supervised.zero_grad()
        parts = shares(supervised, pictures, labels, sizes)
        sum(parts).backward()
        assert sum(parts).item() == pytest.approx(whole.item(), rel=1e-12)
        for p, expected in zip(
            supervised.parameters(), gradients, strict=True
        ):
            torch.testing.assert_close(p.grad, expected, rtol=1e-11, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_is_the_published_loss(kind):
    supervised, pictures, labels = case(kind)
    (whole,) = shares(supervised, pictures, labels, [5])
    network, loss = supervised.network, supervised.loss
    if kind.startswith("edges"):
        if not loss.doubtful:
            labels = (labels >= 0.5).double()
        expected = deep_supervision(
            network(pictures), labels, side=0.5, fusion=1.0, negative=1.1
        )
    elif kind == "window":
        inner = labels[:, MARGIN:-MARGIN:8, MARGIN:-MARGIN:8]
        expected = F.cross_entropy(
            network.logits_of_padded(pictures), inner, ignore_index=IGNORE
        )
    elif kind == "scales":
        maps = [*network.scale_logits(pictures), network.logits(pictures)]
        expected = sum(cross_entropy_at(y, labels) for y in maps)
    elif kind == "logits":
        expected = cross_entropy_at(network.logits(pictures), labels)
    else:
        expected = F.cross_entropy(
            network(pictures),
            labels,
            supervised.weights,
            ignore_index=IGNORE,
            reduction="mean" if loss.mean else "sum",
        ) / (1 if loss.mean else len(pictures))
    torch.testing.assert_close(whole, expected)


def cross_entropy_at(logits, labels):
    """Mean cross-entropy against the labels shrunk to the logits."""
    shrunk = F.interpolate(
        labels[:, None].double(), logits.shape[2:], mode="nearest-exact"
    )
    return F.cross_entropy(logits, shrunk[:, 0].long(), ignore_index=IGNORE)


@pytest.mark.parametrize("name", ["espnet_c", "espnet"])
def test_networks_of_the_zoo_split_alike(name):
    network = zoo.build(name, num_classes=CLASSES + 2, q=1).eval().double()
    supervised = Supervised(network, Loss(places="logits"))
    labels = torch.randint(0, CLASSES, (3, 33, 40))
    labels[0, :20] = IGNORE
    pictures = torch.rand(3, 3, 33, 40, dtype=torch.float64)
    (whole,) = shares(supervised, pictures, labels, [3])
    parts = shares(supervised, pictures, labels, [0, 1, 2])
    assert sum(parts).item() == pytest.approx(whole.item(), rel=1e-12)


def test_a_batch_without_a_label_moves_nothing():
    supervised, pictures, labels = case("pixels")
    (nothing,) = shares(
        supervised, pictures, torch.full_like(labels, IGNORE), [5]
    )
    nothing.backward()
    assert nothing.item() == 0
    assert not any(p.grad.any() for p in supervised.parameters())


def test_whole_pictures_have_a_class_each():
    network = zoo.build("drn_d_22", num_classes=4)
    supervised = Supervised(network.eval(), Loss())
    pictures, labels = torch.rand(3, 3, 16, 16), torch.tensor([0, 3, 1])
    parts = shares(supervised, pictures, labels, [2, 1])
    expected = F.cross_entropy(network(pictures), labels)
    assert sum(parts).item() == pytest.approx(expected.item(), rel=1e-5)


def test_half_precision_is_summed_in_full():
    supervised, pictures, labels = case("pixels")
    half = copy.deepcopy(supervised).bfloat16()
    wide = supervised.float()
    norms = wide.norms(labels)
    with torch.autocast("cpu", torch.bfloat16):
        found = wide(pictures.float(), labels, norms)
    assert found.dtype == torch.float64
    expected = wide(pictures.float(), labels, norms)
    assert found.item() == pytest.approx(expected.item(), rel=1e-2)
    sums = half.sums(half.maps(half.network, pictures.bfloat16()), labels)
    assert sums.dtype == torch.float32


def test_weights_of_classes():
    shares = torch.tensor([0.0, 0.2, 0.8], dtype=torch.float64)
    found = class_weights(shares, 1.1)
    expected = [1 / math.log(1.1 + share) for share in (0, 0.2, 0.8)]
    assert found.tolist() == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"offset=1\.0: must be above 1"):
        class_weights(shares, 1.0)


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ("scales", "several scales"),
        ("window", "logits_of_padded(x)"),
        ("logits", "logits(x)"),
    ],
)
def test_a_network_that_lacks_what_a_loss_needs_is_named(places, words):
    network = SmallEdges() if places == "logits" else Small()
    with pytest.raises(ValueError, match=re.escape(words)):
        Supervised(network, Loss(places=places))


def test_the_copy_without_numbers_is_no_part_of_the_module():
    supervised, *_ = case("logits")
    assert len(list(supervised.parameters())) == 2
    assert {*supervised.state_dict()} == {
        "network.score.weight",
        "network.score.bias",
    }
    assert supervised.sizes((33, 40)) == [(9, 10)]


@pytest.mark.parametrize("name", ["hdc_duc_resnet101", "drn_d_22_seg"])
def test_a_part_without_a_picture_gives_zeros(name):
    """To all that is trained, also where torch could not go back."""
    options = {"depth": 18, "unit_rates": None} if "hdc" in name else {}
    network = freeze_(zoo.build(name, num_classes=CLASSES, **options).train())
    supervised = Supervised(network, Loss(places="logits"))
    pictures, labels = collate([], (32, 32))
    assert supervised.norms(labels).tolist() == [0]
    share = supervised(pictures, labels, torch.ones(1))
    share.backward()
    assert share == 0
    for parameter in network.parameters():
        if parameter.requires_grad:
            assert parameter.grad.count_nonzero() == 0
        else:
            assert parameter.grad is None


def test_norms_that_are_shared_are_waited_for():
    norm = SharedBatchNorm2d(3)
    assert is_shared(nn.Sequential(norm))
    assert not is_shared(nn.Sequential(norm).eval())
    assert not is_shared(nn.BatchNorm2d(3))
    assert is_shared(nn.SyncBatchNorm(3))
