"""Surgery: exact on the coarse grid, or refused by name."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from references import error
from torch import nn

from atrous.arithmetic import Window, fields
from atrous.backbones.resnet import VARIANTS, ResNet, ResNetClassifier
from atrous.backbones.vgg import VGG16
from atrous.convert.dilate import dilate
from atrous.experiments.parity import reference_fill_
from atrous.ops.pooling import crop

# torch says so once a process, in whichever test comes first.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Using padding='same' with even kernel"
)

C = 4  # channels of the small networks


class Net(nn.Module):
    """Modules by name, and what to do with them."""

    def __init__(self, step, **modules):
        super().__init__()
        self.step = step
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.step(self, x)


def joined(how, a, b):
    """Two branches that meet."""
    if how == "add":
        return Net(lambda m, x: m.a(x) + m.b(x), a=a, b=b)
    mix = nn.Conv2d(2 * C, C, 1)
    return Net(
        lambda m, x: m.mix(torch.cat([m.a(x), m.b(x)], 1)), a=a, b=b, mix=mix
    )


def down(stride=2, kernel=3, **options):
    options = {"padding": (kernel - 1) // 2, **options}
    return nn.Conv2d(C, C, kernel, stride, **options)


@torch.no_grad()
def assert_exact(model, stride, output_stride, x, step=None):
    """In both precisions; borders included."""
    step = step or stride // output_stride
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        model, x = model.to(dtype).eval(), x.to(dtype)
        found = dilate(model, output_stride)(x)
        assert error(found[..., ::step, ::step], model(x)) < tolerance


# Random networks ------------------------------------------------------

numbers = st.integers
flags = st.booleans()
strides = st.sampled_from([1, 1, 2, 2, 3])


@st.composite
def convolutions(draw, stride):
    kernel = (draw(numbers(1, 5)), draw(numbers(1, 5)))
    dilation = draw(numbers(1, 2))
    padding = draw(st.sampled_from(["number", "valid", "same"]))
    if padding == "number":
        padding = tuple(draw(numbers(0, dilation * k // 2)) for k in kernel)
    elif stride > 1:
        padding = "valid"
    groups = draw(st.sampled_from([1, C]))
    conv = nn.Conv2d(C, C, kernel, stride, padding, dilation, groups)
    return nn.Sequential(conv, nn.BatchNorm2d(C), nn.ReLU())


@st.composite
def poolings(draw, stride):
    kernel = (draw(numbers(1, 4)), draw(numbers(1, 4)))
    padding = tuple(draw(numbers(0, k // 2)) for k in kernel)
    ceil = draw(flags)
    if draw(flags):
        dilation = draw(numbers(1, 2))
        return nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil)
    divisor = draw(st.sampled_from([None, None, 3]))
    return nn.AvgPool2d(kernel, stride, padding, ceil, draw(flags), divisor)


@st.composite
def pads(draw):
    sides = tuple(draw(numbers(-1, 2)) for _ in range(4))
    value = draw(st.sampled_from([0.0, 0.5]))
    # A side below 0 is cut off; torch wants something left before padding.
    return nn.Sequential(nn.ZeroPad2d(1), nn.ConstantPad2d(sides, value))


@st.composite
def blocks(draw):
    stride = draw(strides)
    one = st.one_of(convolutions(stride), poolings(stride))
    kind = draw(st.sampled_from(["one", "one", "pad", "residual", "joined"]))
    if kind == "pad":
        return 1, draw(pads())
    if kind == "residual":
        k = draw(st.sampled_from([1, 3, 5]))
        short = nn.Conv2d(C, C, 1, stride) if stride > 1 else nn.Identity()
        return stride, joined("add", down(stride, k), short)
    if kind == "joined":
        return stride, joined("cat", draw(one), draw(one))
    return stride, draw(one)


@settings(max_examples=150)
@given(st.lists(blocks(), min_size=2, max_size=6), st.data(), numbers(20, 60))
def test_random_networks_are_exact(drawn, data, height):
    total = 1
    reached = {1: None}
    for stride, _ in drawn:
        total *= stride
        reached[total] = None
    assume(2 <= total <= 24)
    output_stride = data.draw(st.sampled_from([*reached][:-1]))
    model = nn.Sequential(*(block for _, block in drawn)).double().eval()
    reference_fill_(model)
    x = torch.randn(1, C, height, height + 7, dtype=torch.float64)
    try:
        expected = model(x)
    except RuntimeError:  # branches of two sizes, or nothing left
        assume(False)
    assume(expected.numel() and expected.isfinite().all())
    assume(expected.abs().max() > 1e-3)
    assert_exact(model, total, output_stride, x)


windows = st.builds(
    lambda k, s, d, p: Window(k, s, d, min(p, (k - 1) * d // 2)),
    numbers(1, 5),
    strides,
    numbers(1, 2),
    numbers(0, 3),
)


def window(node, model):
    """What a convolution or pooling of a graph does along one axis."""
    if node.op == "call_module":
        m = model.get_submodule(node.target)
        parts = (m.kernel_size, m.stride, m.dilation, m.padding)
        return Window(*(p if isinstance(p, int) else p[0] for p in parts))
    kernel = node.args[1]
    dilation, padding = node.kwargs["dilation"], node.kwargs["padding"]
    return Window(kernel[0], 1, dilation[0], padding[0])


@given(st.lists(st.tuples(windows, flags), min_size=1, max_size=6), st.data())
def test_the_field_stays_where_it_was(stack, data):
    layers = [
        nn.MaxPool2d(w.kernel, w.stride, w.padding, w.dilation)
        if pool and 2 * w.padding <= w.kernel
        else nn.Conv2d(1, 1, w.kernel, w.stride, w.padding, w.dilation)
        for w, pool in stack
    ]
    old = fields([w for w, _ in stack])
    jumps = sorted({1, *(f.jump for f in old)})
    output_stride = data.draw(st.sampled_from(jumps))
    model = dilate(nn.Sequential(*layers), output_stride)
    calls = [n for n in model.graph.nodes if n.op.startswith("call")]
    new = fields([window(n, model) for n in calls])[-1]
    assert (new.size, new.start) == (old[-1].size, old[-1].start)
    assert new.jump == output_stride


# Networks of the book -------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [(97, 131), (64, 80)])
@torch.no_grad()
def test_resnet50_becomes_its_own_definition(variant, size):
    coarse = ResNet(50, variant=variant).double().eval()
    reference_fill_(coarse)
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    expected = coarse(x)
    for output_stride in (16, 8, 4):
        found = dilate(coarse, output_stride)
        defined = ResNet(50, output_stride=output_stride, variant=variant)
        defined.double().eval().load_state_dict(found.state_dict())
        y, step = found(x), 32 // output_stride
        assert error(y, defined(x)) < 1e-12
        assert error(y[..., ::step, ::step], expected) < 1e-12


@torch.no_grad()
def test_vgg16_becomes_its_own_definition():
    coarse = VGG16().double()
    reference_fill_(coarse)
    x = torch.randn(1, 3, 53, 70, dtype=torch.float64)
    for output_stride in (8, 4):
        found = dilate(coarse, output_stride)
        defined = VGG16(output_stride).double()
        defined.load_state_dict(found.state_dict())
        y, step = found(x), 16 // output_stride
        assert error(y, defined(x)) < 1e-12
        assert error(y[..., ::step, ::step], coarse(x)) < 1e-12


@torch.no_grad()
def test_twice_is_once():
    model = ResNet(18).double().eval()
    reference_fill_(model)
    x = torch.randn(1, 3, 65, 50, dtype=torch.float64)
    once, twice = dilate(model, 8), dilate(dilate(model, 16), 8)
    assert error(twice(x), once(x)) < 1e-12
    assert error(dilate(model, 32)(x), model(x)) < 1e-12


# What is returned -----------------------------------------------------


def test_same_state_dict_own_tensors_same_mode():
    def step(m, x):
        return m.last(m.pool(m.first(x * m.scale))) * m.inner.gamma

    inner = nn.Module()
    inner.gamma = nn.Parameter(torch.rand(C, 1, 1))
    inner.register_buffer("lost", torch.rand(2), persistent=False)
    unused = nn.Conv2d(1, 1, 1)
    model = Net(
        step,
        inner=inner,
        unused=unused,
        last=nn.Sequential(down(), nn.BatchNorm2d(C)),
        pool=nn.MaxPool2d(2),
        first=down(),
    )
    model.scale = torch.tensor(2.0)  # neither parameter nor buffer
    before = {n: t.clone() for n, t in model.state_dict().items()}
    geometry = repr(model)
    model.last[1].eval()
    dilated = dilate(model, 2)
    assert [*dilated.state_dict()] == [*before]
    assert dilated.training
    assert not dilated.get_submodule("last.1").training
    for name, tensor in dilated.state_dict().items():
        assert torch.equal(tensor, before[name])
        tensor.zero_()
    assert repr(model) == geometry
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    dilated.load_state_dict(before)
    x = torch.rand(1, C, 16, 16)
    expected = model.eval()(x)
    assert error(dilated.eval()(x)[..., ::4, ::4], expected) < 1e-5
    quiet = dilate(model.eval(), 2)
    assert not any(m.training for m in quiet.modules())
    assert not hasattr(dilated, "pool")  # its stride would mislead
    with pytest.raises(NotImplementedError):
        dilated.get_submodule("last")(x)


def test_training_mode():
    model = dilate(ResNet(18).train(), 8)
    before = model.layer4.get_submodule("1.bn2").running_mean.clone()
    y = model(torch.rand(2, 3, 64, 64))
    assert y.shape == (2, 512, 8, 8)
    y.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    after = model.layer4.get_submodule("1.bn2").running_mean
    assert not torch.equal(before, after)


def test_meta_device():
    with torch.device("meta"):
        model = ResNet(101)
        model.maxpool = nn.AvgPool2d(3, 2, 1)
        y = dilate(model, 2)(torch.empty(1, 3, 65, 65))
    assert y.shape == (1, 2048, 33, 33)
    assert y.device.type == "meta"


# Forms of the same layers ---------------------------------------------


def tail(step, **modules):
    """A stride of 2, one to be removed, then what is to be tested."""
    return Net(
        lambda m, x: step(m, F.relu(m.two(m.one(x)))),
        one=down(),
        two=down(),
        **modules,
    )


def uneven(m, x):
    x = F.pad(x, (0, 1, 2, 0))
    return F.conv2d(x, m.c.weight, None, 1, "same", 2, C)


def conversions(m, x):
    ones = torch.ones([x.shape[0], 1, 1, 1], dtype=x.dtype, device=x.device)
    return (x * ones).contiguous().clone().to(x.dtype) / x.size(1)


def halves(m, x):
    first, second = torch.split(m.c(x), 2, dim=1)
    return first * second


def in_place(m, x):
    y = m.c(x)
    y += x
    y *= 0.5
    return torch.sub(torch.add(y, x), x.neg()).relu_()


FORMS = {
    "two poolings of one module": (
        lambda m, x: m.p(m.c(m.p(x))),
        {"p": nn.MaxPool2d(3, 1, 1), "c": down(1)},
    ),
    "one convolution twice": (lambda m, x: m.c(m.c(x)), {"c": down(1, 5)}),
    "no padding twice": (lambda m, x: m.c(m.c(x)), {"c": down(1, 4)}),
    "uneven padding": (uneven, {"c": down(1, 4, groups=C)}),
    "an even kernel, same": (
        lambda m, x: m.c(x),
        {"c": down(1, 4, padding="same")},
    ),
    "functions": (
        lambda m, x: F.avg_pool2d(
            F.max_pool2d(
                F.conv2d(input=x, weight=m.c.weight, bias=m.c.bias), 2, 1
            ),
            3,
            stride=1,
            padding=1,
        ),
        {"c": down(1)},
    ),
    "torch's own names": (
        lambda m, x: torch.max_pool2d(
            torch.conv2d(x, m.c.weight, m.c.bias, padding=1), 3, 1, 1
        ),
        {"c": down(1)},
    ),
    "chunks": (
        lambda m, x: torch.cat([x.chunk(2, 1)[1], x[:, 1:3]], dim=-3),
        {},
    ),
    "split": (
        halves,
        {"c": down(1)},
    ),
    "softmax": (
        lambda m, x: m.s(x).softmax(1) * F.log_softmax(x, dim=1),
        {"s": nn.Softmax(1)},
    ),
    "numbers": (conversions, {}),
    "normalised by a function": (
        lambda m, x: F.batch_norm(x, m.n.running_mean, m.n.running_var),
        {"n": nn.BatchNorm2d(C)},
    ),
    "in place": (in_place, {"c": down(1)}),
    "reflected 1x1": (
        lambda m, x: m.c(x),
        {"c": down(1, 1, padding_mode="reflect")},
    ),
    "weights made of weights": (
        lambda m, x: F.conv2d(x, m.c.weight / 2, padding=1),
        {"c": down(1)},
    ),
    "channels padded": (
        lambda m, x: F.pad(x, (1, 0, 0, 1, 1, 2), "constant", 0.5),
        {},
    ),
    "only the width padded": (lambda m, x: F.pad(x, (3, 0)), {}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(21, 30), (24, 23)])
def test_forms(form, size):
    step, modules = FORMS[form]
    model = tail(step, **modules)
    reference_fill_(model)
    assert_exact(model, 4, 2, torch.randn(2, C, *size))


@pytest.mark.parametrize("output_stride", [1, 2, 4, 12])
def test_strides_of_functions(output_stride):
    """A pooling's is its kernel unless it says so."""

    def step(m, x):
        x = F.conv2d(x, m.c.weight, None, 2, 1)
        return m.c(F.avg_pool2d(F.max_pool2d(x, 2), [3]))

    model = Net(step, c=down(1))
    reference_fill_(model)
    assert_exact(model, 12, output_stride, torch.randn(1, C, 61, 74))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_other_paddings_where_nothing_is_owed(mode):
    model = Net(lambda m, x: m.b(m.a(x)), a=down(), b=down(1, 1))
    model.a = down(padding_mode=mode)
    assert_exact(model, 2, 1, torch.randn(1, C, 21, 22))


