"""Training under torchrun brings logs and report back, and a rank that dies fails the job with its own words."""

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from resources.gpu import TrainJob
from resources.gpu_torchrun import TorchrunLauncher, _first_failure
from tests.training_kernels.running import write_task
from training_kernels.backbones.registry import backbone_folder
from training_kernels.errors import TrainingProcessFailed
from training_kernels.tokenizer import TINY


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> TrainJob:
    root = tmp_path_factory.mktemp("job")
    return TrainJob(
        recipe="smoke",
        examples=write_task(root / "task", num_examples=80),
        images=str(root),
        start_from=backbone_folder(TINY, root / "backbones"),
        out=root / "out",
        seed=3,
    )


def test_logs_and_report_come_back_from_two_processes(job: TrainJob) -> None:
    lines: list[str] = []
    report = TorchrunLauncher(2).train(job, log=lines.append)
    assert (report["processes"], report["seed"], report["steps"], report["device"]) == (2, 3, 4, "cpu")
    assert (job.out / "manifest.json").is_file()
    said = [line for line in lines if line.startswith(("recipe", "step", "checkpoint"))]
    assert said[0].startswith("recipe smoke on cpu in float32, 2 processes (ddp), seed 3: 4 steps")
    assert any(line.startswith("step 4/4  loss ") for line in said)
    assert sum(line.startswith("checkpoint") for line in said) == 1, "one rank speaks"


