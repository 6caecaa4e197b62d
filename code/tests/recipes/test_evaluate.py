"""Evaluation equals a plain one, on pictures that the test writes."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch import nn
from torch.nn.functional import interpolate

from atrous.crf.dense_crf import dense_crf
from atrous.datasets.bsds500 import BSDS500
from atrous.datasets.pairs import IGNORE
from atrous.edges import benchmark
from atrous.edges.thinning import suppress
from atrous.recipes.__main__ import main
from atrous.recipes.evaluate import label_map, measure
from atrous.recipes.inference import (
    FUSED,
    in_tiles,
    picture_scores,
    pixel_scores,
    tile_starts,
)
from atrous.recipes.processes import Process
from atrous.recipes.published import RECIPES, recipe
from atrous.recipes.recipe import Evaluation, Pixels
from atrous.recipes.trained import trained

ALONE = Process(0, 1, torch.device("cpu"))


class Data:
    """Three pictures of random classes, one of them hardly labelled."""

    classes = ("a", "b", "c")

    def __init__(self):
        numbers = torch.Generator().manual_seed(0)
        self.items = []
        for size in ((12, 17), (9, 9), (20, 14)):
            labels = torch.randint(3, size, generator=numbers)
            labels[2:7] = IGNORE
            picture = torch.rand(3, *size, generator=numbers)
            self.items.append((picture, labels))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


class Tiny(nn.Module):
    """Logits of four classes, the last of them for pixels without label."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.conv(x)


def under_test(name="espnet_camvid", **changes):
    found = recipe(name)
    test = dataclasses.replace(found.evaluation, **changes)
    pixels = Pixels(mean=(0.1, 0.2, 0.3), std=(1, 2, 3))
    return dataclasses.replace(found, evaluation=test, pixels=pixels)


PLAIN = {
    "probabilities": lambda z: z.softmax(0),
    "log probabilities": lambda z: z.log_softmax(0),
    "logits": lambda z: z,
    "maximum": lambda z: z,
}


def plain_scores(network, picture, test):
    """What `pixel_scores` computes, view by view."""
    found = []
    for scale in test.scales:
        for flip in {False, test.flip}:
            size = [round(n * scale) for n in picture.shape[1:]]
            x = interpolate(picture[None], size, mode="bilinear")[0]
            x = x.flip(2) if flip else x
            x = torch.stack(
                [(x[i] - m) / s for i, (m, s) in enumerate(ZIPPED)]
            )
            z = network(x[None])[0]
            z = z.flip(2) if flip else z
            z = interpolate(z[None], picture.shape[1:], mode="bilinear")[0]
            found.append(PLAIN[test.fusion](z))
    found = torch.stack(found)
    return found.amax(0) if test.fusion == "maximum" else found.mean(0)


ZIPPED = ((0.1, 1), (0.2, 2), (0.3, 3))


@pytest.mark.parametrize("fusion", PLAIN)
@pytest.mark.parametrize("flip", [False, True])
@torch.no_grad()
def test_sizes_and_mirror_images_are_fused(fusion, flip):
    made = under_test(scales=(0.75, 1.0, 1.5), flip=flip, fusion=fusion)
    network = Tiny()
    for picture, _ in Data().items:
        found = pixel_scores(network, made, picture)
        expected = plain_scores(network, picture, made.evaluation)
        torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_tiles_of_a_network_without_a_field_are_the_whole():
    x = torch.rand(1, 3, 23, 31)
    point = nn.Conv2d(3, 2, 1)
    for side in (0, 8, 23, 40):
        torch.testing.assert_close(in_tiles(point, x, side), point(x))
    wide = nn.Conv2d(3, 2, 3, padding=1)
    assert not torch.allclose(in_tiles(wide, x, 8), wide(x))


@pytest.mark.parametrize("length", [5, 9, 10, 24, 61, 100])
def test_tiles_cover_a_line_and_overlap(length):
    starts = tile_starts(length, 9)
    assert starts[0] == 0
    assert starts[-1] == max(0, length - 9)
    assert all(0 < b - a <= 7 for a, b in itertools.pairwise(starts))


@pytest.mark.parametrize("flip", [False, True])
def test_mean_iou_is_counted_over_all_pictures(flip):
    network, data, made = Tiny(), Data(), under_test(flip=flip)
    found = measure(network, made, data, ALONE)
    hits, union, right, all_pixels = [0] * 3, [0] * 3, 0, 0
    for picture, labels in data.items:
        with torch.no_grad():
            scores = plain_scores(network, picture, made.evaluation)
        guess = scores[:3].argmax(0)
        for y, g in zip(labels.flatten(), guess.flatten(), strict=True):
            if y == IGNORE:
                continue
            all_pixels += 1
            right += int(y == g)
            for c in range(3):
                hits[c] += int(y == c and g == c)
                union[c] += int(y == c or g == c)
    each = [h / u for h, u in zip(hits, union, strict=True)]
    assert [found[c] for c in "abc"] == pytest.approx(each)
    assert found["mean IoU"] == pytest.approx(sum(each) / 3)
    assert found["pixel accuracy"] == pytest.approx(right / all_pixels)


