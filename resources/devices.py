"""Which CUDA device of this machine a process computes on: as far as can be, one that no other process has taken.

A process takes a device before it loads weights, and gives it back when its Dagster run has ended. A lock on a file says
so, `<folder>/cuda-<device>.<turn>`, so that a process that dies gives back what it had. Nobody waits here: how many steps
compute at once is for the pool `gpu` to say, and more steps than devices share them.
"""

import fcntl
import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

logger = logging.getLogger(__name__)

FOLDER = "devices"
"""Under the folder that a home has on this machine."""


class Devices:
    """Those of this machine, as the processes of one home share them out; each process has one `Devices`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._place = 0
        self._lock: int | None = None

    def take(self) -> None:
        """Has the kernels of this process compute on a free device, again on the one of before if that is still free.

        With one device or none, and in a process of torchrun, there is nothing to choose.
        """
        if self._lock is not None or "LOCAL_RANK" in os.environ or _num_devices() < 2:
            return
        from training_kernels.device import use_device

        ((self._place, self._lock),) = self._free(1, first=self._place).items()
        use_device(self._place)
        logger.info("computing on CUDA device %d", self._place)

    def give_back(self) -> None:
        """Lets others take this process's device, if it has one; what it has loaded there stays loaded."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def for_processes(self, number: int) -> Iterator[dict[str, str]]:
        """What the environment of `number` processes says of the devices that they have meanwhile, one each."""
        if number >= _num_devices():  # all of them, or too few: torchrun says so
            yield {}
            return
        self.give_back()  # this process only waits for the others
        locks = self._free(number, first=self._place)
        try:
            yield {"CUDA_VISIBLE_DEVICES": ",".join(_names(locks))}
        finally:
            for lock in locks.values():
                os.close(lock)

    def _free(self, number: int, *, first: int) -> dict[int, int]:
        """Locks by device, of those that the fewest have taken."""
        self.folder.mkdir(parents=True, exist_ok=True)
        places = sorted(range(_num_devices()), key=lambda place: place != first)
        locks: dict[int, int] = {}
        for turn in count():
            for place in places:
                if place not in locks and (lock := _locked(self.folder / f"cuda-{place}.{turn}")) is not None:
                    locks[place] = lock
                    if len(locks) == number:
                        return locks
        raise AssertionError("turns have no end")


def _num_devices() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _names(places: Collection[int]) -> list[str]:
    """Of devices that this process counts from 0, as CUDA_VISIBLE_DEVICES names them."""
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return [visible[place] if visible else str(place) for place in sorted(places)]


def _locked(path: Path) -> int | None:
    """The open file, locked; None where another has it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file
    os.close(file)
    return None