def test_processes_see_the_devices_that_are_theirs_while_they_run(
    job: TrainJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import os; print('devices', os.environ['CUDA_VISIBLE_DEVICES']); raise SystemExit(1)"
    monkeypatch.setattr(TorchrunLauncher, "command", lambda *_, **__: [sys.executable, "-c", program])
    lines: list[str] = []

    @contextmanager
    def devices(number: int) -> Iterator[dict[str, str]]:
        yield {"CUDA_VISIBLE_DEVICES": "1,3"[: 2 * number - 1]}
        lines.append("given back")

    with pytest.raises(TrainingProcessFailed):
        TorchrunLauncher(2, devices=devices).train(job, log=lines.append)
    assert lines[1:] == ["devices 1,3", "given back"]


@pytest.mark.long
def test_two_hosts_that_meet_at_a_port_train_one_checkpoint(job: TrainJob, tmp_path: Path) -> None:
    """Two torchruns of one rank each, as on two machines that mount the same folders."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = f"127.0.0.1:{free.getsockname()[1]}"
    shared = replace(job, out=tmp_path / "out")
    launcher = TorchrunLauncher(1, nodes=2, rendezvous=meeting)
    lines: list[str] = []
    with ThreadPoolExecutor(2) as hosts:
        reports = list(hosts.map(lambda host: launcher.train(shared, log=lines.append), range(2)))
    assert reports[0] == reports[1]
    assert (reports[0]["processes"], reports[0]["steps"]) == (2, 4)
    assert (shared.out / "manifest.json").is_file()
    assert sum("on each of 2 hosts, start this on the others: " in line for line in lines) == 2
    assert sum(line.startswith("checkpoint") for line in lines) == 1, "one rank speaks"


def test_a_rank_that_raises_fails_the_job_with_its_traceback(job: TrainJob, tmp_path: Path) -> None:
    broken = TrainJob(
        recipe=job.recipe, examples=job.examples, images=job.images, start_from=tmp_path, out=tmp_path / "out", seed=3
    )
    with pytest.raises(TrainingProcessFailed) as failed:
        TorchrunLauncher(2).train(broken, log=lambda line: None)
    said = str(failed.value)
    assert "of this host's training processes failed" in said
    assert "Traceback (most recent call last)" in said
    assert "training_kernels/manifest.py" in said
    assert f"IncompleteArtifact: checkpoint {tmp_path} has no manifest.json" in said


BROKEN_RANK = """
import os, sys
if os.environ.get("LOCAL_RANK") == "1":
    from training_kernels.objective import ContrastiveObjective
    def fail(self, batch):
        raise ValueError("THE REAL CAUSE")
    ContrastiveObjective.backward = fail
"""
"""What Python runs at its start where it finds it as sitecustomize.py."""


@pytest.mark.long
def test_the_rank_that_failed_by_itself_is_told_first_not_the_one_that_lost_it(
    job: TrainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BROKEN_RANK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(TrainingProcessFailed) as failed:
        TorchrunLauncher(2).train(replace(job, out=tmp_path / "out"), log=lambda line: None)
    said = str(failed.value)
    assert said.startswith("rank 1 of this host's training processes failed; ")
    assert "ValueError: THE REAL CAUSE" in said.partition("\nrank 0 met")[0]
    assert "ended with status" not in said


def error_file(folder: Path, rank: int, message: str, *, second: int = 7) -> None:
    """What torchrun keeps of a rank that raised; the files are written one after the other."""
    path = folder / "run" / "attempt_0" / str(rank) / "error.json"
    path.parent.mkdir(parents=True)
    details = {"py_callstack": f"Traceback of rank {rank}\n{message}\n", "timestamp": str(second)}
    path.write_text(json.dumps({"message": {"message": message, "extraInfo": details}}))
    os.utime(path, ns=(rank, rank))


GLOO = "RuntimeError: [gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:7"
NCCL = (
    "DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:3690, remote process exited\nncclRemoteError: a call failed"
)


def test_errors_of_lost_connections_come_last_and_all_that_differ_are_named(tmp_path: Path) -> None:
    for rank, message in enumerate([GLOO, NCCL, "ValueError: the first", GLOO, "ValueError: the second"]):
        error_file(tmp_path, rank, message)
    said = _first_failure(tmp_path, 1).splitlines()
    assert said[0].startswith("rank 2 of this host's training processes failed")
    assert said[1:] == [
        "Traceback of rank 2",
        "ValueError: the first",
        "",
        "rank 4 met: ValueError: the second",
        f"rank 0, 3 met: {GLOO}",
        f"rank 1 met: {NCCL.splitlines()[0]}",
    ]


def test_where_every_rank_lost_another_torchrun_says_which_died(tmp_path: Path) -> None:
    error_file(tmp_path, 0, GLOO)
    (tmp_path / "torchrun.log").write_text("rank 1: Signal 9 (SIGKILL) received\n")
    said = _first_failure(tmp_path, 1)
    assert said.startswith("torchrun ended with status 1; ")
    assert "Traceback of rank 0" in said
    assert said.endswith("Signal 9 (SIGKILL) received")


def test_memory_that_a_collective_did_not_get_is_a_ranks_own_failure(tmp_path: Path) -> None:
    error_file(tmp_path, 0, GLOO)
    error_file(tmp_path, 1, "DistBackendError: NCCL error\nLast error: Cuda failure 2 'out of memory'")
    assert _first_failure(tmp_path, 1).startswith("rank 1 of this host's")


def test_a_rank_that_is_killed_fails_the_job_and_leaves_no_process(job: TrainJob, tmp_path: Path) -> None:
    doomed = TrainJob(
        recipe="tiny", examples=job.examples, images=job.images, start_from=job.start_from, out=tmp_path / "out", seed=3
    )

    def ranks() -> list[psutil.Process]:
        return [one for one in psutil.process_iter(["cmdline"]) if is_rank(one, doomed.out)]

    def kill_one() -> None:
        deadline = time.monotonic() + 100
        while len(ranks()) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        ranks()[-1].send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(TrainingProcessFailed, match="torchrun ended with status 1") as failed:
        TorchrunLauncher(2).train(doomed, log=lambda line: None)
    killer.join()
    assert "Signal 9 (SIGKILL)" in str(failed.value)
    assert ranks() == []
    assert not doomed.out.exists()


def is_rank(process: psutil.Process, out: Path) -> bool:
    """Whether a process is a rank of the run into `out`, and not its torchrun."""
    told = process.info["cmdline"] or []
    return str(out) in told and "torch.distributed.run" not in told
