"""Each process computes on a device of its own while there is one; what a dead process had is free."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from resources.devices import Devices
from resources.embedder_checkpoint import CheckpointEmbedders
from training_kernels import device as device_module
from training_kernels.device import pick_device


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As if this machine had three CUDA devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_device", lambda place: None)
    monkeypatch.setattr(device_module, "_place", 0)
    for name in ("LOCAL_RANK", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def taken(devices: Devices) -> int | None:
    """The device that kernels compute on after this process has taken one."""
    devices.take()
    return pick_device().index


def test_as_many_processes_as_devices_have_one_each_and_more_share_them_evenly(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    processes = [Devices(tmp_path / "devices") for _ in range(7)]
    assert [taken(one) for one in processes] == [0, 1, 2, 0, 1, 2, 0]


def test_a_device_that_was_given_back_is_free_and_its_process_comes_back_to_it_where_it_can(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second, third, fourth = (Devices(tmp_path / "devices") for _ in range(4))
    assert [taken(one) for one in (first, second, third, second)] == [0, 1, 2, 2], "the second had its device already"
    second.give_back()
    assert taken(second) == 1
    second.give_back()
    assert taken(fourth) == 1
    third.give_back()
    assert taken(second) == 2
    second.give_back()
    second.give_back()


def test_what_a_killed_process_had_is_free(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = (
        "import sys, torch; from pathlib import Path; from resources.devices import Devices;"
        "torch.cuda.is_available = lambda: True; torch.cuda.device_count = lambda: 3;"
        "torch.cuda.set_device = lambda place: print(place, flush=True);"
        "devices = Devices(Path(sys.argv[1])); devices.take(); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "0\n"
    assert taken(Devices(tmp_path)) == 1
    other.send_signal(signal.SIGKILL)
    other.communicate()
    assert taken(Devices(tmp_path)) == 0


def test_processes_of_torchrun_see_devices_that_nobody_has(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other, waiting = Devices(tmp_path), Devices(tmp_path)
    assert (taken(other), taken(waiting)) == (0, 1)
    with waiting.for_processes(2) as environment:
        assert environment == {"CUDA_VISIBLE_DEVICES": "1,2"}
        assert taken(Devices(tmp_path)) == 0, "all are taken, and it shares the first"
        machine.setenv("CUDA_VISIBLE_DEVICES", "4,6,GPU-7")
        with Devices(tmp_path).for_processes(1) as beside:
            assert beside == {"CUDA_VISIBLE_DEVICES": "6"}
    with waiting.for_processes(3) as environment:
        assert environment == {}
    assert taken(waiting) == 1


@pytest.mark.parametrize("where", ["one device", "none", "a process of torchrun"])
def test_where_there_is_nothing_to_choose_nothing_is_written(
    machine: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    if where == "a process of torchrun":
        machine.setenv("LOCAL_RANK", "2")
    machine.setattr(torch.cuda, "device_count", lambda: {"one device": 1, "none": 0}.get(where, 3))
    devices = Devices(tmp_path / "devices")
    assert taken(devices) == int(os.environ.get("LOCAL_RANK", "0"))
    assert not (tmp_path / "devices").exists()


def test_an_embedder_is_opened_again_where_its_process_computes_now(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    places: list[str] = []
    embedders = CheckpointEmbedders(
        str(tmp_path / "backbones"),
        "tiny-qwen2.5-vl",
        str(tmp_path / "images"),
        take_device=lambda: places.append("taken"),
    )
    folder = embedders.untrained()
    first = embedders.open(folder)
    assert embedders.open(folder) is first
    assert places == ["taken", "taken"]
    # another device of the same kind, as far as its name goes
    monkeypatch.setattr(device_module, "pick_device", lambda: torch.device("cpu", 0))
    again = embedders.open(folder)
    assert again is not first
    assert embedders.open(folder) is again
