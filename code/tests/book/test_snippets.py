"""The snippets: equal to the package, and each runs alone as the site has it.

Their files stand in code/snippets and are quoted whole by book/snippets.md.
"""

import ast
import functools
import importlib.util
import itertools
import json
import re
import shutil
import subprocess
import sys

import pytest
import torch
from bs4 import BeautifulSoup
from torch import nn

import built_site
from atrous import arithmetic
from atrous.arithmetic import Window
from atrous.backbones.drn import drn_backbone, drn_plan
from atrous.backbones.resnet import UNITS, ResNet, resnet_plan
from atrous.convert.dilate import dilate
from atrous.crf.dense_crf import dense_crf_exact
from atrous.experiments.parity import reference_fill_, reference_input
from atrous.gridding import hybrid_rates
from atrous.gridding.smoothing import GroupInteraction, SharedConvolution
from atrous.large_kernels.dilated_reparam import BRANCHES, DilatedReparam
from atrous.large_kernels.large_kernel_attention import (
    LargeKernelAttention,
    lka_windows,
)
from atrous.layers import residual
from atrous.layers.aspp import (
    ASPP,
    SummedASPP,
    aspp_rates,
    branch_layers,
    fc_layers,
    score_layers,
)
from atrous.layers.context import ContextModule
from atrous.ops import dilated_conv
from atrous.sequences.causal import CausalConv1d
from atrous.sequences.generation import Stepper
from built_site import ROOT

FOLDER = ROOT / "code/snippets"
FILES = {path.stem: path for path in sorted(FOLDER.glob("*.py"))}
PAGE = "book/snippets.html"
MOST_LINES = 60
LEVELS = (5, 6, 7, 8)  # of a DRN


@functools.cache
def snippet(name):
    spec = importlib.util.spec_from_file_location(name, FILES[name])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(target, source):
    """Give one network the weights of another, position by position."""
    pairs = zip(target.state_dict(), source.state_dict().values(), strict=True)
    target.load_state_dict(dict(pairs))


def rand(*shape):
    generator = torch.Generator().manual_seed(7)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def assert_same_function(found, expected, x):
    """Same values, and the same gradients of input and parameters."""
    results = []
    for function in (found, expected):
        x = x.detach().requires_grad_()
        wanted = [x, *function.parameters()]
        y = function(x)
        results.append([y, *torch.autograd.grad(y.square().sum(), wanted)])
    for one, other in zip(*results, strict=True):
        scale = other.abs().max().clamp(min=1)
        assert_close(one / scale, other / scale)


def assert_same_network(found, expected, x):
    found, expected = found.double().eval(), expected.double().eval()
    reference_fill_(expected)
    load(found, expected)
    assert_same_function(found, expected, x)
    load(expected, found)


# ---- each equal to the package


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(3, 1, 2, 2), (3, 2, 1, 3), (1, 3, 0, 1), (2, 1, 3, 4), (5, 2, 0, 2)],
)
@pytest.mark.parametrize(
    "name", ["shifted_products", "zero_filled", "sparse_im2col", "phases"]
)
def test_forms_of_the_convolution(name, kernel, stride, padding, dilation):
    geometry = {"padding": padding, "dilation": dilation}
    if name != "phases":
        geometry["stride"] = stride
    results = []
    for source in (snippet("dilated_convolution"), dilated_conv):
        x = rand(2, 3, 17, 14).requires_grad_()
        weight = rand(4, 3, kernel, kernel).requires_grad_()
        y = getattr(source, name)(x, weight, **geometry)
        grads = torch.autograd.grad(y.square().sum(), (x, weight))
        results.append((y, *grads))
    for one, other in zip(*results, strict=True):
        assert_close(one, other)


def test_forms_take_uneven_kernels():
    x, weight = rand(1, 2, 15, 11), rand(3, 2, 2, 3)
    for name in ("shifted_products", "zero_filled", "sparse_im2col", "phases"):
        found = getattr(snippet("dilated_convolution"), name)
        expected = getattr(dilated_conv, name)
        options = {"padding": 1, "dilation": 2}
        assert_close(
            found(x, weight, **options), expected(x, weight, **options)
        )


