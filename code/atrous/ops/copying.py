"""Copies of networks, for what changes or measures them."""

import copy

from torch import Tensor, nn


def copy_network(model: nn.Module) -> nn.Module:
    """A copy of a network with tensors of its own, each part in its mode.

    `copy.deepcopy` refuses tensors that were computed, such as the weight
    that pruning and `torch.nn.utils.weight_norm` make of their parameters
    before each call. They are copied without their history; the copied
    hooks make them again. And it puts graph modules into training mode,
    those of torchvision's `create_feature_extractor` among them; here every
    part of the copy is in the mode of its original.
    """
    computed = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    network = copy.deepcopy(model, computed)
    for name, module in model.named_modules(remove_duplicate=False):
        network.get_submodule(name).training = module.training
    return network
