"""An empty home, and records of Dagster beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from resources.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.at(tmp_path / "home")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    """Records in memory, which are quick; the tests that kill processes have those of the home, on disk."""
    with DagsterInstance.ephemeral(tempdir=str(tmp_path / "records")) as instance:
        yield instance