WINDOWS = list(itertools.product((1, 2, 3), (1, 2), (1, 3), (0, 2)))


def test_sizes_and_fields():
    found = snippet("sizes_and_fields")
    for rows in itertools.product(WINDOWS, WINDOWS):
        stack = [Window(*row) for row in rows]
        field = arithmetic.fields(stack)[-1]
        expected = (field.size, field.jump, field.start)
        assert found.receptive_field(rows) == expected
        for size in (19, 22):
            expected = arithmetic.output_size(size, stack)
            assert found.output_size(size, rows) == expected
    assert found.receptive_field([]) == (1, 1, 0)


@pytest.mark.parametrize("levels", [7, 8, 10])
@pytest.mark.parametrize("large", [False, True])
def test_context_module(levels, large):
    form = "large" if large else "basic"
    found = snippet("context_module").ContextModule(2, levels, large)
    expected = ContextModule(2, levels=levels, form=form)
    x = rand(1, 2, 21, 18)
    assert_same_network(found, expected, x)
    found = snippet("context_module").ContextModule(2, levels, large, noise=0)
    expected = ContextModule(2, levels=levels, form=form, noise=0)
    assert_same_function(found.double(), expected.double(), x)


@pytest.mark.parametrize("large", [False, True])
def test_the_identity_draws_the_same_noise(large):
    states = []
    with torch.random.fork_rng():
        for module, form in (
            (snippet("context_module").ContextModule, {"large": large}),
            (ContextModule, {"form": "large" if large else "basic"}),
        ):
            torch.manual_seed(3)
            states.append(module(3, **form).state_dict().values())
    for one, other in zip(*states, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("rates", [(6, 12, 18, 24), (2, 4, 8, 12), (3,)])
@pytest.mark.parametrize("width", [None, 6])
def test_aspp_of_v2(rates, width):
    found = snippet("aspp_v2").ASPPv2(5, 3, rates, width)
    plans = [
        score_layers(3, rate=rate)
        if width is None
        else fc_layers(3, rate=rate, width=width)
        for rate in rates
    ]
    score = found[0][-1]
    assert score.weight.std() < 0.02
    assert score.bias.count_nonzero() == 0
    x = rand(2, 5, 29, 26)
    assert_same_network(found, SummedASPP(plans, 5), x)


def test_published_rates_are_the_defaults():
    aspp = snippet("aspp_v2").ASPPv2(2, 2)
    assert [b[0].dilation[0] for b in aspp] == [6, 12, 18, 24]
    aspp = snippet("aspp_v3").ASPPv3(2, 4)
    rates = [branch[0].dilation[0] for branch in aspp.branches]
    assert tuple(rates) == (1, *aspp_rates(16))


@pytest.mark.parametrize("rates", [(6, 12, 18), (1, 2)])
def test_aspp_of_v3(rates):
    found = snippet("aspp_v3").ASPPv3(5, 4, rates)
    plans = [branch_layers(rate=rate, width=4) for rate in (1, *rates)]
    expected = ASPP(plans, 5)
    x = rand(2, 5, 25, 22)
    assert_same_network(found, expected, x)
    found.train()
    expected.train()
    assert_same_function(found, expected, x)
    for one, other in zip(found.buffers(), expected.buffers(), strict=True):
        assert_close(one, other)  # the running statistics
    assert snippet("aspp_v3").ASPPv3(5, dropout=0.5).dropout.p == 0.5


@pytest.mark.parametrize("output_stride", [4, 8, 16, 32])
@pytest.mark.parametrize("first_unit", ["previous", "full"])
@pytest.mark.parametrize("grid", [(1, 1, 1), (1, 2, 4), (3, 1, 2)])
def test_multi_grid(output_stride, first_unit, grid):
    found = snippet("multi_grid")
    stages = arithmetic.stage_plan(output_stride)
    pairs = [(stage.stride, stage.dilation) for stage in stages]
    assert found.stage_plan(output_stride) == pairs
    for depth in (50, 101):
        plan = resnet_plan(
            depth,
            output_stride=output_stride,
            multi_grid=grid,
            stride_on="3x3",
            first_unit=first_unit,
        )
        expected = [
            [(u.windows[1].stride, u.windows[1].dilation) for u in units]
            for units in plan
        ]
        units = UNITS[depth]
        rows = found.unit_plan(units, output_stride, grid, first_unit)
        assert rows == expected


def test_stage_plans_of_other_networks():
    for strides in ((1, 2, 2, 2, 2, 2), (2, 1, 4)):
        plan = arithmetic.stage_plan(2, stem=1, strides=strides)
        expected = [(stage.stride, stage.dilation) for stage in plan]
        assert snippet("multi_grid").stage_plan(2, 1, strides) == expected


def test_levels_of_a_drn_have_the_drns_tensors():
    found = snippet("drn_stage").drn_c_26_levels_5_to_8().to("meta")
    with torch.device("meta"):
        network = drn_backbone("drn_c_26")
    expected = nn.Sequential(
        *(network.get_submodule(f"level{i}") for i in LEVELS)
    )
    shapes = [
        {key: t.shape for key, t in m.state_dict().items()}
        for m in (found, expected)
    ]
    assert shapes[0] == shapes[1]


def test_levels_of_a_drn():
    """The plan's strides, dilations and shortcuts, at a small width."""
    widths = {256: 4, 512: 6}
    levels, channels = [], 3
    plan = drn_plan("drn_c_26")
    for i in LEVELS:
        units = [
            unit._replace(widths=tuple(widths[w] for w in unit.widths))
            for unit in plan[f"level{i}"]
        ]
        levels.append(residual.chain(units, channels))
        channels = units[-1].widths[-1]
    found = snippet("drn_stage").drn_c_26_levels_5_to_8(3, (4, 6, 6, 6))
    assert_same_network(found, nn.Sequential(*levels), rand(2, 3, 23, 20))


@pytest.mark.parametrize("channels", [3, 4])
def test_a_level_with_a_stride(channels):
    found = snippet("drn_stage").level(channels, 4, 2, stride=2)
    units = [residual.basic(4, stride, 1, 1) for stride in (2, 1)]
    expected = residual.chain(units, channels)
    assert_same_network(found, expected, rand(2, channels, 13, 12))


def test_rates_and_holes():
    found = snippet("hybrid_rates")
    for n in (1, 2, 3, 4):
        for rates in itertools.product(range(1, 8), repeat=n):
            rows = [(3, 1, rate) for rate in rates]
            assert found.covers(rows) == hybrid_rates.covers(
                hybrid_rates.layers(rates)
            )
            if n > 1:
                for k in (3, 5):
                    rule = hybrid_rates.published_rule(rates, kernel=k)
                    assert found.published_rule(rates, k) == rule
    for rows in itertools.product(WINDOWS, repeat=2):
        stack = [Window(*row) for row in rows]
        assert found.covers([row[:3] for row in rows]) == hybrid_rates.covers(
            stack
        )


@pytest.mark.parametrize("rate", [1, 2, 3])
def test_smoothing(rate):
    for name, package in (
        ("SharedConvolution", SharedConvolution),
        ("GroupInteraction", GroupInteraction),
    ):
        found = getattr(snippet("smoothing"), name)(rate).double()
        expected = package(rate).double()
        x = rand(2, 3, 12, 18)
        assert torch.equal(found(x), x)
        (parameter,) = expected.parameters()
        nn.init.normal_(parameter)
        load(found, expected)
        assert_same_function(found, expected, x)


@pytest.mark.parametrize(("kernel", "dilation"), [(21, 3), (7, 2), (5, 1)])
def test_large_kernel_attention(kernel, dilation):
    found, windows = snippet("large_kernel_attention"), lka_windows
    plan = windows(kernel, dilation)
    rows = found.lka_windows(kernel, dilation)
    assert rows == tuple((w.kernel, w.dilation) for w in plan)
    assert found.span(rows) == arithmetic.receptive_field(plan)
    assert_same_network(
        found.LKA(3, kernel, dilation),
        LargeKernelAttention(3, windows=plan),
        rand(2, 3, 25, 23),
    )


@pytest.mark.parametrize("kernel", [13, 7])
def test_dilated_reparameterisation(kernel):
    branches = ((kernel, 1), *BRANCHES[kernel])
    found = snippet("dilated_reparameterisation").DilatedReparam
    if kernel == 13:
        paths = [branch[0] for branch in found(1).branches]
        default = [(c.kernel_size[0], c.dilation[0]) for c in paths]
        assert default == [*branches]
    found, expected = found(3, branches), DilatedReparam(3, kernel)
    x = rand(2, 3, 18, 15)
    assert_same_network(found, expected, x)
    found.train()
    expected.train()
    assert_same_function(found, expected, x)
    found.eval()
    with torch.no_grad():
        y = found(x)
        assert_close(found.merged()(x), y)
        assert_close(expected.eval().merge_()(x), y)


def chain():
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4)),
        *(nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 6, (3, 2))),
        nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(6, 6, 3, 2, 2, 2, groups=2)),
        nn.Conv2d(6, 2, 3, padding=(1, 0)),
    )


