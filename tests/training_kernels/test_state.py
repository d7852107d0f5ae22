"""A state folder is held by one process group at a time."""

import fcntl

import pytest
import torch

from training_kernels.distributed import Ranks
from training_kernels.errors import AlreadyTraining
from training_kernels.state import StateFolder


@pytest.fixture
def folder(tmp_path):
    return StateFolder(tmp_path / "out", Ranks(0, 1), torch.device("cpu"), print)


def test_a_lock_file_that_its_last_holder_removed_after_it_was_opened_holds_nothing(folder, tmp_path, monkeypatch):
    lock = tmp_path / ".out.state.lock"
    really_lock = fcntl.flock
    third = []

    def lock_after_a_third_came(file, operation):
        """Between opening and locking: the last holder ends, and a third process makes and locks a new file."""
        monkeypatch.setattr(fcntl, "flock", really_lock)
        lock.unlink()
        third.append(lock.open("a"))
        really_lock(third[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        really_lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", lock_after_a_third_came)
    with pytest.raises(AlreadyTraining, match="another process trains into"), folder.held({}):
        pass
    third[0].close()
    with folder.held({}):
        with pytest.raises(AlreadyTraining), folder.held({}):
            pass
        assert lock.exists(), "who did not get the lock leaves the file to its holder"
    assert not lock.exists()
