"""VGG-16 as a plan: plain, or held at an output stride."""

import itertools
from collections.abc import Sequence

from atrous.arithmetic import Window, same_padding, stage_plan
from atrous.layers.spec import LayerSpec, SpecStack

# Width and number of 3x3 convolutions of each stage; max pooling between.
# Source: Simonyan & Zisserman, arXiv:1409.1556, Table 1, column D.
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
POOL = Window(kernel=2, stride=2)


def vgg16_layers(
    *,
    stages: Sequence[tuple[int, int]] = STAGES,
    pools: Sequence[Window | None] = (POOL,) * 4,
    dilations: Sequence[int] = (1,) * 5,
    same: bool = True,
    ceil_mode: bool = False,
) -> tuple[LayerSpec, ...]:
    """Plan of the thirteen convolutions of VGG-16.

    Args:
        stages: Width and number of convolutions of each stage; others than
            VGG-16's make smaller networks of the same build.
        pools: The pooling after stages 1 to 4, or 1 to 5; None leaves one
            out.
        dilations: One for each stage.
        same: Pad each convolution to keep its size; if False, no padding.
        ceil_mode: Whether the poolings round their output size up.

    Returns:
        Layers conv1_1, conv1_2, pool1, ... conv5_3 (, pool5).
    """
    pools = (*pools, None)[: len(stages)]
    layers = []
    for number, (width, depth) in enumerate(stages, 1):
        dilation, pool = dilations[number - 1], pools[number - 1]
        padding = same_padding(3, dilation) if same else 0
        window = Window(3, dilation=dilation, padding=padding)
        for i in range(1, depth + 1):
            layers.append(LayerSpec(f"conv{number}_{i}", window, width))
        if pool is not None:
            layers.append(
                LayerSpec(f"pool{number}", pool, ceil_mode=ceil_mode)
            )
    return tuple(layers)


def strided_layers(output_stride: int = 16) -> tuple[LayerSpec, ...]:
    """VGG-16 to conv5_3, its last strides turned into dilations.

    A pooling whose stride is left out keeps its footprint on the picture:
    it takes the dilation reached before it. It is not padded, so its map is
    that many pixels shorter than its input; on the coarse grid every value
    is the undilated network's, at any input size.

    Raises:
        ValueError: If `output_stride` is not 1, 2, 4, 8 or 16.
    """
    plan = stage_plan(output_stride, stem=1, strides=(1, 2, 2, 2, 2))
    pools = [
        Window(2, after.stride, before.dilation)
        for before, after in itertools.pairwise(plan)
    ]
    return vgg16_layers(pools=pools, dilations=[s.dilation for s in plan])


class VGG16(SpecStack):
    """The thirteen convolutions of VGG-16 at an output stride.

    Maps (B, 3, H, W) to conv5_3, (B, 512, H', W'); `features(x)` gives
    every layer by name. The same weights serve every output stride.
    """

    def __init__(self, output_stride: int = 16):
        super().__init__(strided_layers(output_stride), 3)