@pytest.mark.parametrize("output_stride", [2, 4, 8, 16])
@pytest.mark.parametrize("size", [(83, 97), (96, 88)])
@torch.no_grad()
def test_strides_into_dilations(output_stride, size):
    network = chain().double().eval()
    reference_fill_(network)
    x = reference_input(1, 3, *size)
    before = network(x)
    found = snippet("strides_to_dilations").dilate(network, output_stride)(x)
    assert_close(found, dilate(network, output_stride)(x))
    step = 16 // output_stride
    assert_close(found[..., ::step, ::step], before)
    assert_close(network(x), before)  # it is left untouched


@pytest.mark.parametrize("size", [(9, 13), (16, 11)])
def test_dense_crf(size):
    image = (rand(*size, 3).abs() * 90).clamp(0, 255).to(torch.uint8)
    options = {"w1": 4.0, "sigma_alpha": 5.0, "sigma_beta": 20.0}
    for more in ({}, {"w2": 1.5, "sigma_gamma": 2.0, "iterations": 3}):
        results = []
        for function, logits in (
            (snippet("dense_crf").dense_crf, {}),
            (dense_crf_exact, {"logits": True}),
        ):
            x = rand(4, *size).requires_grad_()
            q = function(x, image, **options, **more, **logits)
            (grad,) = torch.autograd.grad(q.square().sum(), x)
            results.append((q, grad))
        for one, other in zip(*results, strict=True):
            assert_close(one, other)


