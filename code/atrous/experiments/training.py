"""Train a network for a few seconds."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, PolynomialLR, StepLR
from tqdm import tqdm

from atrous.datasets.pairs import IGNORE
from atrous.experiments.metrics import at_labels

Batch = tuple[Tensor, Tensor]


def find_device() -> torch.device:
    """Return the device that a chapter runs on, and switch TF32 off.

    A GPU if there is one that knows float64, which Apple's do not, and else
    the CPU. TF32 keeps three digits of each factor of a convolution on a
    GPU, fewer than the chapters print; for products of matrices it is off
    unless somebody asks for it.
    """
    torch.backends.cudnn.allow_tf32 = False
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None or device.type == "mps":
        return torch.device("cpu")
    return device


@contextlib.contextmanager
def reproducible(seed: int) -> Iterator[torch.Generator]:
    """One thread, a seed and fixed algorithms, while the block lasts.

    Inside, torch's own random numbers (initialisation, dropout) start at
    `seed`, and cuDNN takes algorithms that give the same sum each time;
    all of this is put back at the end.

    Yields:
        A generator of its own, seeded alike, for the data.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cudnn = torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled,
        benchmark=False,
        deterministic=True,
        allow_tf32=False,
    )
    try:
        with torch.random.fork_rng(), cudnn:
            torch.manual_seed(seed)
            yield torch.Generator().manual_seed(seed)
    finally:
        torch.set_num_threads(threads)


def parameter_groups(
    model: nn.Module,
    *,
    lr: float,
    factors: Mapping[str, float] | None = None,
    bias_factor: float = 1.0,
    weight_decay: float = 0.0,
) -> list[dict]:
    """Parameter groups for an optimiser, by where a parameter sits.

    Args:
        model: The network; only parameters that require gradients count.
        lr: Base learning rate.
        factors: Learning-rate factor by name prefix, such as
            {"context": 10}; the longest prefix that fits wins, 1 if none.
        bias_factor: Further factor for biases; Caffe's networks train
            theirs at 2, without weight decay.
        weight_decay: For all parameters but biases.

    Raises:
        ValueError: If a prefix fits no parameter.
    """
    factors = dict(factors or {})
    groups, unused = {}, set(factors)
    for name, parameter in model.named_parameters():
        fitting = [p for p in factors if f"{name}.".startswith(f"{p}.")]
        unused.difference_update(fitting)
        if not parameter.requires_grad:
            continue
        factor = factors[max(fitting, key=len)] if fitting else 1.0
        bias = name.endswith("bias")
        key = (lr * factor * (bias_factor if bias else 1.0), bias)
        groups.setdefault(key, []).append(parameter)
    if unused:
        raise ValueError(f"factors={sorted(unused)}: no parameter fits")
    return [
        {"params": p, "lr": rate, "weight_decay": 0 if bias else weight_decay}
        for (rate, bias), p in groups.items()
    ]


def poly(optimizer: Optimizer, steps: int, power: float = 0.9) -> LRScheduler:
    """Learning rate times (1 - step / steps)^power.

    Source:
        Chen et al., arXiv:1606.00915, section 4.1.2.
    """
    return PolynomialLR(optimizer, total_iters=steps, power=power)


def step_decay(
    optimizer: Optimizer, every: int, factor: float = 0.1
) -> LRScheduler:
    """Learning rate times `factor` after each `every` steps."""
    return StepLR(optimizer, step_size=every, gamma=factor)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the pixels that are not labelled 255.

    Logits (B, C, H', W'), or a dictionary that has them in "out", are first
    upsampled to the labels, (B, H, W). Without a label it is 0.

    Raises:
        ValueError: As `atrous.experiments.metrics.at_labels`.
    """
    logits = at_labels(logits, labels)
    if all_ignored(labels):
        return (0 * logits).sum()
    return F.cross_entropy(logits, labels, ignore_index=IGNORE)


def all_ignored(labels: Tensor) -> bool:
    """Whether labels are classes, and those of all pixels 255."""
    return not labels.is_floating_point() and bool((labels == IGNORE).all())


def fit(
    model: nn.Module,
    batches: Iterable[Batch],
    optimizer: Optimizer,
    *,
    steps: int,
    scheduler: LRScheduler | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    title: str = "training",
) -> list[float]:
    """Train for a number of steps, one batch each; the loss of each step.

    A progress bar shows while it runs and leaves nothing behind;
    the environment variable TQDM_DISABLE=1 turns it off.

    Args:
        model: Put into training mode; updated in place.
        batches: Pairs of pictures (B, 3, H, W) and labels (B, H, W). One
            without a label, which random crops of real pictures give, has
            the loss 0 and moves nothing, not even the scheduler.
        optimizer: Over the parameters to train.
        steps: Batches to take.
        scheduler: Stepped after each batch; None keeps the rate.
        loss: Of logits and labels.
        title: What the progress bar says.

    Raises:
        ValueError: If `steps` is below 1 or the batches run out.
        FloatingPointError: If the loss is not finite; the step is named.
    """
    if steps < 1:
        raise ValueError(f"steps={steps}: must be at least 1")
    model.train()
    losses, source = [], iter(batches)
    for step in tqdm(range(steps), desc=title, leave=False):
        batch = next(source, None)
        if batch is None:
            raise ValueError(f"batches: ran out after {step} of {steps} steps")
        losses.append(0.0)
        if not all_ignored(batch[1]):
            value = loss(model(batch[0]), batch[1])
            losses[-1] = value.item()
            if not math.isfinite(losses[-1]):
                raise FloatingPointError(
                    f"loss is {losses[-1]} at step {step}"
                )
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
    return losses
