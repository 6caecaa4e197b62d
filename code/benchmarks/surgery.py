"""Turn the backbones of timm and torchvision to output stride 8 by `dilate`.

Run `python code/benchmarks/surgery.py` for all of NAMES, or with the names
of some; `--store` writes the table to chapters/surgery.json. Needs timm and
torchvision, an optional extra. Weights are not downloaded, but filled.

A network is exact if every step-th place of the dilated one is its own, to
1e-6 of its largest value in float64, at two sizes. One that is refused is
tried again with `inexact="allow"`; then the number says how far it is off.
"""

import argparse
import json
import platform
import sys
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from atrous.convert.dilate import deviations, dilate
from atrous.experiments.parity import reference_fill_

SIZES, STRIDE, LIMIT = ((96, 160), (128, 224)), 8, 1e-6
STORED = Path(__file__).parents[2] / "chapters" / "surgery.json"
_TIMM = """
convnext_atto convnext_tiny convnextv2_nano cspdarknet53 cspresnet50
cspresnext50 darknet53 darknetaa53 densenet121 densenet169 dla34 dla60
dm_nfnet_f0 dpn68 dpn92 edgenext_small efficientnet_b0 efficientnet_es
efficientnet_lite0 efficientnetv2_rw_s ese_vovnet19b_dw ese_vovnet39b
fastvit_t8 fbnetv3_b gernet_s ghostnet_100 hardcorenas_a hgnet_tiny hgnetv2_b0
hrnet_w18 inception_resnet_v2 inception_v3 inception_v4 lcnet_050
legacy_senet154 legacy_seresnet50 legacy_xception maxvit_tiny_rw_224 mixnet_s
mnasnet_100 mobilenetv1_100 mobilenetv2_100 mobilenetv3_large_100
mobilenetv3_small_100 mobilenetv4_conv_small mobileone_s0 nf_regnet_b1
nf_resnet50 nfnet_l0 poolformer_s12 pvt_v2_b0 regnetx_002 regnety_002 repvgg_a0
repvit_m0_9 res2net50_26w_4s resnest14d resnet18 resnet26d resnet26t resnet34
resnet50 resnet50_gn resnet101 resnetaa50 resnetblur18 resnetrs50 resnetv2_50
resnext50_32x4d rexnet_100 selecsls42 semnasnet_100 seresnet18
seresnext26d_32x4d skresnet18 spnasnet_100 starnet_s1
swin_tiny_patch4_window7_224 tf_efficientnet_b0 tf_mobilenetv3_large_100
tinynet_a tresnet_m vgg11.features vgg16_bn.features vit_tiny_patch16_224
wide_resnet50_2 xception41 xcit_nano_12_p16_224
"""
TORCHVISION = {  # the last layer that gives a map
    "alexnet": "features",
    "convnext_tiny": "features",
    "densenet121": "features",
    "efficientnet_b0": "features",
    "efficientnet_v2_s": "features",
    "googlenet": "inception5b.cat",
    "inception_v3": "Mixed_7c.cat_2",
    "mnasnet1_0": "layers",
    "mobilenet_v2": "features",
    "mobilenet_v3_large": "features",
    "regnet_x_400mf": "trunk_output",
    "regnet_y_400mf": "trunk_output",
    "resnet18": "layer4",
    "resnet50": "layer4",
    "resnext50_32x4d": "layer4",
    "shufflenet_v2_x1_0": "conv5",
    "squeezenet1_1": "features",
    "swin_t": "features",
    "vgg16": "features",
    "wide_resnet50_2": "layer4",
}
NAMES = [f"timm/{n}" for n in _TIMM.split()] + [
    f"torchvision/{n}" for n in TORCHVISION
]


def backbone(name: str) -> nn.Module:
    """A network without its classifier, filled, in evaluation mode."""
    library, _, name = name.partition("/")
    if library == "timm":
        import timm

        name, _, part = name.partition(".")
        network = timm.create_model(name, num_classes=0, global_pool="")
        network = network.get_submodule(part)
    else:
        from torchvision import models
        from torchvision.models.feature_extraction import (
            create_feature_extractor,
        )

        network = models.get_model(name, weights=None)
        if name in ("googlenet", "inception_v3"):
            network.aux_logits = False
        network = create_feature_extractor(network, [TORCHVISION[name]])
    reference_fill_(network)
    return network.double().eval()


def tensor(output: object) -> torch.Tensor:
    """The map that a network gives, bare or the only one of a dictionary."""
    return next(iter(output.values())) if isinstance(output, dict) else output


def picture(size: tuple[int, int]) -> torch.Tensor:
    """The same noise in each run, (1, 3, H, W)."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, *size, generator=generator, dtype=torch.float64)


@torch.no_grad()
def error(network: nn.Module, dilated: nn.Module) -> float:
    """Largest relative difference on the coarse grid, over the sizes."""
    worst = 0.0
    for size in SIZES:
        x = picture(size)
        expected, found = tensor(network(x)), tensor(dilated(x))
        coarse = (found[..., ::step, ::step] for step in (2, 4, 8))
        coarse = [y for y in coarse if y.shape == expected.shape]
        if not coarse:
            return float("inf")
        largest = expected.abs().max()
        if not 0 < largest < float("inf"):
            return float("nan")
        apart = min((y - expected).abs().max() for y in coarse)
        worst = max(worst, (apart / largest).item())
    return worst


def attempt(name: str) -> dict:
    """What becomes of a network: its kind, error and reasons."""
    network = backbone(name)
    try:
        found = error(network, dilate(network, STRIDE))
    except ValueError as refusal:
        reason = str(refusal)
    else:
        kind = "exact" if found < LIMIT else "wrong"
        return {"kind": kind, "error": found}
    try:
        dilate(network, STRIDE, inexact="allow")
        found = deviations(network, STRIDE, picture(SIZES[0]))
    except ValueError as refusal:
        return {"kind": "refused", "why": str(refusal)}
    return {
        "kind": "inexact",
        "error": found.pop("output"),
        "layers": len(found),
        "why": reason,
    }


def main() -> None:
    """Print a row for each network; fail if one was silently wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="LIBRARY/NAME")
    parser.add_argument("--store", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    rows = {}
    for name in options.names or NAMES:
        try:
            row = attempt(name)
        except Exception as error:
            row = {"kind": "wrong", "why": f"{type(error).__name__}: {error}"}
        rows[name] = row
        number = f"{row['error']:.1e}" if "error" in row else ""
        print(f"{name:<38} {row['kind']:<8} {number:<8}", row.get("why", ""))
        sys.stdout.flush()
    counts = Counter(row["kind"] for row in rows.values())
    print(", ".join(f"{count} {kind}" for kind, count in counts.items()))
    if options.store:
        packages = ("torch", "timm", "torchvision")
        head = {package: version(package) for package in packages}
        head["python"] = platform.python_version()
        table = {"versions": head, "networks": rows}
        STORED.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
    sys.exit(counts["wrong"] > 0)


if __name__ == "__main__":
    main()
