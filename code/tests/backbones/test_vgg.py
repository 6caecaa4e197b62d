"""VGG-16 as a plan: what others are made of it."""

import torch
from references import count

from atrous.arithmetic import Window, fields
from atrous.backbones.vgg import POOL, STAGES, vgg16_layers
from atrous.layers.spec import LayerSpec, SpecStack, windows


def test_csrnet_is_ten_layers_and_six_at_rate_2():
    """It counts people on maps at stride 8; its published parameters."""
    front = vgg16_layers(stages=STAGES[:4], pools=(POOL,) * 3)
    back = [
        LayerSpec(f"back{i}", Window(3, dilation=2, padding=2), width)
        for i, width in enumerate((512, 512, 512, 256, 128, 64), 1)
    ]
    plan = (*front, *back, LayerSpec("density", Window(1), 1, relu=False))
    with torch.device("meta"):
        network = SpecStack(plan, 3)
        assert network(torch.empty(1, 3, 64, 96)).shape == (1, 1, 8, 12)
    assert count(network) == 16_263_489
    assert fields(windows(plan))[-1].jump == 8
