"""Training under torchrun: one process a device, which together train one batch.

Plain lines and files carry what comes back, not Dagster Pipes: the first rank prints what is to be logged, the report
is the metrics.json of the checkpoint, and torchrun keeps each rank's error. So the kernels know no orchestrator, the same
command works by hand, and this layer needs none either.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resources.gpu import TrainJob
from training_kernels.errors import TrainingProcessFailed
from training_kernels.manifest import RUN_RECORD
from training_kernels.processes import die_with_parent

LAST_LINES = 30
"""Of a rank's stderr in an error, where it left no traceback."""

GRACE_SECONDS = 10.0
"""Torchrun gets to end its processes before they are killed."""

DevicesOf = Callable[[int], contextlib.AbstractContextManager[dict[str, str]]]
"""Of a number of ranks: what their environment says of the devices that they have meanwhile."""


@dataclass(frozen=True, slots=True)
class TorchrunLauncher:
    """One torchrun on this host a job; the caller waits until the checkpoint is complete.

    Where several hosts train together, the same command is started on the others, which see the same folders: examples,
    checkpoint and weights lie in NYX_LOCAL, so that is then a file system that all of them mount at one path.
    """

    processes: int
    """Ranks on each host, each on a device of its own."""
    nodes: int = 1
    rendezvous: str = ""
    """host:port of one of the hosts, where all of them meet; "" for one host."""
    devices: DevicesOf = lambda number: contextlib.nullcontext({})

    def command(self, job: TrainJob, *, log_folder: Path) -> list[str]:
        """What is run; a person may run it too."""
        return [
            sys.executable, "-m", "torch.distributed.run", *self._meeting(job), f"--nproc-per-node={self.processes}",
            f"--log-dir={log_folder}", "--redirects=2", "--module", "training_kernels",
            job.recipe, str(job.examples), str(job.out), "--images", job.images, "--start-from", str(job.start_from),
            "--seed", str(job.seed),
        ]  # fmt: skip

    def _meeting(self, job: TrainJob) -> list[str]:
        if self.nodes == 1:
            return ["--standalone"]
        return [
            f"--nnodes={self.nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={self.rendezvous}",
            f"--rdzv-id={job.out.name}",
        ]  # fmt: skip

    def train(self, job: TrainJob, *, log: Callable[[str], None]) -> dict[str, Any]:
        """The report of the run. Raises TrainingProcessFailed with the traceback of the rank that died first."""
        with tempfile.TemporaryDirectory(prefix="nyx-torchrun-") as folder:
            log_folder = Path(folder)
            command = self.command(job, log_folder=log_folder)
            where = f" on each of {self.nodes} hosts, start this on the others" if self.nodes > 1 else ""
            log(f"{self.processes} processes{where}: {' '.join(command[1:])}")
            with (log_folder / "torchrun.log").open("w") as own_log, self.devices(self.processes) as environment:
                status = _run(command, log, own_log, environment)
            if status != 0:
                raise TrainingProcessFailed(_first_failure(log_folder, status))
        return json.loads((job.out / RUN_RECORD).read_text())


def _run(command: list[str], log: Callable[[str], None], own_log: Any, environment: dict[str, str]) -> int:
    """Exit status; every line of stdout was logged. However this ends, the processes have ended."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=own_log,
        text=True,
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,  # an interrupt at the keyboard reaches this process, which ends the others in order
        preexec_fn=die_with_parent,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            log(line.rstrip())
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        process.stdout.close()


def _first_failure(log_folder: Path, status: int) -> str:
    """Which rank died first and how, with its traceback; what torchrun said where no rank left one."""
    errors = []
    for path in log_folder.rglob("error.json"):
        message = json.loads(path.read_text())["message"]
        details: dict[str, Any] = (
            message["extraInfo"] if isinstance(message, dict) else {"py_callstack": str(message), "timestamp": 0}
        )
        errors.append((int(details["timestamp"]), path.parent.name, details["py_callstack"]))
    if errors:
        _, rank, traceback = min(errors)
        return f"rank {rank} of the training processes failed; training goes on from its last state when it is run again\n{traceback}"
    said = {path.parent.name: path.read_text(errors="replace") for path in sorted(log_folder.rglob("stderr.log"))}
    ends = [f"rank {rank} said last:\n{_tail(text)}" for rank, text in said.items() if text.strip()]
    own = _tail((log_folder / "torchrun.log").read_text(errors="replace"))
    return "\n".join(
        [f"torchrun ended with status {status}; training goes on from its last state when it is run again", *ends, own]
    )


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-LAST_LINES:])
