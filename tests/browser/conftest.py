"""A headless Chromium spoken to by the W3C WebDriver protocol, and the Dagster UI over a home that a real run made."""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("chromium", "chromedriver")

LAUNCH = """
mutation Launch($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } } ... on InvalidSubsetError { message }
} }"""


def ask(url: str, body: dict[str, Any] | None = None, *, method: str | None = None) -> Any:
    """The JSON answer of a server on this machine; a body is posted. Raises AssertionError with the server's own words."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{request.get_method()} {url}: {error.read().decode()[:2000]}") from error


def wait_for(what: str, find: Callable[[], Any], *, seconds: float = 30) -> Any:
    """What `find` returns as soon as it is true. Raises AssertionError that says what did not come."""
    deadline = time.monotonic() + seconds
    while not (found := find()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {seconds:.0f} s")
        time.sleep(0.2)
    return found


def end_group(process: subprocess.Popen[Any]) -> None:
    """End a process and everything it started: in good order if that takes 10 seconds at most."""
    os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    with suppress(ProcessLookupError):  # nobody is left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


class Browser:
    """One window. Source of the requests: https://www.w3.org/TR/webdriver2/."""

    def __init__(self, driver_url: str, pictures: Path) -> None:
        self._pictures = pictures
        options = {
            "binary": shutil.which("chromium"),
            "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=2600,2000"],
        }
        wanted = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
        session_id = ask(f"{driver_url}/session", wanted)["value"]["sessionId"]
        self._session = f"{driver_url}/session/{session_id}"

    def open(self, url: str) -> None:
        ask(f"{self._session}/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a piece of JavaScript returns."""
        return ask(f"{self._session}/execute/sync", {"script": script, "args": list(arguments)})["value"]

    def wait(self, script: str, *arguments: Any, seconds: float = 30) -> Any:
        """What a piece of JavaScript returns as soon as that is true."""
        try:
            return wait_for(f"{script!r} with {arguments}", lambda: self.run(script, *arguments), seconds=seconds)
        except AssertionError as error:
            picture = self._pictures / f"{time.monotonic_ns()}.png"
            picture.write_bytes(base64.b64decode(ask(f"{self._session}/screenshot")["value"]))
            raise AssertionError(f"{error}; see {picture}, the page says:\n{self.text()[:3000]}") from error

    def text(self) -> str:
        return self.run("return document.body.innerText")

    def click(self, words: str) -> None:
        """Press the innermost visible thing that says exactly these words, once it is there."""
        script = """
            const all = [...document.querySelectorAll('button, a, span, div')]
            const found = all.filter(e => e.innerText?.trim() === arguments[0] && e.offsetParent).at(-1)
            found?.click()
            return Boolean(found)"""
        self.wait(script, words)

    def show_as(self, width: int, height: int, *, is_phone: bool = False, is_dark: bool = False) -> None:
        """Be a screen of this size, in CSS pixels; chrome's own commands, since no window is as narrow as a phone."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone}
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
        for command, params in (
            ("Emulation.setDeviceMetricsOverride", screen),
            ("Emulation.setEmulatedMedia", {"features": scheme}),
        ):
            ask(f"{self._session}/goog/cdp/execute", {"cmd": command, "params": params})

    def picture(self, path: Path) -> None:
        """Save what is seen, down to the end of the page."""
        params = {"format": "png", "captureBeyondViewport": True}
        shot = ask(f"{self._session}/goog/cdp/execute", {"cmd": "Page.captureScreenshot", "params": params})["value"]
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        ask(self._session, method="DELETE")


@pytest.fixture(scope="package")  # a page that is open asks its server all the time
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Skipped where Chromium is missing; with NYX_REQUIRE_BROWSER=1, as in CI, that is a failure."""
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        reason = f"{' and '.join(missing)} not found; on Debian: apt-get install chromium chromium-driver"
        if os.environ.get("NYX_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    log = tmp_path_factory.mktemp("chromedriver") / "log"
    with log.open("w") as stream:
        driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=stream, stderr=stream, start_new_session=True)
    try:
        port = wait_for("chromedriver", lambda: re.search(r"successfully on port (\d+)", log.read_text()))[1]
        window = Browser(f"http://127.0.0.1:{port}", log.parent)
        yield window
        window.close()
    finally:
        end_group(driver)


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


@pytest.fixture(scope="package")
def dagster(small_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    """What `make up` starts, over a copy of the small home."""
    folder = tmp_path_factory.mktemp("ui")
    shutil.copytree(small_home, folder / "home")
    with serving(folder / "home", folder / "log") as dagster:
        yield dagster


@pytest.fixture(scope="session")
def serve_dagster() -> Callable[..., Any]:
    return serving
