"""Networks prepared for inference: the same function, and no BN left."""

import pytest
import torch
from torch import nn

from atrous import fastconv, zoo
from atrous.fastconv import WAYS, AtrousConv2d, convert_
from atrous.inference import prepare
from atrous.photographs import photograph
from atrous.resnet import ResNet, ResNetClassifier
from atrous.taps import CHANNELS_LAST


def trained(model):
    """Statistics, weights and biases as training might leave them."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            if module.track_running_stats:
                module.running_mean.normal_(0, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
            if module.affine:
                module.weight.data.uniform_(0.5, 1.5, generator=generator)
                module.bias.data.normal_(0, 0.2, generator=generator)
    return model.eval()


def norms(model):
    return [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


def assert_close(found, expected, tolerance=1e-10):
    assert found.shape == expected.shape
    error = (found - expected).abs().max() / expected.abs().max()
    assert error < tolerance


@pytest.mark.parametrize("way", WAYS)
@torch.no_grad()
def test_a_prepared_resnet_is_the_same_function(monkeypatch, way):
    monkeypatch.setattr(fastconv, "SMALLEST", 0)
    monkeypatch.setattr(fastconv, "fastest", lambda call: way)
    monkeypatch.setattr(fastconv, "_ways", {})
    model = trained(ResNet(50, output_stride=8)).double()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    prepared = prepare(model)
    x = torch.randn(1, 3, 65, 49, dtype=torch.float64)
    expected = model.features(x)
    for name, found in prepared.features(x).items():
        assert_close(found, expected[name])
    assert_close(prepared(x), model(x))
    assert type(prepared) is ResNet
    assert not norms(prepared)
    assert not any(m.training for m in prepared.modules())
    assert not any(p.requires_grad for p in prepared.parameters())
    # The original is untouched and shares nothing with the copy.
    assert len(norms(model)) == 53
    assert all(p.requires_grad for p in model.parameters())
    assert not any(isinstance(m, AtrousConv2d) for m in model.modules())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name])
        assert tensor.is_contiguous()
    own = {p.data_ptr() for p in model.parameters()}
    assert not own & {p.data_ptr() for p in prepared.parameters()}


def test_what_a_prepared_network_is_made_of():
    prepared = prepare(trained(ResNet(18)))
    found = [m for m in prepared.modules() if isinstance(m, nn.Conv2d)]
    assert len(found) == 20
    for module in found:
        assert type(module) is AtrousConv2d
        assert module.bias is not None
        assert module.weight.is_contiguous(memory_format=CHANNELS_LAST)
    assert not any("bn" in name for name in prepared.state_dict())
    assert isinstance(prepared.bn1, nn.Identity)


@pytest.mark.parametrize("name", zoo.names())
def test_every_network_of_the_zoo_can_be_prepared(name):
    with torch.device("meta"):
        model = zoo.build(name).eval()
        prepared = prepare(model)
        dead = {"drn_c_58": 1, "drn_c_58_seg": 1}  # a projection never run
        loose = {"espnet_c": 15, "espnet": 18, "c3net": 18}  # after no conv
        assert len(norms(prepared)) == (dead | loose).get(name, 0)
        x = torch.empty(1, 3, 600, 600)  # rate 36 at stride 16 fits
        assert prepared(x).shape == model(x).shape


@torch.no_grad()
def test_the_same_labels_on_a_photograph():
    """At every pixel, unless the two best differ by rounding alone."""
    torch.manual_seed(0)
    model = trained(zoo.build("deeplabv2_resnet101")).eval()
    x = photograph("astronaut")[..., 100:229, 150:279] - 0.5
    expected, found = model(x), prepare(model)(x)
    assert_close(found, expected, 1e-4)
    differs = found.argmax(1) != expected.argmax(1)
    best = expected.topk(2, 1).values
    ties = best[:, 0] - best[:, 1] < 1e-4 * expected.abs().max()
    assert not (differs & ~ties).any()
    assert differs.double().mean() < 1e-3
    assert expected.argmax(1).unique().numel() > 1


class Branches(nn.Module):
    """Pairs that must not be folded beside one that must."""

    def __init__(self):
        super().__init__()
        self.seen = nn.Conv2d(3, 4, 3, padding=1)
        self.seen_bn = nn.BatchNorm2d(4)
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.once_bn = nn.BatchNorm2d(4)
        self.again = nn.Conv2d(4, 4, 1)
        self.shared_bn = nn.BatchNorm2d(4)
        self.batch = nn.Conv2d(4, 4, 1)
        self.batch_bn = nn.BatchNorm2d(4, track_running_stats=False)
        self.first_bn = nn.BatchNorm2d(4)
        self.plain = nn.Conv2d(4, 4, 1, bias=False)
        self.plain_bn = nn.BatchNorm2d(4, affine=False)

    def forward(self, x):
        y = self.seen(x)
        y = self.seen_bn(y) + y
        y = self.once_bn(self.twice(y)) + self.twice(y)
        y = self.shared_bn(self.again(y))
        y = self.shared_bn(y)
        y = self.batch_bn(self.batch(y))
        y = self.first_bn(y.relu())
        return self.plain_bn(self.plain(y))


def test_only_what_directly_follows_is_folded():
    model = trained(Branches()).double()
    prepared = prepare(model)
    x = torch.randn(2, 3, 8, 9, dtype=torch.float64)
    assert_close(prepared(x), model(x))
    assert len(norms(prepared)) == 5
    assert isinstance(prepared.plain_bn, nn.Identity)


def test_tied_weights_come_apart():
    model = nn.Sequential(
        nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
    )
    model[2].weight = model[0].weight
    trained(model).double()
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    assert_close(prepare(model)(x), model(x))


def test_a_converted_network_can_be_prepared():
    model = trained(ResNet(18, output_stride=8)).double()
    x = torch.randn(1, 3, 33, 33, dtype=torch.float64)
    expected = model(x)
    prepared = prepare(convert_(model))
    assert not norms(prepared)
    assert_close(prepared(x), expected)
    assert_close(prepare(prepared)(x), expected)
    assert len(norms(model)) == 20


def test_training_mode_is_refused():
    model = ResNetClassifier(18, num_classes=3)
    with pytest.raises(ValueError, match=r"ResNetClassifier.*call eval\(\)"):
        prepare(model)
    model.eval().layer2[0].bn1.train()
    with pytest.raises(ValueError, match=r"layer2\.0\.bn1 is in training"):
        prepare(model)


class Untraceable(nn.Sequential):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)


def test_what_cannot_be_traced_is_refused():
    """Unless there is nothing to fold."""
    convolution, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    with pytest.raises(ValueError, match=r"Untraceable.*cannot trace"):
        prepare(Untraceable(convolution, norm).eval())
    prepared = prepare(Untraceable(convolution).eval())
    assert isinstance(prepared[0], AtrousConv2d)


class Sizes(nn.Sequential):
    def forward(self, x):
        height, width = x.shape[2:]
        b, c, *_ = x.shape
        y = super().forward(x.reshape(b, c, height, width))
        return nn.functional.interpolate(y, tuple(x.shape[-2:]))


def test_sizes_may_be_taken_apart():
    model = trained(Sizes(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))).double()
    x = torch.randn(1, 3, 8, 9, dtype=torch.float64)
    prepared = prepare(model)
    assert not norms(prepared)
    assert_close(prepared(x), model(x))
