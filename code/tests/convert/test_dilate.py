"""Surgery: exact on the coarse grid, or refused by name."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from references import error
from torch import fx, nn
from torch.nn.utils import prune

from atrous.arithmetic import Window, fields
from atrous.backbones.resnet import VARIANTS, ResNet
from atrous.backbones.vgg import VGG16
from atrous.convert.dilate import deviations, dilate
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

KEEPING = (  # forms that keep the number of channels
    "a block of ConvNeXt",
    "a mean of all",
    "global response",
    "groups of channels",
    "in place",
    "layer normalisation by a function",
    "numbers",
    "over channels",
    "padded, channels last",
    "questions",
    "sizes unpacked",
    "softmax",
    "squeezed by a maximum",
    "squeezed by a mean",
    "squeezed by a module",
)

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
    kinds = ["one", "one", "pad", "residual", "joined", "idiom", "idiom"]
    kind = draw(st.sampled_from(kinds))
    if kind == "pad":
        return 1, draw(pads())
    if kind == "idiom":
        step, modules = FORMS[draw(st.sampled_from(KEEPING))]
        return 1, Net(step, **copy.deepcopy(modules))
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


class PerPlace(nn.Module):
    """A block of ConvNeXt: layers of each place, the channels last."""

    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv2d(C, C, 7, padding=3, groups=C)
        self.norm, self.up = nn.LayerNorm(C), nn.Linear(C, 2 * C)
        self.down = nn.Linear(2 * C, C)
        self.gamma = nn.Parameter(torch.rand(C))

    def forward(self, x):
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.down(F.gelu(self.up(y))) * self.gamma
        return x + y.permute(0, 3, 1, 2)


class Response(nn.Module):
    """Global response normalisation, as in ConvNeXt V2, channels last."""

    def forward(self, x):
        x = x.transpose(1, 2).transpose(-1, 2)  # (B, H, W, C)
        norm = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
        x = x * (norm / (norm.mean(dim=-1, keepdim=True) + 1e-6))
        return x.permute([0, 3, 1, 2])


class Excited(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, squeeze):
        super().__init__()
        self.squeeze, self.e = squeeze, nn.Conv2d(C, C, 1)

    def forward(self, x):
        return x * self.e(self.squeeze(x)).sigmoid()


def unpacked(m, x):
    """Sizes of which only some are used."""
    batch, channels, _, _ = x.shape
    torch._assert(x.ndim == 4, f"{x.ndim} dimensions")
    return x / channels + x.new_zeros(batch, 1, 1, 1) * x.dim()


def edges_of_channels(m, x):
    """Spatial attention: the mean and the largest of the channels."""
    largest, _ = x.max(1, keepdim=True)
    both = torch.cat([x.mean(dim=1, keepdim=True), largest], 1)
    return x * m.c(both).sigmoid()


def without_dimension(m, x):
    y = x.sum(axis=1)  # (B, H, W)
    y = torch.stack([y, -y], dim=1)
    y = x[:, None, 1] * y[:, :1].squeeze(1).unsqueeze(1)
    return x * y + x.mean(1).unsqueeze(1)


def questions(m, x):
    y = torch.where(x.gt(0), x, torch.max(-x, 0.1 * x)).clip(max=3.0)
    return F.channel_shuffle(y, 2) + torch.minimum(x, y.masked_fill(y < 0, 0))


def groups_in_turn(m, x):
    """The channels of two groups in turn, as ShuffleNet has it."""
    batch, channels, height, width = x.size()
    x = x.view(batch, 2, channels // 2, height, width)
    return x.transpose(1, 2).contiguous().view(batch, -1, height, width)


def shuffled(m, x):
    x, width = groups_in_turn(m, x), x.size(3)
    return m.c(x).reshape((x.shape[0], 2, C // 2, x.size(2), width)).sum(1)


def focus(m, x):
    """All places of each phase, side by side, and a crop."""
    parts = [x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]
    return m.c(torch.cat(parts, 1))


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
    "a block of ConvNeXt": (lambda m, x: m.b(x), {"b": PerPlace()}),
    "global response": (lambda m, x: m.b(x), {"b": Response()}),
    "squeezed by a module": (
        lambda m, x: m.b(x),
        {"b": Excited(nn.AdaptiveAvgPool2d(1))},
    ),
    "squeezed by a mean": (
        lambda m, x: m.b(x),
        {"b": Excited(lambda x: x.mean((2, 3), keepdim=True))},
    ),
    "squeezed by a maximum": (
        lambda m, x: m.b(x),
        {"b": Excited(lambda x: F.adaptive_max_pool2d(x, 1))},
    ),
    "a mean of all": (lambda m, x: x - x.mean() / x.std(), {}),
    "sizes unpacked": (unpacked, {}),
    "over channels": (edges_of_channels, {"c": nn.Conv2d(2, 1, 7, padding=3)}),
    "without channels": (without_dimension, {}),
    "questions": (questions, {}),
    "groups shuffled": (shuffled, {"c": down(1)}),
    "groups of channels": (groups_in_turn, {}),
    "parts of channels": (
        lambda m, x: x[:, :2, :, :] * x[:, 2:, ...] + x[:, [0, 3]],
        {},
    ),
    "padded, channels last": (
        lambda m, x: F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 0, 2, 1)).permute(
            0, 3, 1, 2
        ),
        {},
    ),
    "a crop": (lambda m, x: m.c(x[:, :, 1:-1, :-2]), {"c": down(1)}),
    "a constant of each channel": (
        lambda m, x: x * m.n.weight.reshape(1, -1, 1, 1),
        {"n": nn.BatchNorm2d(C)},
    ),
    "layer normalisation by a function": (
        lambda m, x: F.layer_norm(x.transpose(1, 3), (C,)).transpose(3, 1),
        {},
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(21, 30), (24, 23)])
def test_forms(form, size):
    step, modules = FORMS[form]
    model = tail(step, **modules)
    reference_fill_(model)
    assert_exact(model, 4, 2, torch.randn(2, C, *size))


@pytest.mark.parametrize("output_stride", [1, 2, 4])
@pytest.mark.parametrize("size", [(24, 32), (21, 30), (23, 29)])
def test_every_other_place_is_a_stride(output_stride, size):
    def step(m, x):
        return m.two(m.one(x)[:, :, 1::2, 1::2])

    model = Net(step, one=down(), two=down(1))
    reference_fill_(model)
    assert_exact(model, 4, output_stride, torch.randn(1, C, *size))


def test_the_four_phases_of_a_map_are_joined():
    """Only at sizes at which they are alike."""
    model = Net(focus, c=nn.Conv2d(4 * C, C, 3, padding=1))
    model = nn.Sequential(down(), model)
    reference_fill_(model)
    assert_exact(model, 4, 2, torch.randn(1, C, 24, 32))


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


def test_padding_before_a_layer_and_in_it_give_one_size():
    padded = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(C, C, 3))
    model = nn.Sequential(down(), joined("add", padded, down(1)))
    reference_fill_(model)
    assert_exact(model, 2, 1, torch.randn(1, C, 20, 33))
    called = [n.target for n in dilate(model, 1).graph.nodes]
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


# Layers that cannot be exact -------------------------------------------

INEXACT = {
    "reflected": {"c": down(1, padding_mode="reflect")},
    "replicated": {"c": nn.ReplicationPad2d((1, 0, 2, 1))},
    "around": {"c": nn.CircularPad2d(1)},
    "groups": {"c": nn.GroupNorm(2, C)},
    "instances": {"c": nn.InstanceNorm2d(C)},
    "interpolation": {"c": nn.Upsample(scale_factor=2, mode="bilinear")},
}


@pytest.mark.parametrize("case", INEXACT)
@torch.no_grad()
def test_inexact_layers_are_kept_if_asked_for(case):
    model = tail(lambda m, x: m.c(x), **INEXACT[case]).double().eval()
    reference_fill_(model)
    with pytest.raises(ValueError, match=r" 'c' .*: inexact=\"allow\" keeps"):
        dilate(model, 2)
    with pytest.warns(UserWarning, match="dilate is not exact: .* 'c'"):
        dilated = dilate(model, 2, inexact="allow")
    size = (26, 34) if case == "around" else (24, 32)  # not exact there
    x = torch.randn(2, C, *size, dtype=torch.float64)
    expected = model(x)
    apart = error(dilated(x)[..., ::2, ::2], expected)
    found = deviations(model, 2, x)
    assert found["output"] == pytest.approx(apart)
    assert len(found) == 2
    assert min(found.values()) > 1e-3


@torch.no_grad()
def test_each_deviation_is_of_its_layer_alone():
    """What a reflection does is not counted for the layer behind it."""
    up = nn.Upsample(scale_factor=2)
    inexact = {"n": nn.GroupNorm(2, C), "p": down(1, padding_mode="reflect")}
    model = tail(lambda m, x: m.n(m.p(x)), **inexact).double().train()
    reference_fill_(model)
    # 4k + 1 pixels: the side less 1 is a multiple of the dilation.
    x = torch.randn(1, C, 25, 33, dtype=torch.float64)
    found = deviations(model, 2, x)
    assert [*found] == ["pad", "n", "output"]
    assert found["pad"] < 1e-12
    assert found["n"] == pytest.approx(found["output"])
    assert model.training
    odd = torch.randn(1, C, 22, 23, dtype=torch.float64)
    assert deviations(nn.Sequential(model, up), 2, odd)["output"] > 1e-3


def decoder(m, x):
    """Scores at the size of an earlier map."""
    early = m.early(x)
    late = F.interpolate(m.late(early), early.shape[2:], mode="bilinear")
    return torch.cat([early, late], 1)


@torch.no_grad()
def test_a_map_is_brought_to_the_size_of_another():
    modules = {"early": down(), "late": nn.Sequential(down(), down())}
    model = Net(decoder, **modules).double()
    reference_fill_(model)
    with pytest.raises(ValueError, match=r"interpolate .* would enlarge"):
        dilate(model, 4)
    x = torch.randn(1, C, 32, 48, dtype=torch.float64)
    with pytest.warns(UserWarning, match="interpolate 'interpolate'"):
        dilated = dilate(model, 4, inexact="allow")
    assert dilated(x).shape == model(x).shape
    found = deviations(model, 4, x)
    assert found["interpolate"] > 1e-3
    assert found["output"] > 1e-3
    assert error(dilate(model, 8)(x), model(x)) == 0


def test_other_words_for_inexact_are_refused():
    with pytest.raises(ValueError, match="inexact='yes': must be 'refuse' or"):
        dilate(nn.Sequential(down()), 1, inexact="yes")


def counted(m, x):
    m.steps += 1
    scale = m.scale
    scale += 1
    return m.one(x) * m.steps * scale * m.shift.add_(1)


def test_what_counts_itself_is_not_counted_by_tracing():
    model = Net(counted, one=down())
    seven = torch.tensor(7.0)
    model.register_buffer("steps", seven.clone())
    for name in ("scale", "shift"):
        parameter = nn.Parameter(seven.clone(), requires_grad=False)
        model.register_parameter(name, parameter)
    dilated = dilate(model, 1)
    for network in (model, dilated):
        assert network.steps == network.scale == network.shift == 7


# Modes and hooks ------------------------------------------------------


def frozen():
    model = nn.Sequential(down(), nn.BatchNorm2d(C), down()).train()
    model[1].eval()
    return model


class Forgetful(fx.GraphModule):
    """As torchvision's feature extractors: a copy of it trains."""

    def __deepcopy__(self, memo):
        return super().__deepcopy__(memo).train()


