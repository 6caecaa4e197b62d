"""Batch normalisation where a batch is spread over processes, or frozen."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.modules.batchnorm import _BatchNorm


class _Sum(Function):
    """Sum over all processes; so is the gradient."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        """Sum of all processes' tensors, in each of them."""
        x = x.contiguous().clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        """Each process's loss depends on the x of all."""
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation by what all processes see, on any device.

    torch's own SyncBatchNorm needs a GPU; this one has the same outputs,
    gradients and running statistics on CPUs. A process may have no picture.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalised x, (B, C, H, W)."""
        if not self.training or not dist.is_initialized():
            return super().forward(x)
        # Sums over many pixels need more digits than half precision has.
        kind, x = x.dtype, x if x.dtype == torch.float64 else x.float()
        count = x.new_tensor([x.numel() / x.shape[1]])
        dist.all_reduce(count)
        if count <= 1:
            raise ValueError(
                f"x of shape {tuple(x.shape)}: one value a channel in all "
                "processes cannot be normalised"
            )
        mean = _Sum.apply(x.sum((0, 2, 3))) / count
        centred = x - mean[:, None, None]
        variance = _Sum.apply(centred.square().sum((0, 2, 3))) / count
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        y = centred * scale[:, None, None] + self.bias[:, None, None]
        return y.to(kind)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var), self.momentum)


def share_(network: nn.Module, device: torch.device) -> nn.Module:
    """Let batch normalisation see the batches of all processes, in place.

    By torch's SyncBatchNorm on a GPU and `SharedBatchNorm2d` elsewhere.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            # The subclass keeps nothing else, so nothing is to be copied.
            module.__class__ = SharedBatchNorm2d
    return network


def is_shared(network: nn.Module) -> bool:
    """Whether other processes wait for what its normalisation sees."""
    kinds = SharedBatchNorm2d, nn.SyncBatchNorm
    return any(
        isinstance(module, kinds) and module.training
        for module in network.modules()
    )


def freeze_(network: nn.Module) -> nn.Module:
    """Hold batch normalisation at its running statistics, scale and shift.

    To be called again after each `network.train()`.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval().requires_grad_(False)
    return network
