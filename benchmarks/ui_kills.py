"""What becomes of a run of the Dagster UI when its processes are killed: python -m benchmarks.ui_kills.

A real `dagster dev` over a home with one small crawl, whose teacher is a slow loopback server. `raw_qa` of a partition is
started over GraphQL as the UI's button does; its run worker is killed with kill -9 while calls are under way, and when the
daemon has started it again, everything at once: webserver, daemon, code server, run worker. Expected: the sensor
killed_runs of a new `dagster dev` ends the run, the daemon starts it again, its table is whole, and no request is answered
twice.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.factory import make
from nyx_assets.recovery import dead_runs
from nyx_assets.registering import open_instance, prepare_dagster_home
from resources.home import Home
from resources.vlm import STAND_IN_MODEL
from resources.vlm_server import OfflineService, serve_offline_vlm
from sample_crawl import generate

ROOT = Path(__file__).resolve().parents[1]
LAUNCH = """
mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""
RUNS = "{ runsOrError { ... on Runs { results { runId status parentRunId } } } }"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=13177)
    parser.add_argument("--seconds", type=float, default=240.0, help="how long each expectation may take")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="nyx_ui_kills_") as scratch,
        serve_offline_vlm(OfflineService(delay_seconds=0.6)) as service,
    ):
        json.dump(killed(Path(scratch), service, options), sys.stdout, indent=1)
        print()


def killed(folder: Path, service: OfflineService, options: argparse.Namespace) -> dict[str, Any]:
    """What was seen, and how long it took."""
    crawl = generate(folder / "crawl", num_pages=12, num_partitions=1)
    env = {
        "NYX_HOME": str(folder / "home"),
        "NYX_RECIPE": "smoke",
        "NYX_TEACHER_BASE_URL": service.base_url,
        "NYX_TEACHER_MODEL": STAND_IN_MODEL,
        "NYX_TEACHER_MAX_IN_FLIGHT": "2",
        "NYX_TEACHER_TIMEOUT_SECONDS": "5",
    }
    os.environ.update(env)
    assert make(crawl, until="sampled_chunks") == 0
    home = Home.at(folder / "home")
    [crawl_key] = home.tables.partitions("chunked_corpus")
    ui = Ui(home, options.port)
    seen: dict[str, Any] = {}
    try:
        ui.wait(lambda: ui.ask("{ version }"), options.seconds)
        first = ui.launch("raw_qa", crawl_key)
        ui.wait(lambda: sum(service.counts()["answers"].values()) >= 3, options.seconds)
        worker = ui.worker_of(first)
        began = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        seen["killed run worker"] = f"process {worker} after {sum(service.counts()['answers'].values())} answers"
        ui.wait(lambda: ui.status_of(first) == "FAILURE", options.seconds)
        seen["seconds until that run was ended"] = round(time.monotonic() - began, 1)
        second = ui.wait(lambda: ui.child_of(first), options.seconds)
        before = sum(service.counts()["answers"].values())
        ui.wait(lambda: sum(service.counts()["answers"].values()) >= before + 3, options.seconds)
        seen["seconds until the daemon had started it again"] = round(time.monotonic() - began, 1)
        worker = ui.worker_of(second)
        began = time.monotonic()
        ui.kill()
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
        seen["killed webserver, daemon, code server and run worker"] = (
            f"at {sum(service.counts()['answers'].values())} answers"
        )
        ui = Ui(home, options.port)
        ui.wait(lambda: ui.status_of(second) == "FAILURE", options.seconds)
        seen["seconds until a new dagster dev had ended that run"] = round(time.monotonic() - began, 1)
        third = ui.wait(lambda: ui.child_of(second), options.seconds)
        ui.wait(lambda: ui.status_of(third) == "SUCCESS", options.seconds)
        seen["seconds until the run that it started again was through"] = round(time.monotonic() - began, 1)
    finally:
        ui.end()
    answers = service.counts()["answers"]
    with open_instance(home) as instance:
        seen["runs that hang"] = len(list(dead_runs(instance)))
    seen["requests answered"], seen["answered twice"] = len(answers), sum(count > 1 for count in answers.values())
    seen["rows of raw_qa"] = home.tables.num_rows("raw_qa", crawl_key)
    return seen


class Ui:
    """A `dagster dev` of its own, in a process group of its own."""

    def __init__(self, home: Home, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/graphql"
        env = os.environ | {"DAGSTER_HOME": str(prepare_dagster_home(home))}
        dagster = shutil.which("dagster") or str(Path(sys.executable).with_name("dagster"))
        command = [dagster, "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def ask(self, query: str, **variables: Any) -> dict[str, Any] | None:
        """The answer; None while nobody answers."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None

    def wait(self, is_so: Callable[[], Any], seconds: float) -> Any:
        """What it gives once it is true. Raises TimeoutError."""
        until = time.monotonic() + seconds
        while not (found := is_so()):
            if time.monotonic() > until:
                raise TimeoutError(f"not so after {seconds:.0f} s: {is_so.__code__}")
            time.sleep(0.5)
        return found

    def launch(self, asset: str, partition: str) -> str:
        selector = {
            "repositoryLocationName": "nyx",
            "repositoryName": "__repository__",
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]}],
            "assetCheckSelection": [],
        }
        tags = [{"key": "dagster/partition", "value": partition}]
        params = {"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}}
        answer = self.ask(LAUNCH, params=params)
        assert answer is not None
        launched = answer["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return launched["run"]["runId"]

    def runs(self) -> list[dict[str, Any]]:
        answer = self.ask(RUNS)
        return answer["runsOrError"]["results"] if answer else []

    def status_of(self, run_id: str) -> str:
        return next((run["status"] for run in self.runs() if run["runId"] == run_id), "")

    def child_of(self, run_id: str) -> str:
        return next((run["runId"] for run in self.runs() if run["parentRunId"] == run_id), "")

    def worker_of(self, run_id: str) -> int:
        """The process that executes a run: it has the run's id among its arguments."""
        query = '{ logsForRun(runId: "%s") { ... on EventConnection { events { ... on MessageEvent { message } } } } }'
        answer = self.ask(query % run_id)
        assert answer is not None
        messages = [event.get("message", "") for event in answer["logsForRun"]["events"]]
        said = next(message for message in messages if message.startswith("Started process for run (pid: "))
        return int(said.partition("pid: ")[2].partition(")")[0])

    def kill(self) -> None:
        """Kill -9 of all parts at once."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        """End the whole group."""
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(self._process.pid, signal.SIGINT)
            self._process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            self.kill()


if __name__ == "__main__":
    main()