def test_each_part_keeps_its_mode():
    """In graph modules too, and where the copy is in another one."""
    graph = fx.symbolic_trace(frozen().eval())
    forgetful = Forgetful(frozen(), fx.Tracer().trace(frozen()))
    graphs = graph.eval(), fx.symbolic_trace(frozen()), forgetful
    for model in (frozen(), *graphs):
        modes = {n: m.training for n, m in model.named_modules()}
        found = {n: m.training for n, m in dilate(model, 2).named_modules()}
        assert found == modes
    x = torch.randn(2, C, 16, 16)
    assert error(dilate(graph, 2)(x)[..., ::2, ::2], graph(x)) < 1e-5


def hooked(how):
    model = nn.Sequential(down(), nn.ReLU(), down(1), nn.Conv2d(C, C, 1))
    if how == "pruned":
        prune.l1_unstructured(model[2], "weight", amount=0.5)
        prune.random_structured(model[3], "weight", amount=0.5, dim=0)
    else:
        for module in (model[0], model[2]):
            getattr(nn.utils, how)(module)
    with torch.no_grad():
        model(torch.rand(1, C, 9, 9))
    model(torch.rand(1, C, 9, 9))  # the weights have a history now
    return model.eval()


@pytest.mark.filterwarnings("ignore:.*is deprecated")
@pytest.mark.parametrize("how", ["pruned", "weight_norm", "spectral_norm"])
def test_weights_that_hooks_make(how):
    model = hooked(how)
    dilated = dilate(model, 1)
    x = torch.randn(2, C, 16, 17)
    assert error(dilated(x)[..., ::2, ::2], model(x)) < 1e-5
    assert [*dilated.state_dict()] == [*model.state_dict()]
    for name, tensor in dilated.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])
    dilated.train()(x).sum().backward()
    assert any(p.grad is not None for p in dilated.parameters())
    assert all(p.grad is None for p in model.parameters())


