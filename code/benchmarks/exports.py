"""Send networks of the zoo through torch.export, ONNX and torch.compile.

Run `python code/benchmarks/exports.py` for all networks, or with the names of
some: a row each, height and width free. A number is the largest difference
from the network itself, relative to its largest value, in float32 at two
sizes, neither of them the one that was traced. The ONNX file runs under ONNX
Runtime and under OpenVINO, which are an optional extra. `--compile` adds
torch.compile, for the networks named or for the first of each family.
"""

import argparse
import importlib.util
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from atrous import zoo
from atrous.experiments.parity import reference_fill_

# Multiples of the strides, then others. In the larger one 3x3 filters keep
# taps at rates at which they have lost them in the one that is traced.
TRACED, SIZES = (65, 97), ((64, 96), (99, 98))
LIMIT = 1e-5
PEERS = ("onnx", "onnxscript", "onnxruntime", "openvino")

Function = Callable[[Tensor], Tensor]


class Ways:
    """The ways of one network out of torch; each gives a function like it.

    Args:
        network: In evaluation mode.
        x: The picture that it is traced with, (1, 3, H, W).
        folder: Where to put the ONNX file.
    """

    def __init__(self, network: nn.Module, x: Tensor, folder: str):
        self.network, self.x, self.folder = network, x, folder

    @cached_property
    def program(self) -> ExportedProgram:
        """The network as torch.export gives it."""
        free = ({2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
        return torch.export.export(
            self.network, (self.x,), dynamic_shapes=free
        )

    @cached_property
    def file(self) -> str:
        """Path of the ONNX file of the program."""
        path = str(Path(self.folder) / "network.onnx")
        torch.onnx.export(self.program, (), path, dynamo=True, verbose=False)
        return path

    def exported(self) -> Function:
        """The program, run by torch."""
        return self.program.module()

    def onnxruntime(self) -> Function:
        """The ONNX file, run by ONNX Runtime."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(
            self.file, options, providers=["CPUExecutionProvider"]
        )
        (x,) = session.get_inputs()
        return lambda picture: torch.from_numpy(
            session.run(None, {x.name: picture.numpy()})[0]
        )

    def openvino(self) -> Function:
        """The ONNX file, run by OpenVINO."""
        import openvino

        options = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            # Where the processor has bfloat16, that is the default.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = openvino.Core().compile_model(self.file, "CPU", options)
        return lambda picture: torch.from_numpy(compiled(picture.numpy())[0])

    def compiled(self) -> Function:
        """The network, compiled by inductor without a break in its graph."""
        torch.compiler.reset()
        return torch.compile(self.network, fullgraph=True, dynamic=True)


# What each needs to be installed.
COLUMNS = {
    "torch.export": (Ways.exported, ()),
    "onnxruntime": (Ways.onnxruntime, PEERS[:3]),
    "openvino": (Ways.openvino, (*PEERS[:2], "openvino")),
    "torch.compile": (Ways.compiled, ()),
}


@torch.no_grad()
def differences(name: str, columns: list[str]) -> dict[str, float | str]:
    """The row of a network: numbers, or why the network was refused."""
    network = zoo.build(name).eval()
    reference_fill_(network)
    generator = torch.Generator().manual_seed(0)
    x, *pictures = (
        torch.rand(1, 3, *size, generator=generator)
        for size in (TRACED, *SIZES)
    )
    pairs = [(picture, network(picture)) for picture in pictures]
    row = {}
    with tempfile.TemporaryDirectory() as folder:
        ways = Ways(network, x, folder)
        for column in columns:
            try:
                run = COLUMNS[column][0](ways)
                row[column] = max(
                    ((run(picture) - y).abs().max() / y.abs().max()).item()
                    for picture, y in pairs
                )
            except Exception as error:
                reason = str(error).strip().partition("\n")[0]
                row[column] = f"refused: {type(error).__name__}: {reason}"
    return row


def family(name: str) -> str:
    """The module that holds what the zoo calls for a name."""
    build = zoo.PICTURES[name]
    return getattr(build, "func", build).__module__


def main() -> None:
    """Print the table; fail if a network is refused or differs too much."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    # Pictures are so small that filters shrink on them.
    warnings.filterwarnings("ignore", "on a feature map of")
    # What torch 2.13 calls inside is on its way out.
    warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
    missing = [p for p in PEERS if importlib.util.find_spec(p) is None]
    if missing:
        print(f"not installed, left out: {', '.join(missing)}")
    names = options.names or sorted(zoo.PICTURES)
    firsts = {family(name): name for name in reversed(zoo.PICTURES)}
    chosen = options.names or firsts.values()
    columns = [
        c for c, (_, needs) in COLUMNS.items() if not set(needs) & set(missing)
    ]
    print(f"{'network':<30}", *(f"{column:<14}" for column in columns))
    failed = 0
    for name in names:
        compiles = options.compile and name in chosen
        row = differences(
            name, [c for c in columns if c != "torch.compile" or compiles]
        )
        cells = row.values()
        words = (c if isinstance(c, str) else f"{c:.1e}" for c in cells)
        print(f"{name:<30}", *(f"{word:<14}" for word in words), flush=True)
        failed += not all(isinstance(c, float) and c <= LIMIT for c in cells)
    print(f"{len(names)} networks, {failed} refused or above {LIMIT}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
