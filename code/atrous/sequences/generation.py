"""Causal networks one step at a time, by queues of what was seen.

To compute one more step, a causal convolution of k taps and dilation r
needs k inputs: the new one, and those of r, 2 r, ..., (k - 1) r steps ago. A
queue for each convolution keeps them. So a step costs each weight once,
however far the network reaches; only the memory grows with the reach.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.nn.utils import parametrize

from atrous.arithmetic import check_positive
from atrous.ops.copying import copy_network
from atrous.sequences.causal import CausalConv1d, check_sequences
from atrous.sequences.residual_unit import Snake
from atrous.sequences.sequence_norms import ChannelNorm, CumulativeNorm

# Layers of each step alone, in evaluation mode.
STEPWISE = (
    *(nn.Identity, nn.Linear, nn.Dropout, nn.Dropout1d, nn.BatchNorm1d),
    *(nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU),
    *(nn.Tanh, nn.Sigmoid, Snake, ChannelNorm),
)


class Queue:
    """The last (k - 1) r inputs of one causal convolution, at first zeros.

    It is a ring: step t lies in place t mod (k - 1) r, where it takes the
    place of the oldest one, which was needed for the last time.

    Args:
        kernel: Taps k.
        dilation: Steps between taps, r.
        zeros: (B, C, 1), of the type and on the device of the inputs.
    """

    def __init__(self, kernel: int, dilation: int, zeros: Tensor):
        length = (kernel - 1) * dilation
        self.memory = zeros.repeat(1, 1, length)
        self.back = [tap * dilation for tap in range(kernel - 1, 0, -1)]
        self.steps = 0

    def push(self, x: Tensor) -> Tensor:
        """Take a step (B, C, 1) in; give what the taps see, (B, C, k).

        Raises:
            ValueError: If x is of another shape than the steps before.
        """
        expected = (*self.memory.shape[:2], 1)
        if x.shape != expected:
            raise ValueError(
                f"x of shape {tuple(x.shape)}: this queue holds steps of "
                f"shape {expected}; other sequences need their own"
            )
        length, now = self.memory.shape[2], self.steps
        self.steps += 1
        if not length:
            return x
        places = [(now - back) % length for back in self.back]
        seen = torch.cat([self.memory[..., places], x], 2)
        self.memory[..., now % length] = x[..., 0]
        return seen


class QueuedConv1d(nn.Module):
    """A causal convolution that is given one step after another.

    Maps (B, C, 1) to (B, C', 1), as `CausalConv1d` at that step.
    """

    def __init__(self, convolution: CausalConv1d, batch: int):
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.groups = convolution.groups
        zeros = self.weight.new_zeros(batch, convolution.in_channels, 1)
        self.queue = Queue(
            convolution.kernel_size[0], convolution.dilation[0], zeros
        )

    @property
    def steps(self) -> int:
        """Steps taken in so far."""
        return self.queue.steps

    def forward(self, x: Tensor) -> Tensor:
        """The output at this step, (B, C', 1)."""
        seen = self.queue.push(x)
        return F.conv1d(seen, self.weight, self.bias, groups=self.groups)


class RunningNorm(nn.Module):
    """Cumulative normalisation that is given one step after another.

    Keeps (B, C, 1), as `CumulativeNorm` at that step.
    """

    def __init__(self, norm: CumulativeNorm, batch: int):
        super().__init__()
        self.norm, self.steps = norm, 0
        self.means = norm.gamma.new_zeros(2, batch, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The normalised step, (B, C, 1)."""
        self.steps += 1
        now = torch.stack([x, x.square()]).mean(2, keepdim=True)
        self.means += (now - self.means) / self.steps
        return self.norm.scaled(self.norm.from_means(x, *self.means))


REMEMBERING = {CausalConv1d: QueuedConv1d, CumulativeNorm: RunningNorm}


class Stepper:
    """A causal network that takes one step after another.

    It is a copy in evaluation mode, without gradients: what becomes of the
    network later does not reach it. Every `CausalConv1d` and
    `CumulativeNorm` is replaced by its form with a memory; what else is in
    it, and what a `forward` does by itself, must treat each step alone.

    Args:
        network: Maps (B, C, T) to (B, ..., T).
        batch: Sequences B at a time.

    Raises:
        ValueError: If `batch` is below 1, or a layer sees several steps and
            has no memory, which is named.

    Source:
        Paine et al., arXiv:1611.09482, for the queues.
    """

    def __init__(self, network: nn.Module, batch: int = 1):
        check_positive(batch=batch)
        self.batch = batch
        network = copy_network(network).eval().requires_grad_(False)
        self.network = nn.Sequential(network)
        for module in network.modules():
            if parametrize.is_parametrized(module):
                _plain_(module)
        self.memories = []
        for name, module in [
            *self.network.named_modules(remove_duplicate=False)
        ]:
            for kind, made in REMEMBERING.items():
                if isinstance(module, kind):
                    self.memories.append(made(module, batch))
                    self.network.set_submodule(name, self.memories[-1])
                    break
            else:
                _check_stepwise(name.partition(".")[2], module)
        self.steps = 0

    @property
    def stored(self) -> int:
        """Numbers that the queues hold, the sum of B C (k - 1) r."""
        queues = (m for m in self.memories if isinstance(m, QueuedConv1d))
        return sum(m.queue.memory.numel() for m in queues)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """The next steps, (B, C, T), one by one: outputs (B, ..., T).

        Raises:
            ValueError: As `check_sequences`; if B is another than it was
                made for; or if the network does not call each of its causal
                layers once for each step.
        """
        check_sequences(x)
        if len(x) != self.batch:
            raise ValueError(
                f"x of shape {tuple(x.shape)}: this has the memory of "
                f"batch={self.batch} sequences; others need their own"
            )
        outputs = []
        for step in x.split(1, 2):
            outputs.append(self.network(step))
            self.steps += 1
            if any(memory.steps != self.steps for memory in self.memories):
                raise ValueError(
                    "network: calls a causal layer twice, or not at all: "
                    "give each call a layer of its own"
                )
        return torch.cat(outputs, -1)


def generate(
    network: nn.Module,
    given: Tensor,
    steps: int,
    *,
    choose: Callable[[Tensor], Tensor],
) -> Tensor:
    """Continue sequences: each new step is made of those before it.

    Args:
        network: Causal, (B, C, T) to (B, C', T), as `Stepper` takes it.
        given: Beginnings of the sequences, (B, C, T).
        steps: New steps, at least 1.
        choose: From outputs (B, C') at a step to the next step (B, C), such
            as `most_likely`.

    Returns:
        The new steps, (B, C, steps).

    Raises:
        ValueError: If `steps` is below 1; else as `Stepper`.
    """
    check_positive(steps=steps)
    check_sequences(given)
    stepper, made = Stepper(network, len(given)), []
    outputs = stepper(given)[..., -1]
    while True:
        made.append(choose(outputs))
        if len(made) == steps:
            return torch.stack(made, 2)
        outputs = stepper(made[-1][..., None])[..., 0]


def most_likely(logits: Tensor) -> Tensor:
    """The class of the largest logit, one-hot, (B, K) to (B, K)."""
    return F.one_hot(logits.argmax(1), logits.shape[1]).to(logits)


def drawn(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    generator: Generator | None = None,
) -> Tensor:
    """A class drawn by softmax(logits / temperature), one-hot, (B, K).

    Args:
        logits: (B, K).
        temperature: Below 1 prefers likely classes more.
        generator: Source of the random numbers; torch's own if None.

    Raises:
        ValueError: If `temperature` is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature={temperature}: must be positive")
    shares = (logits / temperature).softmax(1)
    chosen = torch.multinomial(shares, 1, generator=generator)[:, 0]
    return F.one_hot(chosen, logits.shape[1]).to(logits)


def _plain_(module: nn.Module) -> None:
    """Keep the values of parametrised weights, not what makes them.

    torch's `remove_parametrizations` takes them from the class, which a copy
    shares with its original.
    """
    values = {name: getattr(module, name) for name in module.parametrizations}
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    for name, value in values.items():
        weight = nn.Parameter(value.detach(), requires_grad=False)
        module.register_parameter(name, weight)


def _check_stepwise(name: str, module: nn.Module) -> None:
    """Raise ValueError unless a layer treats each step alone."""
    alone = isinstance(module, STEPWISE) or (
        isinstance(module, nn.Conv1d)
        and module.kernel_size == module.stride == (1,)
        and module.padding in ((0,), "same", "valid")
    )
    if not alone and not [*module.children()]:
        raise ValueError(
            f"network: {type(module).__name__} {name!r} may see several "
            "steps and has no memory: make it a causal layer, or one of each "
            "step alone"
        )
