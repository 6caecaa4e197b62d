"""Batch normalisation over several processes, and frozen."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn

from atrous.recipes.normalisation import SharedBatchNorm2d, freeze_, share_

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def group():
    """A group of one process; that of several is tested with whole runs."""
    store = dist.HashStore()
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def network():
    torch.manual_seed(1)
    found = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=0.3), nn.PReLU(4)
    ).double()
    nn.init.normal_(found[1].weight)
    nn.init.normal_(found[1].bias)
    return found


@pytest.mark.usefixtures("group")
def test_shared_norms_are_torchs_where_there_is_one_process():
    plain = network()
    shared = share_(copy.deepcopy(plain), CPU)
    assert type(shared[1]) is SharedBatchNorm2d
    for step in range(2):
        x = torch.rand(2, 3, 4, 5, dtype=torch.float64) + step
        outputs = [n(x) for n in (plain, shared)]
        torch.testing.assert_close(*outputs)
        for y in outputs:
            (y * torch.arange(y.numel()).view(y.shape)).sum().backward()
    for a, b in zip(plain.parameters(), shared.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    for a, b in zip(plain.buffers(), shared.buffers(), strict=True):
        torch.testing.assert_close(a, b)
    evaluated = [n.eval()(x) for n in (plain, shared)]
    torch.testing.assert_close(*evaluated)


@pytest.mark.usefixtures("group")
def test_half_precision_is_normalised_in_full():
    wide = SharedBatchNorm2d(2)
    x = 100 + torch.rand(4, 2, 8, 8)
    half = wide(x.bfloat16())
    assert half.dtype == torch.bfloat16
    expected = nn.BatchNorm2d(2)(x.bfloat16().float())
    torch.testing.assert_close(half.float(), expected, rtol=0.02, atol=0.02)


@pytest.mark.usefixtures("group")
def test_one_value_a_channel_is_refused():
    norm = SharedBatchNorm2d(2)
    for batch in (0, 1):
        with pytest.raises(ValueError, match="one value a channel in all"):
            norm(torch.rand(batch, 2, 1, 1))
    assert norm(torch.rand(2, 2, 1, 1)).shape == (2, 2, 1, 1)


def test_without_other_processes_it_is_torchs_own():
    plain, shared = nn.BatchNorm2d(3), SharedBatchNorm2d(3)
    x = torch.rand(2, 3, 4, 4)
    assert torch.equal(plain(x), shared(x))


def test_gpus_take_torchs_own():
    converted = share_(network(), GPU)
    assert type(converted[1]) is nn.SyncBatchNorm
    assert converted[1].momentum == 0.3


def test_what_is_frozen_neither_moves_nor_learns():
    found = freeze_(network().train())
    x = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    before = found[1].running_mean.clone()
    found(x).sum().backward()
    assert torch.equal(found[1].running_mean, before)
    assert found[1].weight.grad is None
    assert found[0].weight.grad is not None
    assert found[2].training
