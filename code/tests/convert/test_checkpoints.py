"""Files in the layouts of other repositories, each with its own traps.

The layouts are those of the fingerprints: names, order and shapes as the
repositories have them. In a file of this kind each tensor holds one number,
a number of its own, so that it is small and no two tensors look the same.
"""

import re
import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from references import meta, record
from torch import nn

from atrous import zoo
from atrous.backbones.resnet import ResNetClassifier
from atrous.convert.checkpoints import load_checkpoint
from atrous.ops.upsampling import transposed_bilinear
from atrous.segmentation.base import MultiScale

SEG = "fyu_drnseg_drn_c_26"
KAZUTO = "kazuto_deeplabv2_resnet101_L"
TORCHVISION = {"variant": "torchvision", "output_stride": 8}


def layout(reference, prefix=""):
    """A state dict as the repository's own network gives it."""
    return OrderedDict(
        (prefix + name, torch.tensor(0.5 + number).expand(shape))
        for number, name, shape in record(reference)["state_dict"]
    )


def saved(tmp_path, state, **options):
    torch.save(state, tmp_path / "file.pth", **options)
    return tmp_path / "file.pth"


def numbers(model):
    """The number that each tensor of a model holds, in order."""
    state = model.state_dict()
    kept = [t for n, t in state.items() if not n.endswith("tracked")]
    assert all((tensor == tensor.flatten()[0]).all() for tensor in kept)
    return [tensor.flatten()[0].item() for tensor in kept]


def in_order(model):
    return [0.5 + number for number in range(len(numbers(model)))]


def real(name, **options):
    """A network with memory but without the time that fresh weights take."""
    return meta(name, **options).to_empty(device="cpu")


LAYOUTS = [  # reference, network, options
    ("torchvision_deeplabv3_resnet50", "deeplabv3_resnet50", TORCHVISION),
    ("kazuto_deeplabv3_resnet50_os16_mg124", "deeplabv3_resnet50", {}),
    (KAZUTO, "deeplabv2_resnet101", {}),
    ("fyu_dilation_dilation7_kitti", "dilation7_kitti", {}),
    ("fyu_dilation_dilation8_pascal_voc", "dilation8_voc", {}),
    ("deeplab_vgg16_aspp_l", "deeplabv2_vgg16_aspp_l", {}),
    ("deeplab_vgg16_largefov", "deeplabv2_vgg16_largefov", {}),
    ("fyu_drn_drn_a_50", "drn_a_50", {}),
    ("fyu_drn_drn_c_42", "drn_c_42", {}),
    ("fyu_drn_drn_d_22", "drn_d_22", {}),
    (SEG, "drn_c_26_seg", {}),
    (
        "smp_deeplabv3plus_resnet50_os16",
        "deeplabv3plus_resnet50",
        {"variant": "smp"},
    ),
    ("espnet_c_p2q8_20", "espnet_c", {}),
    ("espnet_p1q2_23", "espnet", {"num_classes": 23, "p": 1, "q": 2}),
    (
        "c3net_p2q1_1_3_5_9_22",
        "c3net",
        {"num_classes": 22, "q": 1, "rates": (1, 3, 5, 9)},
    ),
    ("liteseg_mobilenet_19", "liteseg_mobilenetv2", {}),
    ("lw_refinenet101_21", "refinenet_lw_resnet101", {}),
    ("bdcn", "bdcn", {}),
    ("van_b0", "van_b0", {}),
]


@pytest.mark.parametrize(("reference", "name", "options"), LAYOUTS)
def test_every_layout_loads(tmp_path, reference, name, options):
    network = real(name, **options)
    found = load_checkpoint(network, saved(tmp_path, layout(reference)))
    assert found is network
    assert numbers(network) == in_order(network)


def test_the_table_of_releases_names_networks_that_load():
    page = Path(__file__).parents[3] / "book" / "api" / "convert.md"
    calls = re.findall(r"`build\((.*?)\)`", page.read_text(encoding="utf-8"))
    tested = {name for _, name, _ in LAYOUTS}
    for call in calls:
        name, options = eval(f"(lambda n, **o: (n, o))({call})")
        meta(name, **options)
        assert name in tested
    assert len(calls) > 10


