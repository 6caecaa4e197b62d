"""One network of each family leaves torch with free sides of its maps."""

import pytest
import torch
from references import error
from torch.export import Dim

from atrous import zoo
from atrous.experiments.parity import reference_fill_

# Each as small as its options make it.
STAGES = ((8, 1),) * 5
FAMILIES = {
    "dilation7_kitti": {"num_classes": 2},
    "deeplabv2_vgg16_largefov": {"num_classes": 2, "width": 8},
    "smoothed_deeplabv2_resnet101": {"num_classes": 2, "depth": 18},
    "deeplabv3_resnet18": {"num_classes": 2, "width": 8},
    "deeplabv3plus_resnet18": {"num_classes": 2, "width": 8},
    "drn_d_22": {"num_classes": 2},
    "drn_d_22_seg": {"num_classes": 2, "upsampling": "transposed"},
    "refinenet_lw_mobilenetv2": {"num_classes": 2},
    "fcn8s_vgg16": {"num_classes": 2},
    "liteseg_mobilenetv2": {"num_classes": 2, "width": 8},
    "espnet": {"num_classes": 5, "p": 1, "q": 1},
    "c3net": {"num_classes": 4, "p": 1, "q": 1},
    "tkcn_resnet101": {"num_classes": 2, "depth": 18, "width": 8},
    "hdc_duc_resnet101": {"num_classes": 2, "depth": 18, "unit_rates": None},
    "van_b0": {"num_classes": 2, "widths": (8,) * 4, "depths": (1,) * 4},
    "unireplknet_a": {
        "num_classes": 2,
        "widths": (8,) * 4,
        "kernels": ((3,), (13,), (7,), (5,)),
    },
    "hed": {"stages": STAGES},
    "bdcn": {"stages": STAGES},
    "tcn": {"channels": 3, "widths": (4, 4)},
    "wavenet": {"inputs": 3, "cycle": (1, 2, 8), "skip": 8},
    "conv_tasnet_separator": {"filters": 3, "blocks": 2, "hidden": 8},
    "highres3dnet": {"channels": 3, "num_classes": 2, "width": 4},
}
# Multiples of the strides, then others. In the larger one 3x3 filters keep
# taps at rates at which they have lost them in the one that is traced.
TRACED, SIZES = (65, 97), ((64, 96), (99, 98))
LINES, VOLUMES = ((65,), (64,), (99,)), ((9, 8, 7), (8, 12, 4), (11, 9, 12))
pytestmark = [
    pytest.mark.filterwarnings("ignore:on a feature map of"),
    # What torch.compile says on Python 3.13.0.
    pytest.mark.filterwarnings("ignore:Guards may run slower"),
]


@pytest.fixture(scope="module", params=FAMILIES)
def network(request):
    network = zoo.build(request.param, **FAMILIES[request.param]).eval()
    reference_fill_(network)
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def maps(network):
    """What it is traced with, and two of other sizes."""
    sizes = (TRACED, *SIZES)
    if isinstance(network, tuple(zoo.SEQUENCES.values())):
        sizes = LINES
    elif isinstance(network, tuple(zoo.VOLUMES.values())):
        sizes = VOLUMES
    return [torch.rand(1, 3, *size) for size in sizes]


@pytest.fixture(scope="module")
def program(network, maps):
    free = (dict.fromkeys(range(2, maps[0].ndim), Dim.DYNAMIC),)
    return torch.export.export(network, (maps[0],), dynamic_shapes=free)


@pytest.fixture(scope="module")
def pairs(network, maps):
    """Maps of both sizes, and what the network makes of them."""
    return [(x, network(x)) for x in maps[1:]]


def test_every_family_is_here():
    def module(name):
        build = zoo.NETWORKS[name]
        return getattr(build, "func", build).__module__

    assert {*map(module, FAMILIES)} == {*map(module, zoo.NETWORKS)}


def test_exported_programs_take_maps_of_any_size(program, pairs):
    run = program.module()
    for x, expected in pairs:
        assert error(run(x), expected) < 1e-5


# torch 2.13 pickles a class that it has given up.
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_onnx_files_take_maps_of_any_size(program, pairs, tmp_path):
    for peer in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(peer)
    import onnxruntime

    path = str(tmp_path / "network.onnx")
    torch.onnx.export(program, (), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(
        path, providers=["CPUExecutionProvider"]
    )
    (given,) = session.get_inputs()
    for x, expected in pairs:
        (found,) = session.run(None, {given.name: x.numpy()})
        assert error(torch.from_numpy(found), expected) < 1e-5


def test_networks_compile_without_a_break(network, pairs):
    torch.compiler.reset()
    run = torch.compile(network, backend="aot_eager", fullgraph=True)
    x, expected = pairs[1]
    assert error(run(x), expected) < 1e-5