def test_labels_from_strokes_follow_the_features_not_the_strokes():
    """Strokes lie in the left half; the right half has the same things."""
    truth = torch.zeros(48, 96, dtype=torch.int64)
    truth[8:24, 8:32] = truth[24:40, 64:88] = 1
    truth[30:46, 8:32] = truth[2:18, 64:88] = 2
    drawn = torch.full_like(truth, 255)
    for rows in (slice(15, 17), slice(37, 39), slice(26, 28)):
        drawn[rows, 12:28] = truth[rows, 12:28]
    features = torch.eye(3)[truth].permute(2, 0, 1)[None, :, ::4, ::4]
    torch.manual_seed(0)
    label = snippet("label_from_strokes").label_from_strokes
    found = label(features, drawn, classes=3)
    assert found.shape == truth.shape
    assert (found == truth)[:, 48:].float().mean() > 0.85
    with pytest.raises(ValueError, match=r"drawn: strokes a class \[32, "):
        label(features, drawn, classes=4)


@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("layers", [1, 4])
def test_a_causal_stack_and_its_queues(layers, kernel):
    found = snippet("causal_stack_with_queues").CausalStack(
        3, 5, layers, kernel
    )
    modules, channels = [], 3
    for i in range(layers):
        modules.append(CausalConv1d(channels, 5, kernel, dilation=2**i))
        modules.append(nn.ReLU())
        channels = 5
    expected, x = nn.Sequential(*modules), rand(2, 3, 30)
    assert_same_network(found, expected, x)
    stepper, queues = Stepper(expected, 2), found.queues(2)
    for step in x.split(1, 2):
        assert_close(found.step(step[..., 0], queues), stepper(step)[..., 0])
    held = [memory.queue.memory.shape for memory in stepper.memories]
    assert [queue.shape for queue in queues] == held


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: snippet("sizes_and_fields").output_size(4, [(3, 1, 2, 0)]),
            "span 5.*size=4",
        ),
        (lambda: snippet("multi_grid").stage_plan(12), "output_stride=12"),
        (
            lambda: snippet("multi_grid").unit_plan((3, 4, 6, 3), 8, (1, 2)),
            r"multi_grid=\(1, 2\): needs 3",
        ),
        (lambda: snippet("hybrid_rates").published_rule((2,)), r"\(2,\)"),
        (
            lambda: snippet("large_kernel_attention").lka_windows(10, 3),
            "kernel=10: 4 taps",
        ),
        (lambda: dilated(nn.Conv2d(3, 3, 3, 2), 3), "output_stride=3"),
        (lambda: dilated(nn.Conv2d(3, 3, 3, 2), 4), "output_stride=4"),
        (lambda: dilated(nn.AvgPool2d(2), 1), "AvgPool2d.*no rule"),
        (lambda: dilated(nn.MaxPool2d(2, ceil_mode=True), 1), "MaxPool2d"),
        (lambda: dilated(nn.Conv2d(3, 3, 3, (2, 1)), 1), r"\(2, 1\)"),
        (
            lambda: dilated(
                nn.MaxPool2d(2), nn.Conv2d(3, 3, 2, padding="same"), 1
            ),
            "same.*exact",
        ),
        (
            lambda: dilated(
                nn.MaxPool2d(2),
                nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"),
                1,
            ),
            "reflect.*exact",
        ),
        (lambda: dilated(*[nn.MaxPool2d(2)] * 2, 1), "stands twice"),
        (
            lambda: dilated(*(nn.MaxPool2d(k) for k in (2, 4, 2)), 4),
            "output_stride=4",
        ),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def dilated(*modules):
    *modules, output_stride = modules
    dilate = snippet("strides_to_dilations").dilate
    return dilate(nn.Sequential(*modules), output_stride)