@pytest.mark.parametrize(
    ("mode", "exact"),
    [
        ("constant", range(9, 15)),
        ("reflect", (10, 13)),
        ("replicate", (10, 13)),
        ("circular", (9, 12)),
    ],
)
def test_at_which_sizes_other_paddings_would_be_exact(mode, exact):
    """Dilation 3: (n - 1) or n must be a multiple of it."""
    for n in range(9, 15):
        x = torch.rand(1, 1, n, n)
        coarse = F.pad(x[..., ::3, ::3], (1, 1, 1, 1), mode)
        dense = F.pad(x, (3, 3, 3, 3), mode)[..., ::3, ::3]
        same = coarse.shape == dense.shape and torch.equal(coarse, dense)
        assert same == (n in exact)


def test_branches_that_differ_by_less_than_a_step_are_cropped():
    """Even sides: 3x3 padded keeps 2m, 2x2 not padded keeps 2m - 1."""
    model = joined("cat", down(), nn.MaxPool2d(2))
    reference_fill_(model)
    assert_exact(model, 2, 1, torch.randn(1, C, 20, 32))
    called = [n.target for n in dilate(model, 1).graph.nodes]
    assert crop in called
    called = [n.target for n in dilate(ResNet(18), 4).graph.nodes]
    assert crop not in called