def test_torchvisions_resnet_loads_and_as_a_backbone(tmp_path):
    state = layout("torchvision_resnet50_os32")
    with torch.device("meta"):
        network = ResNetClassifier(50)
    network = network.to_empty(device="cpu")
    load_checkpoint(network, saved(tmp_path, state))
    assert numbers(network) == in_order(network)
    backbone = real("deeplabv3_resnet50").backbone
    with pytest.raises(ValueError, match=r"position 265: 'fc.weight' .*more"):
        load_checkpoint(backbone, tmp_path / "file.pth")
    load_checkpoint(backbone, tmp_path / "file.pth", skip=["fc."])
    assert numbers(backbone) == in_order(backbone)


# ---- what repositories do to their files


def statistics_first(state):
    """torchvision's files of 2017, resnet50-19c8e357.pth among them."""
    leaves = ("running_mean", "running_var", "weight", "bias")
    names = [*state]
    first = {}
    for number, name in enumerate(names):
        first.setdefault(name.rpartition(".")[0], number)

    def place(name):
        module, _, leaf = name.rpartition(".")
        return first[module], leaves.index(leaf)

    return OrderedDict((n, state[n]) for n in sorted(names, key=place))


def shortcuts_first(state):
    """kazuto1011's convert.py: layers in the order of Caffe's file."""
    moved = OrderedDict()
    for name in state:
        unit = name.partition(".reduce.conv.")[0]
        if unit != name:
            for other in state:
                if other.startswith(f"{unit}.shortcut."):
                    moved[other] = state[other]
        moved.setdefault(name, state[name])
    return moved


@pytest.mark.parametrize("prefix", ["", "base.", "module.base."])
def test_the_caffe_born_resnet101_of_deeplab_v2(tmp_path, prefix):
    """Its shortcut has the shape of the last 1x1 of its unit."""
    state = layout(KAZUTO, prefix)
    converted = statistics_first(shortcuts_first(state))
    assert [*converted] != [*state]
    path = saved(tmp_path, converted)
    network = real("deeplabv2_resnet101")
    load_checkpoint(network, path)
    assert numbers(network) == in_order(network)
    load_checkpoint(MultiScale(network), path)
    assert numbers(network) == in_order(network)
    old = OrderedDict(
        (name.replace("shortcut", "proj"), t) for name, t in converted.items()
    )
    load_checkpoint(network, saved(tmp_path, old))
    assert numbers(network) == in_order(network)


def test_old_files_begin_modules_with_running_statistics(tmp_path):
    """By name and, for a network of other names, by position."""
    state = statistics_first(layout("fyu_drn_drn_d_22"))
    legacy = {"_use_new_zipfile_serialization": False}
    network = real("drn_d_22")
    load_checkpoint(network, saved(tmp_path, state, **legacy))
    assert numbers(network) == in_order(network)
    own = layout("torchvision_resnet50_os32")
    backwards = OrderedDict(reversed(own.items()))
    with torch.device("meta"):
        named = ResNetClassifier(50)
    named = named.to_empty(device="cpu")
    load_checkpoint(named, saved(tmp_path, backwards))
    assert numbers(named) == in_order(named)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_wrappings_and_prefixes(tmp_path, wrapper):
    """What training scripts save: DataParallel inside a dictionary."""
    state = layout(SEG, "module.")
    state["module.up.weight"] = bilinear(19)
    file = {"epoch": 3, "arch": "drn_c_26", wrapper: state, "best_prec1": 0.1}
    network = real("drn_c_26_seg")
    load_checkpoint(network, saved(tmp_path, file))
    assert numbers(network) == in_order(network)


def test_auxiliary_classifiers_are_left_out(tmp_path):
    """torchvision stores aux_classifier after the rest, for layer3."""
    state = layout("torchvision_deeplabv3_resnet50")
    auxiliary = nn.Sequential(
        nn.Conv2d(1024, 256, 3, bias=False), nn.BatchNorm2d(256)
    )
    for name, tensor in auxiliary.state_dict().items():
        state[f"aux_classifier.{name}"] = tensor
    network = real("deeplabv3_resnet50", **TORCHVISION)
    load_checkpoint(network, saved(tmp_path, state))
    assert numbers(network) == in_order(network)