# ---- each alone, as the site shows it

RUNNER = """
import contextlib, io, json, re, runpy, sys, traceback
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
from importlib.metadata import requires
import torch

# What comes with torch; mpmath comes with sympy.
there = {*sys.stdlib_module_names, "torch", "numpy", "mpmath"}
needed = (re.match(r"[\\w-]+", line)[0] for line in requires("torch"))
there |= {name.replace("-", "_") for name in needed}

class Alone(PathFinder):
    def find_spec(name, path=None, target=None):
        top = name.partition(".")[0]
        # The build's variables, a module of sysconfig, are named by platform.
        if top in there or top.startswith("_sysconfigdata_"):
            return PathFinder.find_spec(name, path, target)

sys.meta_path[:] = BuiltinImporter, FrozenImporter, Alone
said = []
for path in sys.argv[1:]:
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            runpy.run_path(path, run_name="__main__")
    except BaseException:
        out.write(traceback.format_exc())
    said.append(out.getvalue())
print(json.dumps(said))
"""


def run_alone(sources, folder):
    """What each source prints, run from a file with torch alone."""
    paths = []
    for number, source in enumerate(sources):
        paths.append(folder / f"{number}.py")
        paths[-1].write_text(source)
    command = [sys.executable, "-I", "-W", "error", "-c", RUNNER, *paths]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=folder
    )
    assert not done.stderr
    return json.loads(done.stdout)


def promised(source):
    """The lines that a block's comments say it prints."""
    example = source.partition('if __name__ == "__main__":')[2] or source
    return re.findall(r"(?:print\(.*\)  |^ +)# (.*)$", example, re.M)


