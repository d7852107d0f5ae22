"""`python -m MODULE …` in a process of its own that starts in a moment: a fork of one that has imported what takes long.

It is killed, waits and ends as any process does; only the seconds that an interpreter takes for torch and transformers are
spared. The modules of this project are imported in the fork, under its own environment.
"""

import multiprocessing
import os
import runpy
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

_WARM = multiprocessing.get_context("forkserver")
_WARM.set_forkserver_preload(["torch", "transformers", "peft", "safetensors.torch", "transformers.models.qwen2_5_vl"])
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
"""Read when torch is imported, and so the same for all."""


class Warm:
    """A process, with the part of `subprocess.Popen` that tests use."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        self.pid = process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(f"process {self.pid} is at work after {timeout} s")
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()


def start(module: str, arguments: Sequence[object], *, said: Path) -> Warm:
    """The process, at work under ONE_THREAD; what it prints, on either stream, goes to the file `said`."""
    _warm_up()
    words = [str(one) for one in arguments]
    process = _WARM.Process(target=_run, args=(module, words, {**os.environ, **ONE_THREAD}, str(said)))
    process.start()
    return Warm(process)


def _warm_up() -> None:
    """Have the process that is forked from started under ONE_THREAD."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _run(module: str, arguments: list[str], env: dict[str, str], said: str) -> None:
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 (as long as the process)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(env)
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)
