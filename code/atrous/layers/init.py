"""Initial weights of networks."""

import torch
from torch import nn


def he_normal_(module: nn.Module) -> nn.Module:
    """Draw the weights of all convolutions from N(0, 2 / fan-out).

    Source:
        He et al., arXiv:1502.01852, section 2.2, backward propagation.
    """
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out")
            if child.groups > 1:  # torch counts the outputs of all groups
                with torch.no_grad():
                    child.weight.mul_(child.groups**0.5)
    return module


def fresh_weights_(network: nn.Module, bn_momentum: float) -> nn.Module:
    """Initial weights, and the momentum of all batch normalisation.

    Convolutions start from He's normal by fan-out, layers called "score"
    from N(0, 0.01^2) and zero biases.

    Raises:
        ValueError: If `bn_momentum` is not in [0, 1].
    """
    if not 0 <= bn_momentum <= 1:
        raise ValueError(f"bn_momentum={bn_momentum}: must be in [0, 1]")
    he_normal_(network)
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = bn_momentum
        if name.endswith("score"):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
    return network
