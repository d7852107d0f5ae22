"""The Dagster UI over a home that a real run made, and a browser to look at it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chromium import Browser, missing_programs, opened_browser, wait_for
from benchmarks.dagster_dev import Dagster, serving


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
