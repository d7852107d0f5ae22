"""Training under torchrun: one process a device, which together train one batch.

Plain lines and files carry what comes back, not Dagster Pipes: the first rank prints what is to be logged, the report
is the metrics.json of the checkpoint, and torchrun keeps each rank's error. So the kernels know no orchestrator, the same
command works by hand, and this layer needs none either.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resources.gpu import TrainJob
from training_kernels.errors import TrainingProcessFailed
from training_kernels.manifest import RUN_RECORD
from training_kernels.processes import die_with_parent

LAST_LINES = 30
"""Of a rank's stderr in an error, where it left no traceback."""

LOST_CONNECTION = re.compile(
    r"^Dist(Backend|Network|Store)?Error: (?!.*out of memory)"
    r"|^RuntimeError: .*(gloo/transport|Connection (closed|reset) by peer)",
    re.DOTALL,
)
"""What a rank's error says when it waits for the others in a collective, and one of them is gone."""

GOES_ON = "training goes on from its last state when it is run again"

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
        """The report of the run. Raises TrainingProcessFailed with the traceback of the rank that failed by itself."""
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


@dataclass(frozen=True, slots=True)
class _RankError:
    """What one rank of this host left behind."""

    rank: str
    """Its place on this host, which is its rank where there is one host."""
    written_ns: int
    """When its error.json was: the time inside it is in whole seconds, and a lost connection follows within one."""
    message: str
    traceback: str

    @classmethod
    def read(cls, path: Path) -> "_RankError":
        message = json.loads(path.read_text())["message"]
        if not isinstance(message, dict):
            message = {"message": str(message), "extraInfo": {"py_callstack": str(message)}}
        return cls(path.parent.name, path.stat().st_mtime_ns, message["message"], message["extraInfo"]["py_callstack"])

    @property
    def is_of_another(self) -> bool:
        """Whether this rank only met that another was gone."""
        return bool(LOST_CONNECTION.search(self.message))


def _first_failure(log_folder: Path, status: int) -> str:
    """Which rank failed by itself and how, with its traceback, and what the others met; where none did, what torchrun said."""
    errors = sorted(
        map(_RankError.read, log_folder.rglob("error.json")), key=lambda one: (one.is_of_another, one.written_ns)
    )
    told = [
        f"rank {first.rank} of this host's training processes failed; {GOES_ON}\n{first.traceback}"
        for first in errors[:1]
    ]
    told += _met(errors[1:])
    if errors and not errors[0].is_of_another:
        return "\n".join(told)
    said = {path.parent.name: path.read_text(errors="replace") for path in sorted(log_folder.rglob("stderr.log"))}
    if not errors:
        told = [f"rank {rank} said last:\n{_tail(text)}" for rank, text in said.items() if text.strip()]
    own = _tail((log_folder / "torchrun.log").read_text(errors="replace"))
    return "\n".join([f"torchrun ended with status {status}; {GOES_ON}", *told, own])


def _met(errors: Sequence[_RankError]) -> list[str]:
    """A line for each message, with the ranks that left it."""
    ranks: dict[str, list[str]] = {}
    for error in errors:
        ranks.setdefault(error.message.strip().partition("\n")[0], []).append(error.rank)
    return [f"rank {', '.join(sorted(names, key=int))} met: {line}" for line, names in ranks.items()]


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-LAST_LINES:])
