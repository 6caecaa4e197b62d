"""Surgery along one axis and three: sequences and volumes."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from references import error
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from atrous.convert.dilate import deviations, dilate
from atrous.experiments.parity import reference_fill_
from atrous.ops.pooling import crop
from atrous.sequences.causal import CausalConv1d

C = 4  # channels of the small networks
# torch says so once a process, in whichever test comes first.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Using padding='same' with even kernel"
)
numbers = st.integers


def layer(name, axes, *arguments, **options):
    return getattr(nn, f"{name}{axes}d")(*arguments, **options)


class Net(nn.Module):
    """Modules by name, and what to do with them."""

    def __init__(self, step, **modules):
        super().__init__()
        self.step = step
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.step(self, x)


@torch.no_grad()
def assert_exact(model, axes, step, output_stride, x):
    model = model.double().eval()
    found, expected = dilate(model, output_stride)(x), model(x)
    coarse = (..., *(slice(None, None, step),) * axes)
    assert error(found[coarse], expected) < 1e-12


@st.composite
def blocks(draw, axes):
    """A layer of some stride that keeps the channels."""
    stride = draw(st.sampled_from([1, 1, 2, 3]))
    kind = draw(st.sampled_from(["Conv", "Conv", "Max", "Avg", "Pad", "+"]))
    kernel = [draw(numbers(1, 4)) for _ in range(axes)]
    half = [draw(numbers(0, k // 2)) for k in kernel]
    if kind == "Pad":
        sides = [draw(numbers(0, 2)) for _ in range(2 * axes)]
        pad = layer("ConstantPad", axes, tuple(sides), 0.5)
        return 1, pad
    if kind == "Max":
        ceil, dilation = draw(st.booleans()), draw(numbers(1, 2))
        return stride, layer(
            "MaxPool", axes, kernel, stride, half, dilation, ceil_mode=ceil
        )
    if kind == "Avg":
        flags = draw(st.booleans()), draw(st.booleans())
        return stride, layer("AvgPool", axes, kernel, stride, half, *flags)
    if kind == "+":
        main = layer("Conv", axes, C, C, 3, stride, 1)
        side = layer("Conv", axes, C, C, 1, stride)
        return stride, Net(lambda m, x: m.a(x) + m.b(x), a=main, b=side)
    padding = "same" if stride == 1 and draw(st.booleans()) else half
    conv = layer(
        "Conv", axes, C, C, kernel, stride, padding, draw(numbers(1, 2))
    )
    norm = layer("BatchNorm", axes, C)
    return stride, nn.Sequential(conv, norm, nn.ReLU())


@settings(max_examples=40)
@given(st.sampled_from([1, 3]), st.data(), numbers(9, 13))
def test_random_networks_are_exact(axes, data, side):
    drawn = data.draw(st.lists(blocks(axes), min_size=2, max_size=4))
    total, reached = 1, [1]
    for stride, _ in drawn:
        total *= stride
        reached.append(total)
    assume(2 <= total <= 6)
    output_stride = data.draw(
        st.sampled_from([s for s in reached if s < total])
    )
    model = nn.Sequential(*(block for _, block in drawn)).double().eval()
    reference_fill_(model)
    sides = (side, side + 3, side + 1) if axes == 3 else (3 * side,)
    x = torch.randn(1, C, *sides, dtype=torch.float64)
    try:
        expected = model(x)
    except RuntimeError:  # nothing is left
        assume(False)
    assume(expected.isfinite().all() and expected.abs().max() > 1e-3)
    assert_exact(model, axes, total // output_stride, output_stride, x)


def excited(axes):
    """Squeeze and excitation."""
    return lambda m, x: x * m.c(m.p(x)).sigmoid()


def shuffled(m, x):
    """Groups of channels in turn."""
    batch, channels, *sides = (
        x.shape[0],
        x.shape[1],
        *(x.size(d) for d in range(2, x.dim())),
    )
    x = x.view(batch, 2, channels // 2, *sides)
    return x.transpose(1, 2).contiguous().view(batch, -1, *sides)


def per_place(m, x):
    """A layer normalisation of each step, the channels last."""
    return m.norm(x.transpose(1, -1)).transpose(-1, 1)


FORMS = {
    "squeezed": lambda axes: (
        excited(axes),
        {
            "p": layer("AdaptiveAvgPool", axes, 1),
            "c": layer("Conv", axes, C, C, 1),
        },
    ),
    "a mean of each channel": lambda axes: (
        lambda m, x: x - x.mean((*range(2, 2 + axes),), keepdim=True),
        {},
    ),
    "a crop": lambda axes: (
        lambda m, x: m.c(x[(..., *(slice(1, -1),) * axes)]),
        {"c": layer("Conv", axes, C, C, 3, 1, 1)},
    ),
    "every other place": lambda axes: (
        lambda m, x: m.c(x[(..., *(slice(1, None, 2),) * axes)]),
        {"c": layer("Conv", axes, C, C, 3, 1, 1)},
    ),
    "padded by a function": lambda axes: (
        lambda m, x: m.c(F.pad(x, (2, 0, 1, 1, 0, 2)[: 2 * axes])),
        {"c": layer("Conv", axes, C, C, 3)},
    ),
    "functions": lambda axes: (
        lambda m, x: getattr(F, f"avg_pool{axes}d")(
            getattr(F, f"conv{axes}d")(x, m.c.weight, padding=1), 3, 1, 1
        ),
        {"c": layer("Conv", axes, C, C, 3)},
    ),
    "weight normalisation": lambda axes: (
        lambda m, x: m.c(x),
        {"c": weight_norm(layer("Conv", axes, C, C, 3, 1, 1))},
    ),
    "dropout": lambda axes: (
        lambda m, x: m.d(x),
        {"d": layer("Dropout", axes)},
    ),
}


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("form", FORMS)
def test_forms(form, axes):
    """After a stride of 2 and another one, which is turned."""
    step, modules = FORMS[form](axes)
    model = Net(
        lambda m, x: step(m, m.two(m.one(x)).relu()),
        one=layer("Conv", axes, C, C, 3, 2, 1),
        two=layer("Conv", axes, C, C, 3, 2, 1),
        **modules,
    )
    reference_fill_(model)
    strides = 4 if form == "every other place" else 2
    sides = (33,) if axes == 1 else (17, 16, 19)
    x = torch.randn(2, C, *sides, dtype=torch.float64)
    assert_exact(model, axes, strides, 2, x)


def test_causal_convolutions():
    """They pad by their dilation, and so by the new one."""
    model = nn.Sequential(
        CausalConv1d(C, C, 2, dilation=3),
        nn.AvgPool1d(2),
        CausalConv1d(C, C, 3),
        nn.MaxPool1d(2),
        weight_norm(CausalConv1d(C, C, 2, dilation=2)),
    )
    reference_fill_(model)
    x = torch.randn(1, C, 41, dtype=torch.float64)
    for output_stride in (1, 2):
        assert_exact(model, 1, 4 // output_stride, output_stride, x)


def test_channels_are_shuffled_and_normalised():
    tail = {"one": layer("Conv", 1, C, C, 3, 2, 1), "norm": nn.LayerNorm(C)}
    model = Net(lambda m, x: per_place(m, shuffled(m, m.one(x))), **tail)
    x = torch.randn(2, C, 17, dtype=torch.float64)
    with pytest.raises(ValueError, match="cannot trace it"):
        dilate(model, 1)  # it asks how many sides there are

    def fixed(m, x):
        batch, channels, steps = x.shape
        x = x.view(batch, 2, channels // 2, steps).transpose(1, 2)
        return per_place(m, x.contiguous().view(batch, -1, steps))

    model = Net(lambda m, x: fixed(m, m.one(x)), **tail)
    assert_exact(model, 1, 2, 1, x)


def test_branches_of_two_lengths_are_cropped():
    branches = {"a": nn.Conv1d(C, C, 3, 2, 1), "b": nn.MaxPool1d(2)}
    model = Net(lambda m, x: torch.cat([m.a(x), m.b(x)], 1), **branches)
    x = torch.randn(1, C, 20, dtype=torch.float64)
    assert_exact(model, 1, 2, 1, x)
    assert crop in [n.target for n in dilate(model, 1).graph.nodes]


@pytest.mark.parametrize("axes", [1, 3])
@torch.no_grad()
def test_inexact_layers_are_kept_if_asked_for(axes):
    mirror = layer("Conv", axes, C, C, 3, 1, 1, padding_mode="reflect")
    for last in (mirror, layer("InstanceNorm", axes, C)):
        model = nn.Sequential(layer("Conv", axes, C, C, 3, 2, 1), last)
        model.double().eval()
        with pytest.raises(ValueError, match=r" '1' .*inexact=\"allow\" kee"):
            dilate(model, 1)
        with pytest.warns(UserWarning, match="not exact: .* '1'"):
            dilated = dilate(model, 1, inexact="allow")
        x = torch.randn(2, C, *(12,) * axes, dtype=torch.float64)
        coarse = (..., *(slice(None, None, 2),) * axes)
        apart = error(dilated(x)[coarse], model(x))
        assert deviations(model, 1, x)["output"] == pytest.approx(apart)
        assert apart > 1e-3


def conv1d():
    return nn.Conv1d(C, C, 3, 2, 1)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            nn.Sequential(conv1d(), nn.ConvTranspose1d(C, C, 2, 2)),
            "ConvTranspose1d '1' .* would enlarge",
        ),
        (
            nn.Sequential(conv1d(), nn.Linear(6, 6)),
            "Linear '1' .* in other positions",
        ),
        (
            nn.Sequential(conv1d(), nn.Softmax(2)),
            "Softmax '1' .* would act along an axis",
        ),
        (
            nn.Sequential(conv1d(), nn.LPPool1d(2, 3)),
            "LPPool1d '1' .* has no dilated form",
        ),
        (
            nn.Sequential(conv1d(), nn.AdaptiveAvgPool1d(1)),
            "gives no map: AdaptiveAvgPool1d '1' .* takes all",
        ),
        (
            nn.Sequential(nn.Conv3d(C, C, 3, (2, 1, 2))),
            "Conv3d '0' .* has different strides, 2 and 1 and 2",
        ),
        (
            nn.Sequential(nn.Conv3d(C, C, 3, 2), nn.PixelShuffle(2)),
            "PixelShuffle '1' .* takes maps of 2, and those .* have 3",
        ),
        (
            Net(
                lambda m, x: m.a(x).mean(3, keepdim=True),
                a=nn.Conv3d(C, C, 3, 2),
            ),
            "mean 'mean' .* would act along an axis",
        ),
    ],
)
def test_refusals_name_the_layer(model, message):
    with pytest.raises(ValueError, match=message):
        dilate(model, 1)
