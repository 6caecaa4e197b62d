"""A state is whole or is not there: full disks, cut files, sudden ends."""

import errno
import os

import pytest
import torch
from runs import claimed_by_another, files_of_at_most

from atrous.recipes import checkpoint


def state(iteration, size=3):
    return {"iteration": iteration, "model": {"a": torch.rand(size)}}


def test_the_last_state_comes_back_and_the_one_before_stays(tmp_path):
    assert checkpoint.find(tmp_path) is None
    states = [state(n) for n in range(3)]
    for one in states:
        file = checkpoint.save(tmp_path, one)
        assert checkpoint.find(tmp_path) == file
        found = checkpoint.load(file)
        assert found["iteration"] == one["iteration"]
        assert torch.equal(found["model"]["a"], one["model"]["a"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "before_last.pt",
        "last.pt",
    ]
    before = checkpoint.load(tmp_path / checkpoint.BEFORE)
    assert before["iteration"] == 1


@pytest.mark.parametrize("size", [10_000, 1_000_000])
def test_a_full_disk_keeps_the_last_state(tmp_path, size):
    """Of states as small as torch's header, and of larger ones."""
    checkpoint.save(tmp_path, state(1))
    with (
        files_of_at_most(size // 2),
        pytest.raises(OSError, match=r"cannot be written: .*kept: \['last"),
    ):
        checkpoint.save(tmp_path, state(2, size))
    assert checkpoint.load(checkpoint.find(tmp_path))["iteration"] == 1
    assert not (tmp_path / checkpoint.UNFINISHED).exists()
    checkpoint.save(tmp_path, state(3))
    assert checkpoint.load(checkpoint.find(tmp_path))["iteration"] == 3


def test_a_full_disk_at_the_first_state_says_that_there_is_none(tmp_path):
    with (
        files_of_at_most(100),
        pytest.raises(OSError, match="kept: nothing, there was none before"),
    ):
        checkpoint.save(tmp_path, state(1))
    assert checkpoint.find(tmp_path) is None


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_a_state_that_is_cut_off_is_named_and_the_one_before(tmp_path, kept):
    checkpoint.save(tmp_path, state(1))
    last = tmp_path / checkpoint.LAST
    whole = last.read_bytes()
    last.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match=r"last\.pt: is not whole$"):
        checkpoint.load(last)
    last.write_bytes(whole)
    checkpoint.save(tmp_path, state(2))
    last.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match=r"--resume .*before_last\.pt goes"):
        checkpoint.load(last)
    assert checkpoint.load(tmp_path / checkpoint.BEFORE)["iteration"] == 1


def test_an_end_between_the_two_renamings_leaves_the_one_before(
    tmp_path, monkeypatch
):
    checkpoint.save(tmp_path, state(1))
    renamed, real = [], os.replace

    def replace(source, target):
        if renamed:
            raise KeyboardInterrupt
        renamed.append(target)
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, state(2))
    monkeypatch.undo()
    file = checkpoint.find(tmp_path)
    assert file.name == checkpoint.BEFORE
    assert checkpoint.load(file)["iteration"] == 1
    checkpoint.save(tmp_path, state(2))
    assert checkpoint.load(checkpoint.find(tmp_path))["iteration"] == 2


def test_other_files_are_no_states(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="is no state of a run"):
        checkpoint.load(tmp_path / "weights.pt")
    with pytest.raises(FileNotFoundError, match="none"):
        checkpoint.load(tmp_path / "none.pt")


def test_a_file_system_without_locks_is_written_to(tmp_path, monkeypatch):
    def lockf(*given):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(checkpoint.fcntl, "lockf", lockf)
    with checkpoint.claimed(tmp_path):
        pass


def test_a_folder_is_one_run_s_until_its_process_has_ended(tmp_path):
    """However it ends."""
    out = tmp_path / "new" / "out"
    with checkpoint.claimed(out):
        pass
    with (
        claimed_by_another(out),
        pytest.raises(BlockingIOError, match="another run is writing"),
        checkpoint.claimed(out),
    ):
        pass
    with checkpoint.claimed(out):
        pass
