"""Training under torchrun brings logs and report back, and a rank that dies fails the job with its own words."""

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
from resources.gpu_torchrun import TorchrunLauncher
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
    assert "of the training processes failed" in said
    assert "Traceback (most recent call last)" in said
    assert "training_kernels/manifest.py" in said
    assert f"IncompleteArtifact: checkpoint {tmp_path} has no manifest.json" in said


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
