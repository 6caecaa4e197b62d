"""The explorer's presets are the package's plans, or the papers'."""

from explorer_calls import plain
from torch import nn

from atrous.arithmetic import (
    Window,
    receptive_field,
    same_padding,
    usage,
)
from atrous.backbones.drn import drn_plan
from atrous.backbones.resnet import STEM, resnet_plan
from atrous.gridding import hybrid_rates
from atrous.gridding.smoothing import SharedConvolution
from atrous.layers.aspp import (
    ASPP_L,
    ASPP_S,
    aspp_rates,
    branch_layers,
    fc_layers,
)
from atrous.layers.context import context_layers
from atrous.layers.spec import windows
from atrous.segmentation import c3net, espnet, tkcn
from atrous.segmentation.deeplabv2 import FIELDS_OF_VIEW
from atrous.segmentation.dilationnet import front_end_layers


def presets():
    """Yield names, and stacks or lists of branches of the package's."""

    def threes(units):
        found = (w for unit in units for w in unit.windows)
        return [w for w in found if w.kernel > 1]

    yield "Figure 1: rates 1, 2, 4", hybrid_rates.layers((1, 2, 4))
    for levels, name, padding in (
        (7, "Dilation7 (KITTI)", "same"),
        (8, "Dilation8 (CamVid)", "same"),
        (8, "Dilation8 (VOC)", "first"),
        (10, "Dilation10 (Cityscapes)", "same"),
    ):
        plan = context_layers(21, levels=levels, padding=padding)
        yield f"Context module, {name}", windows(plan)
    yield "Front end from conv5_1 on", windows(front_end_layers(21)[-6:])
    for name, row in FIELDS_OF_VIEW.items():
        kernel, (rate,) = row["kernel"], row["rates"]
        large = " (LargeFOV)" if name == "largefov" else ""
        plan = fc_layers(21, rate=rate, kernel=kernel, width=row["width"])
        yield f"fc6 {kernel}x{kernel}, rate {rate}{large}", windows(plan)
    for name, rates in (("ASPP-S", ASPP_S), ("ASPP-L", ASPP_L)):
        plans = [fc_layers(21, rate=rate) for rate in rates]
        listed = ", ".join(map(str, rates))
        yield f"{name}: rates {listed}", [windows(plan) for plan in plans]
    for name, levels in (
        ("C-26, levels 5 and 6", (5, 6)),
        ("C-26 with its degridding levels 7 and 8", (5, 6, 7, 8)),
        ("D-22 with its degridding levels 7 and 8", (5, 6, 7, 8)),
    ):
        plan = drn_plan(f"drn_{name[:4].lower().replace('-', '_')}")
        units = [unit for i in levels for unit in plan[f"level{i}"]]
        yield name, threes(units)
    for stride in (16, 8):
        for grid in ((1, 1, 1), (1, 2, 1), (1, 2, 4)):
            plan = resnet_plan(
                50, output_stride=stride, multi_grid=grid, first_unit="full"
            )
            name = f"Multi-Grid {grid}, output stride {stride}"
            yield name, threes(plan[3])
        plans = [branch_layers(rate=r) for r in (1, *aspp_rates(stride))]
        name = f"ASPP, output stride {stride}"
        yield name, [windows(plan) for plan in plans]
    for stride in (32, 16, 8):
        plan = resnet_plan(50, output_stride=stride)
        whole = (*STEM, *threes(unit for stage in plan for unit in stage))
        yield f"Whole, output stride {stride}", whole
        stages = threes(plan[2] + plan[3])
        yield f"res4 and res5, output stride {stride}", stages
    yield "1, 2, 5", hybrid_rates.layers((1, 2, 5))
    yield "1, 2, 9", hybrid_rates.layers((1, 2, 9))
    res4, res5 = (
        hybrid_rates.RESNET101_RATES[3],
        hybrid_rates.RESNET101_RATES[4],
    )
    yield "5, 9, 17: ResNet-101, res5", hybrid_rates.layers(res5)
    yield "ResNet-101, res4 and res5", hybrid_rates.layers(res4 + res5)
    plan = resnet_plan(101, output_stride=8, first_unit="full")
    yield "ResNet-101 before: 2 and 4", threes(plan[2] + plan[3])
    listed = ", ".join(map(str, espnet.RATES))
    alone = [hybrid_rates.layers((rate,)) for rate in espnet.RATES]
    yield f"ESPNet: rates {listed}", alone
    listed = ", ".join(map(str, c3net.RATES))
    yield f"C3: rates {listed}", [c3_branch(rate) for rate in c3net.RATES]
    yield (
        f"Kronecker {', '.join(map(str, tkcn.LEVELS))}",
        [
            (Window(side, padding=side // 2), *hybrid_rates.layers((rate,)))
            for rate, side in tkcn.LEVELS
        ],
    )
    for rate in (2, 4):
        side = SharedConvolution(rate).kernel.shape[-1]
        before = Window(side, padding=same_padding(side))
        yield f"SSC, rate {rate}", (before, *hybrid_rates.layers((rate,)))


def c3_branch(rate):
    block = c3net.C3Block(4, 4, dilation=rate)
    row, three = [m for m in block if isinstance(m, nn.Conv2d)][1:3]
    return along_x(row), along_x(three)


def along_x(convolution):
    numbers = (
        getattr(convolution, name)[1]
        for name in ("kernel_size", "stride", "dilation", "padding")
    )
    return Window(*numbers)


def sets_of(found):
    """Branches of the page's presets as Windows, by name."""
    return {
        one["name"]: [
            [
                Window(**{k: v for k, v in w.items() if k != "causal"})
                for w in s
            ]
            for s in one["branches"]
        ]
        for one in found["value"]
    }


def test_presets_are_the_packages(ask):
    (found,) = ask([["presets"]])
    right = {}
    for name, stack in presets():
        assert name not in right
        one = [stack] if isinstance(stack[0], Window) else stack
        right[name] = [plain(branch) for branch in one]
    all_of_them = {one["name"]: one["branches"] for one in found["value"]}
    assert len(all_of_them) == len(found["value"])
    shared = {name: all_of_them[name] for name in right}
    assert shared == right
    beyond = {
        one["group"] for one in found["value"] if one["name"] not in right
    }
    assert beyond == {"Large kernels", "Sequences"}
    sides = ask(
        [
            ["branches", "outputSize", [one["size"], one["branches"]]]
            for one in found["value"]
        ]
    )
    assert all(side["value"] > 0 for side in sides)  # all can be drawn


# What the package has no network of, by the numbers of the papers and of
# their code: branches, field of each, pixels covered, padded before only.
PUBLISHED = {
    "Large kernel attention (VAN)": ([23], 23, False),
    "Large kernel attention without its 5x5": ([19], 7, False),
    "UniRepLKNet, 13x13": ([13, 5, 13, 7, 9, 11], 13, False),
    "WaveNet, its first four layers": ([16], 16, True),
    "WaveNet, one cycle": ([1024], 1024, True),
    "WaveNet, three cycles": ([3 * 1023 + 1], 3070, True),
    "TCN, its first two blocks": ([1 + 2 * 6 * 3], 37, True),
    "TCN, eight blocks": ([1 + 2 * 6 * 255], 3061, True),
    "HiFi-GAN: kernels 3, 7, 11": ([25, 73, 121], 121, False),
}


def test_presets_beyond_the_package_have_the_published_fields(ask):
    (found,) = ask([["presets"]])
    ours = {name for name, _ in presets()}
    sets = sets_of(found)
    assert {*sets} - ours == {*PUBLISHED}
    for one in found["value"]:
        if one["name"] in ours:
            assert one["axes"] == 2
            continue
        spans, covered, causal = PUBLISHED[one["name"]]
        branches = sets[one["name"]]
        assert [receptive_field(stack) for stack in branches] == spans
        layers = [layer for stack in one["branches"] for layer in stack]
        assert {layer.get("causal", False) for layer in layers} == {causal}
        assert one["axes"] == (1 if one["group"] == "Sequences" else 2)
        side, reached = ask(
            [
                ["branches", "outputSize", [one["size"], one["branches"]]],
                ["branches", "reached", [one["branches"]]],
            ]
        )
        assert side["value"] == one["size"]  # all of them keep it
        assert reached["value"]["line"] == covered
    (cycle,) = sets["WaveNet, one cycle"]
    assert usage(cycle) == (1,) * 1024
    assert [w.dilation for w in cycle] == [2**i for i in range(10)]
    (three,) = sets["WaveNet, three cycles"]
    assert three == cycle * 3


def test_published_counts_of_parameters(ask):
    """Yu & Koltun's modules, and the pair that fc6 7x7 belongs to."""
    (found,) = ask([["presets"]])
    stacks = {one["name"]: one["branches"][0] for one in found["value"]}
    for name, channels, count in (
        ("Dilation7 (KITTI)", 11, 6_732),
        ("Dilation8 (CamVid)", 11, 7_832),
        ("Dilation8 (VOC)", 21, 28_392),
        ("Dilation10 (Cityscapes)", 19, 29_792),
    ):
        args = [stacks[f"Context module, {name}"], channels]
        assert ask([["arithmetic", "parameters", args]])[0]["value"] == count
