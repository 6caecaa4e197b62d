"""Every network by name, held to the contract of its kind."""

import copy
import itertools
import pickle
import re

import pytest
import torch
import torch.nn.functional as F

from atrous import zoo
from atrous.segmentation.base import MultiScale
from atrous.segmentation.dilationnet import Unpadded
from atrous.segmentation.hdc_duc import HDCDUC

CLASSES = 6
SEGMENTERS = sorted(zoo.SEGMENTERS)
# The first of each family, whose others differ in depth alone.
FAMILIES = [
    next(names)
    for _, names in itertools.groupby(
        sorted(SEGMENTERS, key=lambda n: (re.sub(r"\d\d+", "", n), len(n), n)),
        key=lambda n: re.sub(r"\d\d+", "", n),
    )
]
# What it warns of is tested with ASPP.
pytestmark = pytest.mark.filterwarnings("ignore:on a feature map of")
# Weights that no output depends on; they are there for files that have them.
UNUSED = ("level7.0.downsample", "backbone.fc.")


def build(name, **options):
    return zoo.build(name, num_classes=CLASSES, **options)


def meta(name):
    with torch.device("meta"):
        return build(name)


def pictures(*size, batch=1, dtype=torch.float32, device="cpu"):
    return torch.rand(batch, 3, *size, dtype=dtype, device=device)


def test_every_network_has_its_kind():
    kinds = zoo.SEGMENTERS, zoo.EDGE_DETECTORS, zoo.CLASSIFIERS
    assert sum(map(len, kinds)) == len(zoo.PICTURES)
    kinds = zoo.PICTURES, zoo.SEQUENCES, zoo.VOLUMES
    assert sum(map(len, kinds)) == len(zoo.NETWORKS) == len(zoo.names())
    for name in zoo.EDGE_DETECTORS:
        with torch.device("meta"):
            network = zoo.build(name)
        maps = network(pictures(33, 40, device="meta"))
        assert maps.shape == (1, len(network.outputs), 33, 40)
        assert network.outputs[-1] == "fusion"
        assert network.probabilities(
            pictures(33, 40, device="meta")
        ).shape == (1, 33, 40)
    for name in zoo.CLASSIFIERS:
        logits = meta(name)(pictures(33, 40, batch=2, device="meta"))
        assert logits.shape == (2, CLASSES)


def test_corners_are_aligned_where_the_released_networks_align_them():
    for name in SEGMENTERS:
        aligned = name.startswith(("deeplabv3plus", "liteseg"))
        assert meta(name).align_corners == aligned, name


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_forward_brings_logits_to_the_picture(name):
    """At odd, even and tiny sizes; and one scale of several is the network."""
    network = build(name).eval()
    caffe = name.startswith(("deeplab", "smoothed"))
    for size in ((3, 2), (17, 24)):
        x = pictures(*size)
        logits, y = network.logits(x), network(x)
        assert y.shape == (1, CLASSES, *size)
        assert torch.equal(y, network.upsample(logits, size))
        stride = network.output_stride
        for places, side in zip(logits.shape[2:], size, strict=True):
            # A pooling of Caffe's may give one place more.
            assert places - -(-side // stride) in range(1 + caffe)
    assert torch.equal(y, MultiScale(network, scales=(1.0,))(x))
    # Cells of a fixed width are cut at the picture's border, others not.
    cells = isinstance(network, Unpadded | HDCDUC)
    for align in (True, False):
        network.align_corners = align
        whole = [stride * n for n in logits.shape[2:]] if cells else size
        expected = F.interpolate(
            logits, whole, mode="bilinear", align_corners=align
        )[..., : size[0], : size[1]]
        torch.testing.assert_close(network.upsample(logits, size), expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_types_modes_and_copies(name):
    network, size = meta(name), (97, 131)
    for dtype, mode in (
        (torch.float64, False),
        (torch.bfloat16, True),
        (torch.float32, False),
    ):
        x = pictures(*size, batch=2, dtype=dtype, device="meta")
        y = network.to(dtype).train(mode)(x)
        assert y.dtype == dtype
        assert y.shape == (2, CLASSES, *size)
    scales = MultiScale(network, scales=(0.5, 1.5))
    assert scales(x).shape == y.shape
    assert scales.num_classes == network.num_classes == CLASSES
    copied = pickle.loads(pickle.dumps(copy.deepcopy(network)))
    copied.load_state_dict(network.state_dict())
    assert [*copied.state_dict()] == [*network.state_dict()]


@pytest.mark.parametrize("name", SEGMENTERS)
def test_a_step_reaches_every_weight(name):
    network = meta(name).train()
    network(pictures(64, 96, batch=2, device="meta")).sum().backward()
    missed = [n for n, p in network.named_parameters() if p.grad is None]
    frozen = [n for n, p in network.named_parameters() if not p.requires_grad]
    assert not frozen
    assert all(any(part in n for part in UNUSED) for n in missed), missed


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    "x", [torch.rand(3, 33, 33), torch.zeros(1, 3, 33, 33, dtype=torch.uint8)]
)
def test_what_is_no_batch_of_pictures_is_refused(name, x):
    network = meta(name)
    for call in (network, network.logits):
        with pytest.raises(ValueError, match=r"x of shape .* must be a batch"):
            call(x)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_wrong_options_are_named(name):
    with pytest.raises(ValueError, match="num_classes=0"):
        zoo.build(name, num_classes=0)
    with pytest.raises(TypeError, match="blok"):
        zoo.build(name, blok=5)


SMALL = {  # options, channels of the input, shape of what it gives
    "tcn": ({"widths": (4, 4)}, 2, (1,)),
    "wavenet": ({"cycles": 1, "skip": 8}, 256, (256,)),
    "conv_tasnet_separator": ({"blocks": 2, "hidden": 8}, 256, (2, 256)),
    "highres3dnet": ({"width": 2, "num_classes": 5}, 1, (5,)),
}


@pytest.mark.parametrize("name", [*zoo.SEQUENCES, *zoo.VOLUMES])
def test_sequences_and_volumes_keep_their_sides(name):
    """Of any size and type, in both modes; a copy has the same state."""
    options, channels, shape = SMALL[name]
    network, axes = zoo.build(name, **options), 1 + 2 * (name in zoo.VOLUMES)
    for dtype, mode, sides in (
        (torch.float64, False, (7, 5, 6)),
        (torch.bfloat16, True, (4, 8, 3)),
        (torch.float32, False, (5, 5, 5)),
    ):
        x = torch.rand(2, channels, *sides[:axes], dtype=dtype)
        y = network.to(dtype).train(mode)(x)
        assert y.dtype == dtype
        assert y.shape == (2, *shape, *sides[:axes])
    copied = copy.deepcopy(network)
    copied.load_state_dict(network.state_dict())
    assert [*copied.state_dict()] == [*network.state_dict()]
    torch.testing.assert_close(copied(x), y)
    with pytest.raises(ValueError, match=r"x of shape .* must be a batch of"):
        network(x[0])
    with pytest.raises(TypeError, match="blok"):
        zoo.build(name, blok=5)


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(ValueError, match="did you mean 'dilation8_voc'"):
        zoo.build("dilation8_vok")
    with pytest.raises(
        ValueError,
        match=r"Segmentation: .*fcn8s.*Edges: .*hed.*Sequences: .*tcn",
    ):
        zoo.build("unet")


def test_several_scales_need_a_segmenter():
    with pytest.raises(ValueError, match="network=Conv2d: must be a Segm"):
        MultiScale(torch.nn.Conv2d(3, 2, 1))
