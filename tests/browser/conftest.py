"""The Dagster UI over a home that a real run made, and a browser to look at it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from benchmarks.chromium import Browser, ask, end_group, free_port, is_free, missing_programs, opened_browser, wait_for

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = """
mutation Launch($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } } ... on InvalidSubsetError { message }
} }"""


@pytest.fixture(scope="module")  # not longer: a page that is open asks its server all the time, for most of a core
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Skipped where Chromium is missing; with NYX_REQUIRE_BROWSER=1, as in CI, that is a failure."""
    if missing := missing_programs():
        reason = f"{' and '.join(missing)} not found; on Debian: apt-get install chromium chromium-driver"
        if os.environ.get("NYX_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with opened_browser(tmp_path_factory.mktemp("chromedriver")) as window:
        yield window


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    return wait_for


class Dagster:
    """A running Dagster UI."""

    def __init__(self, url: str) -> None:
        self.url = url

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
    ) -> str:
        """Start a run, as the buttons of the UI do; its id.

        Args:
            checks: name of the check by its asset.
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
        params = {"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}}
        launched = self.query(LAUNCH, params=params)["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return launched["run"]["runId"]


@contextmanager
def serving(home: Path, log: Path, **env: str) -> Iterator[Dagster]:
    """What `make up` starts, over a home."""
    port, binaries = free_port(), Path(sys.executable).parent
    environment = {**os.environ, "NYX_HOME": str(home), "NYX_RECIPE": "smoke", **env}
    made_ready = subprocess.run(
        [binaries / "nyx", "dagster-home"], env=environment, check=True, capture_output=True, text=True
    )
    command = [str(binaries / "dagster"), "dev", "-w", str(ROOT / "workspace.yaml"), "-h", "127.0.0.1", "-p", str(port)]
    with log.open("w") as stream:
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
        yield Dagster(f"http://127.0.0.1:{port}")
    finally:
        end_group(server)
        wait_for("the end of the Dagster UI", lambda: is_free(port))


@pytest.fixture(scope="module")
def dagster(small_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    """What `make up` starts, over a copy of the small home."""
    folder = tmp_path_factory.mktemp("ui")
    shutil.copytree(small_home, folder / "home")
    with serving(folder / "home", folder / "log") as dagster:
        yield dagster


@pytest.fixture(scope="session")
def serve_dagster() -> Callable[..., Any]:
    return serving
