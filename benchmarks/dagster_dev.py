"""A real `dagster dev` over a home, as `make up` starts it, asked over GraphQL as its UI asks."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from benchmarks.chromium import ask, end_group, free_port, is_free, wait_for

ROOT = Path(__file__).resolve().parents[1]
LAUNCH = """
mutation Launch($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } } ... on InvalidSubsetError { message }
} }"""
RUNS = """
query Runs($filter: RunsFilter) { runsOrError(limit: 200, filter: $filter) { ... on Runs { results {
    runId status parentRunId
} } } }"""
LOGS = """
query Logs($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events { ... on MessageEvent { message } } } } }"""

Part = Literal["webserver", "daemon", "code server"]
ARGUMENTS: Mapping[Part, str] = {
    "webserver": "dagster_webserver",
    "daemon": "dagster._daemon",
    "code server": "code-server",
}
"""What the command line of each part has and no other has."""
WORKER_SAYS = "Started process for run (pid: "


class Dagster:
    """A running `dagster dev`; it leads a process group of its own."""

    def __init__(self, url: str, process: subprocess.Popen[Any]) -> None:
        self.url, self.process = url, process

    def query(self, graphql: str, **variables: Any) -> dict[str, Any]:
        answer = ask(f"{self.url}/graphql", {"query": graphql, "variables": variables})
        assert "errors" not in answer, answer
        return answer["data"]

    def launch(
        self,
        *,
        job: str = "__ASSET_JOB",
        assets: Sequence[str] = (),
        checks: Mapping[str, str] = MappingProxyType({}),
        partition: str | None = None,
        config: Mapping[str, Any] = MappingProxyType({}),
    ) -> str:
        """Start a run, as the buttons of the UI do; its id.

        Args:
            checks: name of the check by its asset.
            config: what is written in the launchpad.
        """
        selector = {
            "repositoryLocationName": "nyx",
            "repositoryName": "__repository__",
            "pipelineName": job,
            "assetSelection": [{"path": name.split("/")} for name in assets],
            "assetCheckSelection": [
                {"assetKey": {"path": asset.split("/")}, "name": name} for asset, name in checks.items()
            ],
        }
        tags = [] if partition is None else [{"key": "dagster/partition", "value": partition}]
        params = {
            "selector": selector,
            "mode": "default",
            "executionMetadata": {"tags": tags},
            "runConfigData": dict(config),
        }
        launched = self.query(LAUNCH, params=params)["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return launched["run"]["runId"]

    def runs(self, **chosen: Any) -> list[dict[str, Any]]:
        """Id, status and parent of the newest 200, the newest first.

        Args:
            chosen: fields of Dagster's RunsFilter.
        """
        return self.query(RUNS, filter=chosen)["runsOrError"]["results"]

    def unfinished(self) -> list[dict[str, Any]]:
        return self.runs(statuses=["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"])

    def status_of(self, run_id: str) -> str:
        return next((run["status"] for run in self.runs(runIds=[run_id])), "")

    def child_of(self, run_id: str) -> str:
        """The run that was started in the place of another; "" if there is none."""
        return next((run["runId"] for run in self.runs() if run["parentRunId"] == run_id), "")

    def worker_of(self, run_id: str) -> int:
        """The process that executes a run."""
        events = self.query(LOGS, run=run_id)["logsForRun"]["events"]
        said = next(event["message"] for event in events if event.get("message", "").startswith(WORKER_SAYS))
        return int(said.removeprefix(WORKER_SAYS).partition(")")[0])

    def process_of(self, part: Part) -> int:
        """The process of one part; of several with such a command line, the one that started the others."""
        return min(self._processes(ARGUMENTS[part]))

    def _processes(self, argument: str) -> Iterator[int]:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                arguments = (folder / "cmdline").read_bytes().split(b"\0")
                group = os.getpgid(int(folder.name))
            except OSError:  # it has ended meanwhile
                continue
            if group == self.process.pid and argument.encode() in arguments:
                yield int(folder.name)


@contextmanager
def serving(home: Path, log: Path, **env: str) -> Iterator[Dagster]:
    """`dagster dev` over a home, with its lines in a file; ended with everything that it started."""
    port, binaries = free_port(), Path(sys.executable).parent
    environment = {**os.environ, "NYX_RECIPE": "smoke", "NYX_HOME": str(home), **env}
    made_ready = subprocess.run(
        [binaries / "nyx", "dagster-home"], env=environment, check=True, capture_output=True, text=True
    )
    command = [str(binaries / "dagster"), "dev", "-w", str(ROOT / "workspace.yaml"), "-h", "127.0.0.1", "-p", str(port)]
    with log.open("a") as stream:
        server = subprocess.Popen(
            command,
            env={**environment, "DAGSTER_HOME": made_ready.stdout.strip()},
            cwd=log.parent,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        wait_for("the Dagster UI", lambda: server.poll() is not None or not is_free(port), seconds=60)
        assert server.poll() is None, log.read_text()[-3000:]
        yield Dagster(f"http://127.0.0.1:{port}", server)
    finally:
        end_group(server)
        wait_for("the end of the Dagster UI", lambda: is_free(port))
