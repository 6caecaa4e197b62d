"""Ways to run a trained network on a CPU: time, memory, and agreement."""

import copy
import importlib.util
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from atrous import zoo
from atrous.convert import pretrained
from atrous.convert.dilate import dilate
from atrous.experiments.photographs import photograph
from timing import has_bfloat16, medians

PHOTOGRAPHS = ("chelsea", "coffee", "astronaut")
THREADS = (1, 2)
ROUNDS = 3


def channels_last(network: nn.Module) -> nn.Module:
    """A copy whose weights, and with them all maps, have channels last."""
    return copy.deepcopy(network).to(memory_format=torch.channels_last)


def compiled(network: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    """By torch.compile, its weights frozen into it."""
    import torch._inductor.config as inductor

    inductor.freezing = True
    return torch.compile(channels_last(network))


def bfloat16(network: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    """In 16 bits, of which 8 are the exponent."""
    half = channels_last(network).bfloat16()
    return lambda x: half(x.bfloat16()).float()


def exported(network: nn.Module, x: Tensor, path: Path) -> Path:
    """The network as an ONNX file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on its own use of torch
        torch.onnx.export(
            network, (x,), path, dynamo=True, verbose=False, external_data=True
        )
    return path


def onnx_runtime(network: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    """By ONNX Runtime, from an ONNX file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        path = exported(network, x, Path(folder, "network.onnx"))
        session = onnxruntime.InferenceSession(path, options)
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


def openvino(
    network: nn.Module, x: Tensor, *, precision: str = "f32"
) -> Callable[[Tensor], Tensor]:
    """By OpenVINO, from torch.export."""
    from openvino import compile_model, convert_model, properties

    options = {
        properties.hint.inference_precision: precision,
        properties.inference_num_threads: torch.get_num_threads(),
    }
    model = convert_model(torch.export.export(network, (x,)))
    run = compile_model(model, "CPU", options)
    return lambda x: torch.from_numpy(run(x.numpy())[0])


WAYS: dict[str, tuple[Callable, str]] = {  # and the package that it needs
    "eager": (lambda network, x: network, "torch"),
    "channels_last": (lambda network, x: channels_last(network), "torch"),
    "torch.compile": (compiled, "torch"),
    "bfloat16": (bfloat16, "torch"),
    "ONNX Runtime": (onnx_runtime, "onnxruntime"),
    "OpenVINO": (openvino, "openvino"),
    "OpenVINO, bf16": (
        lambda network, x: openvino(network, x, precision="bf16"),
        "openvino",
    ),
}


def deeplabv3() -> nn.Module:
    """DeepLab v3 with a ResNet-50 at output stride 16, fresh weights."""
    return zoo.build("deeplabv3_resnet50", output_stride=16)


def hed() -> nn.Module:
    """HED, trained on BSDS500."""
    return pretrained.hed_vgg16_(zoo.build("hed"))


def efficientnet() -> nn.Module:
    """EfficientNet-Lite0, trained on ImageNet, dilated to output stride 8."""
    return dilate(pretrained.efficientnet_lite0(), 8)


# Builder, what a photograph becomes, and what an output decides.
NETWORKS = {
    "DeepLab v3": (deeplabv3, None, None),
    "HED": (hed, pretrained.hed_input, lambda y: y[:, -1] > 0),
    "EfficientNet-Lite0": (
        efficientnet,
        pretrained.efficientnet_input,
        lambda y: y.argmax(1),
    ),
}


def built(name: str) -> tuple[nn.Module, Tensor]:
    """A network in evaluation mode and an input, the first photograph."""
    builder, prepare, _ = NETWORKS[name]
    if prepare is None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(1, 3, 513, 513, generator=generator)
    else:
        x = prepare(photograph(PHOTOGRAPHS[0]))
    return builder().eval(), x


def installed() -> list[str]:
    """The ways whose package is here; the others are named."""
    found = []
    for way, (_, package) in WAYS.items():
        if not importlib.util.find_spec(package):
            print(f"{way}: left out, {package} is not installed", flush=True)
        elif "16" in way and not has_bfloat16():
            print(f"{way}: left out, the processor has no instructions for it")
        else:
            found.append(way)
    return found


def peak_gib() -> float:
    """The most memory that this process has held, in GiB.

    Linux counts in ru_maxrss what the parent held at the fork.
    """
    status = Path("/proc/self/status")
    if status.exists():
        kib = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]
        return int(kib) / 2**20
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


@torch.no_grad()
def alone(name: str, way: str) -> dict[str, float]:
    """What one way takes in a process of its own.

    Returns:
        Seconds from the network to its first output, and the most memory
        that the process has held, in GiB.
    """
    network, x = built(name)
    start = time.perf_counter()
    WAYS[way][0](network, x)(x)
    seconds = time.perf_counter() - start
    return {"first": seconds, "gib": peak_gib()}


def in_a_process(name: str, way: str) -> dict[str, float]:
    """`alone`, of a new process."""
    done = subprocess.run(
        [sys.executable, __file__, name, way],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@torch.no_grad()
def agreement(name: str, way: str) -> dict[str, float]:
    """On photographs, the share of decisions that stay as in eager mode.

    Returns:
        That share, and the largest difference over the largest value.
    """
    _, prepare, decide = NETWORKS[name]
    network, x = built(name)
    run = WAYS[way][0](network, x)
    same, differs = [], 0.0
    for picture in PHOTOGRAPHS:
        height, width = x.shape[2:]
        x = prepare(photograph(picture)[..., :height, :width])
        expected, found = network(x), run(x)
        same.append((decide(found) == decide(expected)).double().mean())
        error = (found - expected).abs().max() / expected.abs().max()
        differs = max(differs, error.item())
    return {"same": torch.stack(same).mean().item(), "differs": differs}


@torch.no_grad()
def networks() -> dict[str, dict]:
    """Whole networks, in multiples of eager mode's time on as many threads."""
    ways, found = installed(), {}
    for name, (_, prepare, _) in NETWORKS.items():
        found[name] = rows = {way: {} for way in ways}
        network, x = built(name)
        for threads in THREADS:
            torch.set_num_threads(threads)
            runs = {way: WAYS[way][0](network, x) for way in ways}
            rivals = {way: partial(run, x) for way, run in runs.items()}
            for way, ratio in medians(rivals, ROUNDS).items():
                rows[way][f"{threads} threads"] = ratio
        torch.set_num_threads(1)
        for way in ways:
            rows[way] |= in_a_process(name, way)
            if prepare is not None:
                rows[way] |= agreement(name, way)
        seconds = rows["eager"]["first"]
        for row in rows.values():
            row["first"] /= seconds
        print(name, json.dumps(rows, indent=1), flush=True)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(alone(*sys.argv[1:])))
