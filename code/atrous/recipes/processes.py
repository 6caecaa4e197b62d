"""What a process knows of the others: `torchrun` starts them, torch joins.

One process without `torchrun` is the same as `torchrun` with one.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

# What torchrun tells the processes that it starts.
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


@dataclass(frozen=True)
class Process:
    """One of the processes that train a network together.

    Attributes:
        rank: Its number; 0 writes the files.
        count: How many there are.
        device: Where it computes.
        parent: Process that started it; None if that does not matter.
    """

    rank: int
    count: int
    device: torch.device
    parent: int | None = None

    def sum(self, numbers: Tensor) -> Tensor:
        """Sum of all processes' tensors, in place and in each of them."""
        if self.count > 1:
            dist.all_reduce(numbers)
        return numbers

    def agree(self, number: int, what: str) -> None:
        """Make sure that all processes have the same number.

        Raises:
            ValueError: If not, in each process.
        """
        if self.count == 1:
            return
        found = torch.tensor([number, -number], device=self.device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        high, low = found[0].item(), -found[1].item()
        if high != low:
            raise ValueError(
                f"{what}: from {low} to {high} in different processes; all "
                "must see the same files"
            )

    def check_parent(self) -> None:
        """Make sure that torchrun, which started this process, is there.

        One that was killed leaves its processes behind. They would go on,
        and write over what the next run writes.

        Raises:
            InterruptedError: If it is gone.
        """
        if self.parent is not None and os.getppid() != self.parent:
            raise InterruptedError(
                f"process {self.rank}: what started it, process "
                f"{self.parent}, is gone; the states saved before are kept"
            )

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            dist.barrier()


@contextlib.contextmanager
def joined() -> Iterator[Process]:
    """Join the processes that `torchrun` has started, while it lasts.

    On GPUs by nccl, one a process; on CPUs by gloo.

    Raises:
        ValueError: If some of torchrun's variables are set and others not.
    """
    found = [name for name in VARIABLES if name in os.environ]
    if not found:
        yield Process(0, 1, _device(0))
        return
    if len(found) < len(VARIABLES):
        raise ValueError(
            f"environment: has {found} only of {VARIABLES}; start several "
            "processes by torchrun"
        )
    rank, count, local = (int(os.environ[name]) for name in VARIABLES)
    device = _device(local)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        dist.init_process_group("nccl", device_id=device)
    else:
        dist.init_process_group("gloo")
    yield Process(rank, count, device, os.getppid())
    # Not after an error: others may wait for this one inside a sum, and it
    # would for them. Its end ends them, through torchrun.
    dist.destroy_process_group()


def seed_step_(seed: int, step: int, rank: int) -> None:
    """Start torch's random numbers, on all devices, as a step decides.

    Dropout then needs no state to be kept: a run that is taken up again, on
    any number of processes, has a definite one at each step.
    """
    state = np.random.SeedSequence((seed, step, rank))
    torch.manual_seed(int(state.generate_state(1, np.uint64)[0] >> 1))


def _device(local: int) -> torch.device:
    """The GPU with a number on this machine, or the CPU if there is none.

    Raises:
        ValueError: If there are GPUs, but fewer than processes.
    """
    found = torch.cuda.device_count()
    if not found:
        return torch.device("cpu")
    if local >= found:
        raise ValueError(
            f"LOCAL_RANK={local}: this machine has {found} GPUs; start as "
            "many processes, or hide them all by CUDA_VISIBLE_DEVICES="
        )
    return torch.device("cuda", local)