def test_shares_of_several_processes_add_up():
    """What `Process.sum` adds over processes is added here by hand."""
    network, data, made = Tiny(), Data(), under_test()
    parts = []

    class Part(Process):
        def sum(self, numbers):
            parts.append(numbers)
            return numbers

    for rank in range(4):  # one more than there are pictures
        measure(network, made, data, Part(rank, 4, torch.device("cpu")))
    whole = []
    alone = dataclasses.replace(ALONE)
    object.__setattr__(alone, "sum", lambda n: whole.append(n) or n)
    measure(network, made, data, alone)
    assert torch.equal(sum(parts), whole[0])


def test_a_crf_refines_what_the_sizes_gave():
    network, (picture, _) = Tiny(), Data()[0]
    for fusion in ("probabilities", "logits"):
        made = under_test(fusion=fusion)
        found = label_map(network, made, picture, 3, (4.0, 6.0, 20.0))
        with torch.no_grad():
            shares = network(made.pixels(picture)[None])[0].softmax(0)
        expected = dense_crf(
            shares,
            picture.permute(1, 2, 0),
            w1=4.0,
            sigma_alpha=6.0,
            sigma_beta=20.0,
        )
        assert torch.equal(found, expected[:3].argmax(0))
    plain = label_map(network, made, picture, 3)
    assert not torch.equal(found, plain)


def test_a_classifier_sees_the_middle():
    made = under_test("drn_c_26_imagenet", resize=10, crop=8)

    def network(x):
        assert x.shape == (1, 3, 8, 8)
        return x.mean((2, 3))

    picture = torch.rand(3, 20, 30)
    with torch.no_grad():
        found = picture_scores(network, made, picture)
        small = interpolate(
            picture[None], (10, 15), mode="bilinear", antialias=True
        )
        expected = network(made.pixels(small[0, :, 1:9, 3:11])[None])[0]
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match=r"evaluation.crop=12: .*10, 15"):
        picture_scores(
            network,
            under_test("drn_c_26_imagenet", resize=10, crop=12),
            picture,
        )


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"dataset": []}, "dataset: has no picture"),
        ({"crf": (1, 2, 3), "name": "hed_bsds500"}, "not ODS"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes, error):
    made = under_test(changes.pop("name", "espnet_camvid"))
    data = changes.pop("dataset", Data())
    with pytest.raises(ValueError, match=error):
        measure(Tiny(), made, data, ALONE, **changes)


def test_a_network_with_too_few_classes_is_refused():
    with pytest.raises(ValueError, match="has 4 classes, the data set 5"):
        label_map(Tiny(), under_test(), Data()[0][0], 5)


def test_edges_are_thinned_and_counted(tmp_path, capsys):
    numbers = np.random.default_rng(0)
    for folder in ("images/test", "groundTruth/test"):
        (tmp_path / folder).mkdir(parents=True)
    drawn = np.zeros((2, 40, 48), np.uint8)
    drawn[:, 20] = 1
    pixels = numbers.integers(0, 90, (40, 48, 3), np.uint8)
    pixels[20:] += 120
    Image.fromarray(pixels).save(tmp_path / "images/test/1.jpg")
    cells = np.empty((1, 2), object)
    for i in range(2):
        cells[0, i] = {"Boundaries": drawn[i], "Segmentation": drawn[i]}
    savemat(tmp_path / "groundTruth/test/1.mat", {"groundTruth": cells})
    words = ["evaluate", "hed_bsds500", f"--data={tmp_path}"]
    out = tmp_path / "scores.json"
    more = ["--thresholds=9", "--workers=0", f"--out={out}"]
    assert main([*words, *more]) == 0
    found = json.loads(out.read_text())
    assert "published: 0.782 ODS" in capsys.readouterr().out

    network, made = trained()
    picture, annotations = BSDS500(tmp_path, "test")[0]
    with torch.no_grad():
        shares = network.probabilities(made.pixels(picture)[None])[0]
    thin = suppress(shares.numpy())
    expected = benchmark.evaluate([(thin, annotations)], thresholds=9)
    assert found["ODS"] == pytest.approx(expected.ods)
    assert found["OIS"] == pytest.approx(expected.ois)
    assert found["AP"] == pytest.approx(expected.average_precision)
    assert expected.ods > 0.3


def test_the_recipes_of_the_papers_have_a_way_to_be_tested():
    """Every fusion and metric that a recipe names is one of these."""
    for made in RECIPES.values():
        assert isinstance(made.evaluation, Evaluation)
        assert made.evaluation.fusion in FUSED
