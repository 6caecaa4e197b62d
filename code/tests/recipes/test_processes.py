"""What a process knows of the others."""

import os

import pytest
import torch

from atrous.recipes.processes import Process, joined, seed_step_

CPU = torch.device("cpu")


def test_a_process_alone_needs_nobody():
    with joined() as process:
        assert (process.rank, process.count) == (0, 1)
        numbers = torch.arange(3.0)
        assert torch.equal(process.sum(numbers), torch.arange(3.0))
        process.agree(7, "sevens")
        process.wait()


def test_a_process_takes_the_gpu_of_its_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with joined() as process:
        assert process.device == torch.device("cuda", 0)
    for name, value in (("RANK", 2), ("WORLD_SIZE", 4), ("LOCAL_RANK", 2)):
        monkeypatch.setenv(name, str(value))
    with (
        pytest.raises(ValueError, match="LOCAL_RANK=2: this machine has 2"),
        joined(),
    ):
        pass


def test_processes_that_disagree_are_told(monkeypatch):
    """Where the largest of another process is another one."""

    def all_reduce(numbers, op):
        numbers.copy_(torch.maximum(numbers, torch.tensor([5, -3])))

    monkeypatch.setattr("torch.distributed.all_reduce", all_reduce)
    process = Process(0, 2, CPU)
    for own in (3, 4, 5):
        with pytest.raises(ValueError, match="states: from 3 to 5 in diff"):
            process.agree(own, "states")


def test_a_process_whose_parent_is_gone_is_told():
    Process(1, 2, CPU).check_parent()
    Process(1, 2, CPU, os.getppid()).check_parent()
    with pytest.raises(InterruptedError, match="process 1: what started it"):
        Process(1, 2, CPU, os.getpid()).check_parent()


def test_a_step_and_a_process_decide_the_random_numbers():
    def drawn(*given):
        seed_step_(*given)
        return torch.rand(4).tolist()

    found = [drawn(*k) for k in ((0, 1, 0), (0, 2, 0), (0, 1, 1), (1, 1, 0))]
    assert len({tuple(numbers) for numbers in found}) == 4
    torch.rand(9)
    assert drawn(0, 1, 0) == found[0]