def test_a_map_that_was_repeated_along_an_axis_is_not_cropped():
    tall = nn.Conv2d(C, C, (9, 1))  # leaves one row, which is added to all
    model = Net(lambda m, x: m.b(m.a(x)) + m.a(x), a=down(), b=tall)
    x = torch.rand(1, C, 18, 18)
    assert model(x).shape == (1, C, 9, 9)
    with pytest.raises(ValueError, match=r"maps of 2x18 and 18x18 places.*2"):
        dilate(model, 1)(x)


def test_global_pooling_before_anything_is_owed():
    """Squeeze and excitation in an early stage."""

    def step(m, x):
        x = m.one(x / x.size(2) * x.shape[-1])
        scale = m.e(m.n(m.s(m.pool(x)))).sigmoid()
        return m.two(m.norm(x) * scale)

    model = Net(
        step,
        pool=nn.AdaptiveAvgPool2d(1),
        s=down(1, 1),
        n=nn.ReLU(),
        e=down(1, 1),
        one=down(),
        norm=nn.GroupNorm(2, C),
        two=down(),
    )
    reference_fill_(model)
    assert_exact(model, 4, 2, torch.randn(1, C, 30, 41))
    classifier = ResNetClassifier(18).eval()
    x = torch.rand(1, 3, 64, 64)
    assert error(dilate(classifier, 32)(x), classifier(x)) < 1e-5


