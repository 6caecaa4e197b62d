import itertools
import re

import matplotlib as mpl
import pytest
import torch
from torch import nn

mpl.use("agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch

from atrous import zoo
from atrous.experiments import figures
from atrous.experiments.calls import record_calls, stages, step_after
from atrous.experiments.drawings import draw_networks

TRUNK = {
    "stem": ("backbone.conv1", "backbone.maxpool"),
    **{f"block{i}": f"backbone.layer{i}." for i in (1, 2, 3, 4)},
}
PARALLEL = TRUNK | {
    "ASPP": [
        "head.aspp.branches.*",
        "head.aspp.pooled",
        "head.aspp.concatenation",
    ],
    "fusion": "head.aspp.project",
    "scores": "head.classifier",
    "upsampling": "interpolation",
}


@pytest.fixture(autouse=True)
def style():
    with plt.rc_context():
        figures.use_style()
        yield
    plt.close("all")


def network(name="deeplabv3_resnet50", rows=PARALLEL, size=513, **options):
    with torch.device("meta"):
        built = zoo.build(name, **options)
    return stages(record_calls(built, size), rows)


def chain(*layers, size=32):
    """Stages of a network of layers, one a row."""
    calls = record_calls(nn.Sequential(*layers), size)
    return stages(calls, {call.name: call.name for call in calls})


def words(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def boxes(figure):
    """Widths of each box on top and at the bottom."""
    outlines = [p for p in figure.axes[0].patches if not p.get_fill()]
    for patch in outlines:
        if not isinstance(patch, FancyArrowPatch):
            x = patch.get_xy()[:, 0]
            yield x[1] - x[0], x[2] - x[3]


def test_what_the_plan_says_is_what_is_drawn():
    figure = draw_networks({"a": network(output_stride=16)})
    found = words(figure)
    blocks = ["rate 1", "stride 2", "stride 2", "2", "4", "8"]
    branches = ["1×1", "6", "12", "18", "global"]
    order = iter(found)
    for word in ["stride 4", *blocks, *branches, "bilinear"]:
        assert word in order, word  # the ones after those before
    for shape in ("513 × 513 × 3", "33 × 33 × 2048", "33 × 33 × 1280"):
        assert found.count(shape) == 1


@pytest.mark.parametrize(
    ("options", "more", "fewer"),
    [
        ({"output_stride": 8}, {"rate 2", "24", "65 × 65 × 21"}, {"6", "18"}),
        ({"multi_grid": (1, 1, 1)}, {"rate 2"}, {"4", "8"}),
        ({"rates": (6, 12)}, {"33 × 33 × 1024"}, {"18", "33 × 33 × 1280"}),
        ({"num_classes": 19}, {"33 × 33 × 19"}, {"33 × 33 × 21"}),
        ({"image_pooling": False}, set(), {"global"}),
        ({"depth": 101}, {"23 residual units"}, {"6 residual units"}),
    ],
)
def test_another_plan_is_another_drawing(options, more, fewer):
    depth = options.pop("depth", 50)
    name, rows = f"deeplabv3_resnet{depth}", PARALLEL
    if not options.get("image_pooling", True):
        first, _, last = PARALLEL["ASPP"]
        rows = PARALLEL | {"ASPP": [first, last]}
    before = {*plain(draw_networks({"a": network()}))}
    after = {*plain(draw_networks({"a": network(name, rows, **options)}))}
    assert more <= after
    assert fewer <= before - after


def plain(figure):
    return [word.replace("\N{NO-BREAK SPACE}", " ") for word in words(figure)]


def test_a_box_narrows_by_the_stride_alone():
    figure = draw_networks(
        {
            "a": chain(
                nn.Conv2d(3, 4, 3, padding=1),
                nn.Conv2d(4, 4, 3, 2, 1),
                nn.Conv2d(4, 4, 3, dilation=2),  # not padded: a smaller map
                nn.Conv2d(4, 4, 3, 4, 1),
                nn.Upsample(scale_factor=8),
            )
        }
    )
    first, half, same, quarter, back = boxes(figure)
    assert first[0] == first[1] == half[0]
    assert same[0] == same[1]
    octave = half[0] - half[1]
    assert octave > 0.1
    assert quarter[0] - quarter[1] == pytest.approx(2 * octave)
    assert back == pytest.approx((quarter[1], first[0]))


def test_a_rate_has_its_colour_and_its_number():
    figure = draw_networks({"a": network(), "b": network(output_stride=8)})
    ax = figure.axes[0]
    coloured = {
        mpl.colors.to_rgba(figures.rate_colour(rate)): rate
        for rate in (1, 2, 4, 6, 8, 12, 16, 18, 24, 36)
    }
    seen = []
    for field in ax.patches:
        rate = coloured.get(field.get_facecolor())
        if rate is None or isinstance(field, FancyArrowPatch):
            continue
        x, y = field.get_xy().T
        inside = [
            text.get_text()
            for text in ax.texts
            if x.min() < text.get_position()[0] < x.max()
            and y.min() < text.get_position()[1] < y.max()
        ]
        assert len(inside) == 1
        if not inside[0].startswith("stride"):  # which says that it is 1
            assert int(re.search(r"\d+$", inside[0])[0]) == rate
        else:
            assert rate == 1
        seen.append(rate)
    assert {*seen} == {*coloured.values()}
    legend = words(figure)[-len(coloured) :]
    assert legend == [str(rate) for rate in sorted(coloured.values())]
    chips = [c.get_facecolor()[0] for c in ax.collections[-len(coloured) :]]
    assert [coloured[tuple(c)] for c in chips] == [int(n) for n in legend]


def drns(letters):
    rows = {"stem": "backbone.stem", "scores": "seg", "up": "interpolation"}
    rows |= {f"level{i}": f"backbone.level{i}." for i in range(1, 9)}
    return {
        letter: network(f"drn_{letter}_seg", rows, 224) for letter in letters
    }


def test_shortcuts_are_drawn_where_there_are_some():
    figure = draw_networks(drns(["b_26", "c_26"]))
    arrows = [
        patch
        for patch in figure.axes[0].patches
        if isinstance(patch, FancyArrowPatch)
    ]
    assert len(arrows) == 8 + 6
    found = plain(figure)
    assert found.count("2 of 3×3") == 2  # in C alone, so under its box
    assert found.count("2 residual units") == 4  # in both: once, beside


def test_a_map_that_keeps_its_shape_is_written_down_once():
    convolution = nn.Conv2d(4, 4, 3, padding=1)
    first = nn.Conv2d(3, 4, 3, padding=1)
    found = words(draw_networks({"a": chain(first, *[convolution] * 2)}))
    assert found.count("32 × 32 × 4") == 1


def test_a_row_that_a_network_lacks_is_passed_by():
    long = chain(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, dilation=3))
    short = {title: long[title] for title in ["0"]}
    for panel in ({"a": long, "b": short}, {"b": short, "a": long}):
        found = words(draw_networks(panel))
        assert [found.count(f"rate {rate}") for rate in (1, 3)] == [2, 1]
    with pytest.raises(ValueError, match=r"'b' has \['2'\].*\['0', '1'\]"):
        draw_networks({"a": long, "b": {"2": long["1"]}})


def test_what_a_box_does_not_say_stands_beside_it():
    found = plain(draw_networks({"a": network()}))
    for line in ("7×7, max 3×3", "5 branches of 1×1", "or 3×3,"):
        assert found.count(line) == 1
    assert found.count("concatenation") == 1
    assert found.count("1×1") == 3  # a branch, fusion and scores
    rows = TRUNK | {"ASPP": ["head.*", "head.sum"], "up": "interpolation"}
    found = plain(
        draw_networks({"a": network("deeplabv2_resnet101", rows, 321)})
    )
    assert "4 branches of 3×3, sum" in " ".join(found)


def test_a_stride_beside_rates_is_told():
    strided = nn.Conv2d(3, 4, 3, 2, dilation=2)
    assert {"rate 2", "stride 2"} <= {
        *plain(draw_networks({"a": chain(strided)}))
    }
    found = plain(draw_networks({"a": network(rows={"all": ""})}))
    assert "stride 16" in "\n".join(found)


def test_a_step_has_its_words_in_its_box():
    found = network()
    found["dense CRF"] = step_after(found["upsampling"], "10 iterations")
    assert words(draw_networks({"a": found})).count("10 iterations") == 1


def test_everything_can_be_read_on_a_phone():
    """No two lines meet, and none is smaller than 7 points."""
    cascade = TRUNK | {f"block{i}": f"backbone.layer{i}." for i in (5, 6, 7)}
    cascade |= {"scores": "head", "upsampling": "interpolation"}
    name = "deeplabv3_cascade_resnet50"
    kernels = (3, 5, 7, 3, 5, 7)
    crowd = nn.Sequential(
        *(
            nn.Sequential(*(nn.Conv2d(3, 3, k, padding="same") for k in row))
            for row in (kernels, kernels)
        )
    )
    rows = {"first": "0.", "second": "1."}
    figure = draw_networks(
        {"crowd": stages(record_calls(crowd, 32), rows)},
        {s: network(name, cascade, output_stride=int(s)) for s in ("8", "16")},
        {s: network(output_stride=int(s)) for s in ("8", "16")},
        drns(["b_26", "c_26", "d_22"]),
    )
    figure.canvas.draw()
    texts = [text for text in figure.axes[0].texts if text.get_text()]
    places = [text.get_window_extent() for text in texts]
    width, height = figure.bbox.size
    for place in places:
        assert min(place.x0 + 1, place.y0) >= 0
        assert place.x1 <= width
        assert place.y1 <= height
    for (a, place), (b, other) in itertools.combinations(
        zip(texts, places, strict=True), 2
    ):
        assert not place.overlaps(other), (a.get_text(), b.get_text())
    inches = figure.get_size_inches()[0] + 0.2  # the margin of a notebook
    smallest = min(text.get_fontsize() for text in texts)
    assert smallest * 345 / 96 / inches >= 7  # a pixel is 1/96 inch