def imported(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.fixture(scope="module")
def pages(site):
    """The site's pages, by their paths in it."""
    return {
        name: BeautifulSoup(
            (site / name).read_text(encoding="utf-8"), "html.parser"
        )
        for name in built_site.pages()
    }


def blocks(page, kind):
    return [pre.get_text() for pre in page.select(f"{kind} pre")]


def test_the_page_shows_every_snippet_whole(pages):
    files = [path.read_text().strip() for path in FILES.values()]
    shown = blocks(pages[PAGE], "div.runnable:not(.with-package)")
    assert sorted(block.strip() for block in shown) == sorted(files)
    runnable = blocks(pages[PAGE], "div.runnable")
    assert runnable == blocks(pages[PAGE], "div.highlight")


def test_what_is_called_runnable_runs_with_torch_alone(pages, tmp_path):
    kind = "div.runnable:not(.with-package)"
    found = [block for page in pages.values() for block in blocks(page, kind)]
    assert len(found) >= len(FILES)
    for block, said in zip(found, run_alone(found, tmp_path), strict=True):
        assert promised(block), block
        assert said.splitlines() == promised(block)


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("stride_on", ["1x1", "3x3"])
def test_a_resnet_keeps_its_values_with_either_stride(depth, stride_on):
    with torch.device("meta"):
        network = ResNet(depth, stride_on=stride_on).double().eval()
    reference_fill_(network.to_empty(device="cpu"))
    convert = snippet("resnet_at_stride_8").at_output_stride_8
    x = reference_input(1, 3, 97, 131)
    with torch.no_grad():
        coarse, fine = network(x), convert(network)(x)
    assert (*coarse.shape[2:], *fine.shape[2:]) == (4, 5, 13, 17)
    torch.testing.assert_close(fine[..., ::4, ::4], coarse)
    with pytest.raises(ValueError, match="strides of 4 wanted, found 1"):
        convert(convert(network))


# What else a block needs, by its class.
THERE = {
    "with-compiler": lambda: any(map(shutil.which, ("g++", "clang++", "cl"))),
    "with-peers": lambda: all(
        map(importlib.util.find_spec, ("onnxscript", "onnxruntime"))
    ),
    "with-openvino": lambda: importlib.util.find_spec("openvino"),
    "with-torchvision": lambda: importlib.util.find_spec("torchvision"),
}


@pytest.mark.parametrize("needs", ["", *THERE])
def test_what_needs_the_package_runs_with_it(pages, tmp_path, needs):
    kind = "div.runnable.with-package"
    others = [f":not(.{other})" for other in THERE if other != needs]
    kind += "".join(others) + (f".{needs}" if needs else "")
    found = [block for page in pages.values() for block in blocks(page, kind)]
    assert found
    if needs and not THERE[needs]():
        pytest.skip(f"blocks of the class {needs}: it is not here")
    # The other tools warn of their own use of torch.
    warnings = [] if needs else ["-W", "error"]
    for block in found:
        file = tmp_path / "pasted.py"
        file.write_text(block, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-I", *warnings, file],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
        )
        assert done.stdout.splitlines() == promised(block) != []


def test_every_block_of_python_outside_the_chapters_is_runnable(pages):
    for name, page in pages.items():
        if not name.startswith("chapters/"):
            for block in page.select("div.highlight-python"):
                assert "runnable" in block["class"], (name, block)


@pytest.mark.parametrize("name", FILES)
def test_snippets_are_short_and_import_little(name):
    source = FILES[name].read_text()
    assert source.count("\n") <= MOST_LINES
    tops = {module.partition(".")[0] for module in imported(source)}
    assert tops <= {"torch", "copy"}


def test_nothing_but_torch_can_be_imported_alone(tmp_path):
    """The check itself: what must not be there is not there."""
    sources = [f"import {name}" for name in ("atrous", "pytest", "scipy")]
    sources += ["import torch.nn, json, sqlite3", "print(2 / 0)"]
    said = run_alone(sources, tmp_path)
    for text, name in zip(said, ("atrous", "pytest", "scipy"), strict=False):
        assert f"No module named '{name}'" in text
    assert said[3] == ""
    assert "ZeroDivisionError" in said[4]
