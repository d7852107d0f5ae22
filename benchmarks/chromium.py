"""A headless Chromium spoken to by the W3C WebDriver protocol; for benchmarks and tests of what a person sees.

Source of the requests: https://www.w3.org/TR/webdriver2/.
"""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromedriver")


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
    with suppress(subprocess.TimeoutExpired, ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
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
    """One window."""

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

    def wait_for_words(self, *words: str, seconds: float = 60) -> None:
        """Until the page says all of these."""
        self.wait(
            "return [...arguments].every(words => document.body.innerText.includes(words))", *words, seconds=seconds
        )

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


def missing_programs() -> list[str]:
    """What has to be installed first."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


@contextmanager
def opened_browser(folder: Path) -> Iterator[Browser]:
    """A window, and a folder for the driver's log and for pictures of what went wrong."""
    log = folder / "log"
    with log.open("w") as stream:
        driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=stream, stderr=stream, start_new_session=True)
    try:
        port = wait_for("chromedriver", lambda: re.search(r"successfully on port (\d+)", log.read_text()))[1]
        window = Browser(f"http://127.0.0.1:{port}", folder)
        yield window
        window.close()
    finally:
        end_group(driver)