# Refusals -------------------------------------------------------------

REFUSED = {
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
        lambda m, x: F.interpolate(x, size=(12, 12)),
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
    "layer normalisation of a whole map": (
        lambda m, x: m.norm(x),
        {"norm": nn.LayerNorm((C, 6, 6))},
        "LayerNorm 'norm'.* would take its statistics",
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
    "joined with the flat map": (
        lambda m, x: x.view(x.shape[0], -1, x.shape[2] * x.shape[3]),
        {},
        "getattr 'getattr_2'.* would read the size of a denser grid",
    ),
    "a gate of the map's size": (
        lambda m, x: x * x.mean((2, 3)).view(1, -1, x.shape[2], x.shape[3]),
        {},
        "getattr 'getattr_1'.* would read the size of a denser grid",
    ),
    "rows as channels": (
        lambda m, x: x.view(x.shape[0], x.shape[2], -1, x.shape[3]),
        {},
        "view 'view'.* in other positions",
    ),
    "a mean of columns": (
        lambda m, x: x.mean(3, keepdim=True),
        {},
        "mean 'mean'.* would act along an axis",
    ),
    "layers of each column": (
        lambda m, x: m.fc(x.transpose(1, 2)),
        {"fc": nn.Linear(6, 6)},
        "Linear 'fc'.* in other positions",
    ),
    "channels that are rows": (
        lambda m, x: m.s(x.permute(0, 2, 3, 1)),
        {"s": nn.Softmax2d()},
        "Softmax2d 's'.* has no rule",
    ),
    "a part of the larger": (
        lambda m, x: torch.max(x, -x)[:, :, :3],
        {},
        "getitem 'getitem'.* would take a part",
    ),
    "enlarged with channels last": (
        lambda m, x: F.interpolate(x.permute(0, 2, 3, 1), scale_factor=2),
        {},
        "interpolate 'interpolate'.* would enlarge a grid",
    ),
    "maps in two layouts": (
        lambda m, x: x + x.permute(0, 3, 2, 1),
        {},
        r"add 'add'.* joins maps of the layouts \['BCHW', 'BWHC'\]",
    ),
    "a constant of the old size, made of another": (
        lambda m, x: x + m.at.position.sigmoid()[None],
        {"at": nn.ParameterDict({"position": torch.rand(C, 6, 6)})},
        r"add 'add'.* joins .*: \[1, 4, 6, 6\]",
    ),
    "other padding by a function": (
        lambda m, x: F.pad(x, (1, 1, 1, 1), "replicate"),
        {},
        "pad 'pad'.* pads by 'replicate'",
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
    "another dimension": (
        lambda m, x: torch.cat([x, x], 2),
        {},
        "cat 'cat'.* would act along an axis",
    ),
    "softmax over rows": (
        lambda m, x: m.s(x),
        {"s": nn.Softmax(2)},
        "Softmax 's'.* would act along an axis",
    ),
    "weights from a map": (
        lambda m, x: F.conv2d(x, m.c(x)),
        {"c": down(1)},
        "conv2d 'conv2d'.* takes its weights from a map",
    ),
    "same, of an unknown kernel": (
        lambda m, x: F.conv2d(x, m.c.weight * x.mean(), padding="same"),
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


def twice_as_large(m, x):
    height, width = x.shape[2:]
    return F.interpolate(m.b(m.a(x)), (height * 2, width * 2))


def computed(m, x):
    return F.max_pool2d(m.a(x), x.shape[2] // 4)


@pytest.mark.parametrize(
    ("model", "output_stride", "message"),
    [
        (Net(reused, c=down()), 2, "Conv2d 'c'.* is called twice and would"),
        (
            Net(lambda m, x: m.a(x) + m.b(x), a=down(), b=down(1)),
            1,
            r"add 'add' .* joins strides \[1, 2\]",
        ),
        (
            Net(lambda m, x: m.a(x) + m.b(x), a=down(4), b=down(2)),
            1,
            r"joins strides \[2, 4\]",
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
            Net(lambda m, x: m.b(m.a(x).flip(2)), a=down(), b=down()),
            2,
            "Conv2d 'b'.* has a stride, after 'flip'",
        ),
        (
            nn.Sequential(down(), down(), nn.FractionalMaxPool2d(2, 9)),
            4,
            "Sequential has no known output stride: '_2' has no rule",
        ),
        (
            nn.Sequential(down(), down(), nn.AdaptiveAvgPool2d(7)),
            4,
            "Sequential gives no map: AdaptiveAvgPool2d '2' .* takes all",
        ),
        (
            nn.Sequential(down(), down(), nn.AdaptiveAvgPool2d((None, 1))),
            2,
            "AdaptiveAvgPool2d '2' .* has no rule",
        ),
        (
            nn.Sequential(down(), down(), nn.PixelUnshuffle(2)),
            4,
            "PixelUnshuffle '2' .* goes to stride 8, past output_stride=4",
        ),
        (
            nn.Sequential(down(), down(), nn.LPPool2d(2, 3)),
            2,
            "LPPool2d '2' .* has no dilated form",
        ),
        (
            Net(twice_as_large, a=down(), b=down()),
            4,
            "Net has no known output stride: 'interpolate' has no rule",
        ),
        (
            Net(lambda m, x: m.a(x).mean((2, 3)), a=down()),
            1,
            "Net gives no map: mean 'mean' .* takes all of a map; cut the",
        ),
        (
            nn.Sequential(nn.Conv1d(C, C, 3, 2), down()),
            1,
            r"Conv2d '1' .* takes maps of 2, and those .* have 1 \(axes\)",
        ),
        (
            Net(lambda m, x: F.max_pool3d(m.a(x), 2), a=down()),
            1,
            "max_pool3d 'max_pool3d' .* takes maps of 3, and",
        ),
        (
            Net(lambda m, x: m.a(x), a=nn.Conv2d(C, C, 3, (2, 1))),
            1,
            "Conv2d 'a'.* has different strides, 2 and 1",
        ),
        (
            Net(computed, a=down()),
            1,
            "max_pool2d 'max_pool2d'.* a geometry that is computed",
        ),
        (
            Net(lambda m, x: m.a(x) if x.sum() > 0 else x, a=down()),
            1,
            r"^model=Net: torch.fx cannot trace it: .*control flow, in "
            r"<lambda> \(line \d+ of test_dilate.py: .*x.sum\(\) > 0.*\)",
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
        (
            nn.Sequential(down(), down(), nn.PixelUnshuffle(2)),
            16,
            r"=16: .* reach \[1, 2, 4, 8\]",
        ),
        (
            nn.Sequential(down(4), nn.Upsample(scale_factor=2)),
            8,
            r"=8: .* reach \[1, 2, 4\]",
        ),
    ],
)
def test_what_cannot_be_kept(model, output_stride, message):
    with pytest.raises(ValueError, match=message):
        dilate(model, output_stride)
