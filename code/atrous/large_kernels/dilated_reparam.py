"""Dilated re-parameterisation: train several kernels, run one.

A dilated kernel is a dense one with zeros between its taps. Parallel dilated
convolutions are therefore one convolution, whose kernel is the sum of their
zero-filled kernels. They are trained apart, each with its own normalisation,
and merged, exactly, for use.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from atrous.arithmetic import Window, same_padding
from atrous.layers.depthwise import depthwise_conv

# Kernel and dilation of the branches beside a large kernel.
# Source: UniRepLKNet, unireplknet.py.
BRANCHES = {
    5: ((3, 1), (3, 2)),
    7: ((5, 1), (3, 2), (3, 3)),
    9: ((5, 1), (5, 2), (3, 3), (3, 4)),
    11: ((5, 1), (5, 2), (3, 3), (3, 4), (3, 5)),
    13: ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5)),
    15: ((5, 1), (7, 2), (3, 3), (3, 5), (3, 7)),
    17: ((5, 1), (9, 2), (3, 4), (3, 5), (3, 7)),
}


class DilatedReparam(nn.Module):
    """A large kernel and dilated ones in parallel: (B, C, H, W) to the same.

    All are depthwise and keep the size. Each has its batch normalisation,
    and they are summed. `merge_` makes one convolution of them, which gives
    what they give in evaluation mode.

    Args:
        channels: Channels C.
        kernel: Side K of the large kernel, odd.
        branches: Kernel and dilation of the others; None takes those of
            `BRANCHES`, an empty one leaves the large kernel alone.
        norm: Whether each branch has a batch normalisation.

    Raises:
        ValueError: If a kernel is even, a branch spans more than K, or
            there are no branches for this K.

    Source:
        Ding et al., arXiv:2311.15599, section 3.2; UniRepLKNet.
    """

    def __init__(
        self,
        channels: int,
        kernel: int = 13,
        *,
        branches: Sequence[tuple[int, int]] | None = None,
        norm: bool = True,
    ):
        super().__init__()
        if branches is None:
            if kernel not in BRANCHES:
                raise ValueError(
                    f"kernel={kernel}: without branches must be one of "
                    f"{[*BRANCHES]}"
                )
            branches = BRANCHES[kernel]
        self.kernel = kernel
        self.branches = nn.ModuleList()
        for k, r in ((kernel, 1), *branches):
            window = Window(k, dilation=r, padding=same_padding(k, r))
            if k % 2 == 0 or window.span > kernel:
                raise ValueError(
                    f"branches: kernel {k} at dilation {r} must be odd and "
                    f"span at most kernel={kernel}"
                )
            branch = nn.Sequential(
                depthwise_conv(channels, window, bias=False)
            )
            if norm:
                branch.append(nn.BatchNorm2d(channels))
            self.branches.append(branch)

    def forward(self, x: Tensor) -> Tensor:
        """Sum of the branches, (B, C, H, W)."""
        return sum(branch(x) for branch in self.branches)

    @torch.no_grad()
    def merged(self) -> tuple[Tensor, Tensor | None]:
        """The one kernel, (C, 1, K, K), and bias, (C,), of all branches.

        The bias is None if no branch has one or is normalised.
        """
        kernel, bias = 0, None
        for branch in self.branches:
            convolution, *norms = branch
            weight, shift = convolution.weight, convolution.bias
            for norm in norms:
                weight, shift = folded(weight, shift, norm)
            kernel = kernel + zero_filled_kernel(
                weight, convolution.dilation[0], side=self.kernel
            )
            if shift is not None:
                bias = shift if bias is None else bias + shift
        return kernel, bias

    def merge_(self) -> "DilatedReparam":
        """Put one convolution with a bias in place of all branches."""
        kernel, bias = self.merged()
        window = Window(self.kernel, padding=self.kernel // 2)
        one = depthwise_conv(len(kernel), window).to(kernel)
        with torch.no_grad():
            one.weight.copy_(kernel)
            one.bias.copy_(0 if bias is None else bias)
        self.branches = nn.ModuleList([nn.Sequential(one)])
        return self


def merge_(model: nn.Module) -> nn.Module:
    """Merge every part of a model that has a `merge_` of its own, in place.

    What comes out computes what the model computed in evaluation mode, and
    its state dict has the shapes of the merged weights that are released.

    Returns:
        The model.

    Raises:
        ValueError: If there is no such part.

    Source:
        Ding et al., arXiv:2311.15599, section 3.2; UniRepLKNet.
    """
    parts = [m for m in model.modules() if hasattr(m, "merge_")]
    if not parts:
        raise ValueError(
            f"model={type(model).__name__}: has no part to be merged, such "
            "as a DilatedReparam"
        )
    for part in parts:
        part.merge_()
    return model


def zero_filled_kernel(
    weight: Tensor, dilation: int, *, side: int | None = None
) -> Tensor:
    """The dense kernel that a dilated one is, (O, C, k, k) to (O, C, K, K).

    Args:
        weight: The dilated kernel.
        dilation: Pixels between its taps.
        side: K: zeros around make it as large. None adds none.

    Raises:
        ValueError: If the kernel spans more, or cannot be centred.
    """
    size = (weight.shape[-1] - 1) * dilation + 1
    border, rest = divmod((side or size) - size, 2)
    if border < 0 or rest:
        raise ValueError(
            f"side={side}: a kernel that spans {size} pixels cannot be "
            "centred in it"
        )
    dense = weight.new_zeros(*weight.shape[:2], size, size)
    dense[..., ::dilation, ::dilation] = weight
    return F.pad(dense, (border,) * 4)


def branch_counts(
    kernel: int = 13, branches: Sequence[tuple[int, int]] | None = None
) -> Tensor:
    """How many branches have a weight at each place of the kernel, (K, K).

    Without normalisation, a step of gradient descent on the branches is one
    on the dense kernel whose learning rate is multiplied by these counts.

    Arguments and errors as `DilatedReparam`.
    """
    ones = DilatedReparam(1, kernel, branches=branches, norm=False)
    for parameter in ones.parameters():
        nn.init.ones_(parameter)
    return ones.merged()[0][0, 0].long()


def folded(
    weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d
) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight and bias of a convolution that does its normalisation, too.

    As the normalisation is in evaluation mode, by its running statistics.
    """
    return fuse_conv_bn_weights(
        weight,
        bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