# Refusals -------------------------------------------------------------

REFUSED = {
    "global pooling": (
        lambda m, x: m.avgpool(x),
        {"avgpool": nn.AdaptiveAvgPool2d(1)},
        r"AdaptiveAvgPool2d 'avgpool' \(node 'avgpool'\) would pool over a "
        "denser grid: remove it, or cut the model before it",
    ),
    "a mean": (
        lambda m, x: x.mean((2, 3)),
        {},
        r"mean 'mean' \(node 'mean'\) would pool over",
    ),
    "squeeze and excitation": (
        lambda m, x: x * m.c(F.adaptive_avg_pool2d(x, 1)).sigmoid(),
        {"c": down(1, 1)},
        "adaptive_avg_pool2d 'adaptive_avg_pool2d'.* would pool over",
    ),
    "flatten": (
        lambda m, x: torch.flatten(x, 1),
        {},
        "flatten 'flatten'.* in other positions",
    ),
    "view": (
        lambda m, x: x.view(x.size(0), -1),
        {},
        "view 'view'.* in other positions",
    ),
    "linear": (
        lambda m, x: m.fc(x),
        {"fc": nn.Linear(6, 6)},
        "Linear 'fc'.* in other positions",
    ),
    "transposed convolution": (
        lambda m, x: m.up(x),
        {"up": nn.ConvTranspose2d(C, C, 2, 2)},
        "ConvTranspose2d 'up'.* would enlarge a grid",
    ),
    "interpolation": (
        lambda m, x: F.interpolate(x, scale_factor=2),
        {},
        "interpolate 'interpolate'.* would enlarge a grid",
    ),
    "pixel shuffle": (
        lambda m, x: m.up(x),
        {"up": nn.PixelShuffle(2)},
        "PixelShuffle 'up'.* would enlarge a grid",
    ),
    "statistics": (
        lambda m, x: m.norm(x),
        {"norm": nn.GroupNorm(2, C)},
        "GroupNorm 'norm'.* would take its statistics",
    ),
    "statistics of the batch": (
        lambda m, x: m.norm(x),
        {"norm": nn.BatchNorm2d(C, track_running_stats=False)},
        "BatchNorm2d 'norm'.* would take its statistics",
    ),
    "statistics by a function": (
        lambda m, x: F.batch_norm(x, None, None, training=True),
        {},
        "batch_norm 'batch_norm'.* would take its statistics",
    ),
    "other padding": (
        lambda m, x: m.c(x),
        {"c": down(1, padding_mode="reflect")},
        "Conv2d 'c'.* pads by 'reflect', exact at some sizes only",
    ),
    "other padding by a function": (
        lambda m, x: F.pad(x, (1, 1, 1, 1), "replicate"),
        {},
        "pad 'pad'.* pads by 'replicate'",
    ),
    "other padding by a module": (
        lambda m, x: m.around(x),
        {"around": nn.ReflectionPad2d(1)},
        "ReflectionPad2d 'around'.* has no rule",
    ),
    "unknown module": (
        lambda m, x: m.fold(x),
        {"fold": nn.LPPool2d(2, 2)},
        "LPPool2d 'fold'.* has no rule and might mix places",
    ),
    "unknown function": (
        lambda m, x: torch.cumsum(x, 2),
        {},
        "cumsum 'cumsum'.* has no rule",
    ),
    "unknown method": (lambda m, x: x.flip(2), {}, "flip 'flip'.* no rule"),
    "indices": (
        lambda m, x: m.p(x)[0],
        {"p": nn.MaxPool2d(2, return_indices=True)},
        "MaxPool2d 'p'.* returns indices",
    ),
    "a size": (
        lambda m, x: x / x.shape[2],
        {},
        "getattr 'getattr_1'.* would read the size of a denser grid",
    ),
    "a size by a method": (lambda m, x: x / x.size(3), {}, "size 'size'"),
    "a part": (
        lambda m, x: x[:, :, ::2, ::2],
        {},
        "getitem 'getitem'.* would take a part of a denser grid",
    ),
    "another dimension": (
        lambda m, x: torch.cat([x, x], 2),
        {},
        "cat 'cat'.* would act along height or width",
    ),
    "softmax over rows": (
        lambda m, x: m.s(x),
        {"s": nn.Softmax(2)},
        "Softmax 's'.* would act along height or width",
    ),
    "weights from a map": (
        lambda m, x: F.conv2d(x, m.c(x)),
        {"c": down(1)},
        "conv2d 'conv2d'.* takes its weights from a map",
    ),
    "same, of an unknown kernel": (
        lambda m, x: F.conv2d(x, m.c.weight * 2, padding="same"),
        {"c": down(1)},
        "conv2d 'conv2d'.* pads by 'same'",
    ),
    "a constant of the old size": (
        lambda m, x: x + m.at.position,
        {"at": nn.ParameterDict({"position": torch.rand(1, C, 6, 6)})},
        r"add 'add'.* joins 'at.position': \[1, 4, 6, 6\]",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_the_layer(case):
    step, modules, message = REFUSED[case]
    model = tail(step, **modules)
    with pytest.raises(ValueError, match=f"^model: {message}"):
        dilate(model, 2)


def reused(m, x):
    return m.c(m.c(x))


def computed(m, x):
    return F.max_pool2d(m.a(x), x.shape[2] // 4)


@pytest.mark.parametrize(
    ("model", "output_stride", "message"),
    [
        (Net(reused, c=down()), 2, "Conv2d 'c'.* is called twice and would"),
        (
            Net(lambda m, x: m.a(x) + m.b(x), a=down(), b=down(1)),
            1,
            r"add 'add' .* joins strides \[1\] and dilations \[1, 2\]",
        ),
        (
            Net(lambda m, x: m.a(x) + m.b(x), a=down(4), b=down(2)),
            1,
            r"and dilations \[2, 4\]",
        ),
        (
            Net(
                lambda m, x: m.c(m.b(m.a(x))) + m.d(m.a(x)),
                a=down(),
                b=down(),
                c=down(),
                d=down(4),
            ),
            4,
            "Conv2d 'd'.* goes from stride 2 to 8 at once, past "
            "output_stride=4",
        ),
        (
            Net(
                lambda m, x: m.b(F.interpolate(m.a(x), scale_factor=2)),
                a=down(),
                b=down(),
            ),
            2,
            "Conv2d 'b'.* has a stride, after 'interpolate'",
        ),
        (
            Net(lambda m, x: m.a(x), a=nn.Conv2d(C, C, 3, (2, 1))),
            1,
            "Conv2d 'a'.* has two different strides, 2 and 1",
        ),
        (
            Net(computed, a=down()),
            1,
            "max_pool2d 'max_pool2d'.* a geometry that is computed",
        ),
        (
            Net(lambda m, x: m.a(x) if x.sum() > 0 else x, a=down()),
            1,
            "^model=Net: torch.fx cannot trace it: .*control flow",
        ),
        (
            nn.Sequential(down(), down()),
            3,
            r"output_stride=3: the strides of Sequential reach \[1, 2, 4\]",
        ),
        (
            nn.Sequential(down(), down()),
            8,
            r"output_stride=8: .* reach \[1, 2, 4\]",
        ),
        (nn.Sequential(down(4)), 2, r"=2: .* reach \[1, 4\]"),
    ],
)
def test_what_cannot_be_kept(model, output_stride, message):
    with pytest.raises(ValueError, match=message):
        dilate(model, output_stride)