def counters(model):
    return {
        tensor.item()
        for name, tensor in model.state_dict().items()
        if name.endswith("num_batches_tracked")
    }


def test_batch_counters_load_where_both_sides_have_them(tmp_path):
    source, target = (zoo.build("deeplabv3_resnet18") for _ in range(2))
    for name, tensor in source.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(7)
    load_checkpoint(target, saved(tmp_path, source.state_dict()))
    assert counters(target) == {7}
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, target.state_dict()[name])
    new = layout("torchvision_deeplabv3_resnet50")
    for name in [n for n in new if n.endswith("running_var")]:
        counter = name.replace("running_var", "num_batches_tracked")
        new[counter] = torch.tensor(9)
    network = real("deeplabv3_resnet50", **TORCHVISION)
    load_checkpoint(network, saved(tmp_path, new))
    assert counters(network) == {9}
    assert numbers(network) == in_order(network)


def bilinear(classes):
    impulse = torch.zeros(1, classes, 3, 3)
    impulse[..., 1, 1] = 1
    return transposed_bilinear(impulse)[0, :, None, 4:20, 4:20]


@pytest.mark.parametrize("change", ["trained", "other size"])
def test_upsampling_must_be_the_models(tmp_path, change):
    state = layout(SEG)
    kernel = bilinear(19)
    state["up.weight"] = (
        kernel * 1.1 if change == "trained" else kernel[..., :8, :8]
    )
    network = real("drn_c_26_seg")
    with pytest.raises(ValueError, match=r"'up.weight' .*not the bilinear"):
        load_checkpoint(network, saved(tmp_path, state))


def test_other_dtypes_are_cast(tmp_path):
    network = real("drn_d_22").double()
    half = {n: t.half() for n, t in layout("fyu_drn_drn_d_22").items()}
    load_checkpoint(network, saved(tmp_path, half))
    assert {t.dtype for t in network.parameters()} == {torch.float64}
    assert numbers(network) == in_order(network)


# ---- refusals


def renamed(state, old, new):
    return {new if name == old else name: t for name, t in state.items()}


DRN = layout("fyu_drn_drn_d_22")
REFUSALS = {
    "another network": (
        lambda: layout("fyu_drn_drn_d_38"),
        r"position 40: 'layer3.2.conv1.weight' of shape \(64, 64, 3, 3\) in "
        r"the checkpoint, 'backbone.level4.0.conv1.weight' of shape "
        r"\(128, 64, 3, 3\) in the model",
    ),
    "other classes": (
        lambda: DRN | {"fc.weight": torch.ones(10, 512, 1, 1)},
        r"position 125: 'fc.weight' of shape \(10, 512, 1, 1\) in the "
        r"checkpoint, 'fc.weight' of shape \(1000, 512, 1, 1\) in the model",
    ),
    "one too few": (
        lambda: {n: t for n, t in DRN.items() if n != "fc.bias"},
        r"position 126: nothing more in the checkpoint, 'fc.bias' of shape "
        r"\(1000,\) in the model",
    ),
    "one too many": (
        lambda: DRN | {"more.weight": torch.ones(2)},
        r"position 127: 'more.weight' of shape \(2,\) in the checkpoint, "
        "nothing more in the model",
    ),
    "same shape, other meaning": (
        lambda: renamed(DRN, "layer0.1.bias", "layer0.1.scale"),
        r"position 2: 'layer0.1.running_mean' of shape \(16,\).*bn1.bias'",
    ),
    "not tensors": (
        lambda: {"weight": [1.0], "epoch": 3},
        r"holds no state dict but \['weight', 'epoch'\]; say which",
    ),
    "not a dictionary": (
        lambda: [torch.ones(2)],
        "holds no state dict but a list$",
    ),
    "nothing": (dict, "position 0: nothing more in the checkpoint"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_does_not_fit_is_named_and_changes_nothing(tmp_path, case):
    make, message = REFUSALS[case]
    network = zoo.build("drn_d_22")
    before = {n: t.clone() for n, t in network.state_dict().items()}
    path = saved(tmp_path, make())
    with pytest.raises(ValueError, match=message) as refusal:
        load_checkpoint(network, path)
    assert str(path) in str(refusal.value)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def small():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


OF_TRAINERS = {
    **{
        key: lambda state, key=key: {key: state, "epoch": 3}
        for key in ("model_state", "model_state_dict", "net", "network")
    },
    "numbers of NumPy": lambda state: {
        "state_dict": state,
        "best_pred": np.float64(0.7),
        "loss": np.float32(0.1),
        "epoch": np.int64(3),
        "done": np.bool_(True),
    },
    "counters of a profiler": lambda state: {
        **{f"module.{name}": tensor for name, tensor in state.items()},
        "total_ops": torch.zeros(1),
        "module.0.total_params": torch.zeros(1),
    },
    "more than the model": lambda state: {
        "model": {
            **{f"module.{name}": tensor for name, tensor in state.items()},
            "module.fc.weight": torch.ones(2, 2),
        }
    },
    "an average": lambda state: {"model": small().state_dict(), "ema": state},
}


@pytest.mark.parametrize("case", OF_TRAINERS)
def test_files_as_trainers_write_them(tmp_path, case):
    expected = small()
    path = saved(tmp_path, OF_TRAINERS[case](expected.state_dict()))
    options = {
        "more than the model": {"skip": ["fc."]},
        "an average": {"entry": "ema"},
    }.get(case, {})
    found = load_checkpoint(small(), path, **options)
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, expected.state_dict()[name])
    with pytest.raises(ValueError, match=r"entry='best': path=.* has \["):
        load_checkpoint(small(), path, entry="best")


def test_numbers_under_numpys_old_name(tmp_path):
    """As NumPy 1 pickled them."""
    state = small().state_dict()
    path = saved(
        tmp_path,
        {"state_dict": state, "best_pred": np.float64(0.7)},
        _use_new_zipfile_serialization=False,
    )
    content = path.read_bytes()
    old = content.replace(b"numpy._core.multi", b"numpy.core.multi")
    assert old != content
    path.write_bytes(old)
    load_checkpoint(small(), path)


def test_safetensors(tmp_path, monkeypatch):
    """By the library if it is there: this one stands for it."""
    expected = small()
    stand_in = types.ModuleType("safetensors.torch")
    stand_in.load_file = lambda path: expected.state_dict()
    path = tmp_path / "model.safetensors"
    monkeypatch.setitem(sys.modules, "safetensors", types.ModuleType("s"))
    monkeypatch.setitem(sys.modules, "safetensors.torch", stand_in)
    found = load_checkpoint(small(), path)
    assert torch.equal(found[0].weight, expected[0].weight)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ImportError, match="pip install safetensors"):
        load_checkpoint(small(), path)


class Code:
    """Something that only unpickling with code could make."""


@pytest.mark.parametrize("content", ["code", "text", "cut off"])
def test_only_tensors_are_opened(tmp_path, content):
    path = saved(tmp_path, {"weight": Code()})
    if content == "text":
        path.write_text("<html>not found</html>")
    elif content == "cut off":
        saved(tmp_path, {"weight": torch.ones(99)})
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"file\.pth.*weights_only=True"):
        load_checkpoint(nn.Linear(1, 1), path)


def test_a_missing_file_and_a_wrong_skip_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_checkpoint(nn.Linear(1, 1), tmp_path / "nowhere.pth")
    path = saved(tmp_path, nn.Linear(1, 1).state_dict())
    with pytest.raises(ValueError, match=r"skip=\['fc'\].*'fc'"):
        load_checkpoint(nn.Linear(1, 1), path, skip=["fc"])


def test_a_linear_layer_becomes_the_convolution_that_sees_its_map(tmp_path):
    """Both give the same scores of a picture, to the channel and the place."""
    head = nn.Sequential(nn.Flatten(), nn.Linear(2 * 3 * 4, 5))
    file = saved(tmp_path, head.state_dict())
    convolution = load_checkpoint(nn.Conv2d(2, 5, (3, 4)), file)
    x = torch.rand(6, 2, 3, 4)
    torch.testing.assert_close(convolution(x)[..., 0, 0], head(x))
    for other in (nn.Conv2d(2, 5, (3, 5)), nn.Conv2d(2, 6, (3, 4))):
        with pytest.raises(ValueError, match="does not fit"):
            load_checkpoint(other, file)
