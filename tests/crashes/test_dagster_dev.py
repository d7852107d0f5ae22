"""Each process of a running `dagster dev` is killed while VLM calls are under way: nothing is lost, nothing is paid twice.

A part is killed alone, then everything at once. Where `dagster dev` ends because a part of it is gone, it is started again,
as a person or a supervisor would.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chromium import wait_for
from benchmarks.dagster_dev import Dagster, Part, serving
from benchmarks.factory import make
from nyx_assets.recovery import dead_runs
from nyx_assets.registering import open_instance
from resources.home import Home
from resources.vlm import STAND_IN_MODEL
from resources.vlm_server import OfflineService, serve_offline_vlm
from tests.deliveries import write_pages

pytestmark = pytest.mark.long

PARTS: tuple[Part, ...] = ("webserver", "daemon", "code server")
CRAWLS = ("worker", *(part.replace(" ", "_") for part in PARTS), "everything")
PAGES = 10
PATIENCE_SECONDS = 120.0


class Place:
    """A home with a crawl partition for each kill, as far as the questions, and the slow server of its teacher."""

    def __init__(self, folder: Path, service: OfflineService) -> None:
        self.folder, self.service, self.home = folder, service, Home.at(folder / "home")
        for crawl in CRAWLS:
            write_pages(
                folder / "crawl" / f"{crawl}.parquet",
                *(f"Lighthouse {number} of {crawl} was built in {1800 + number} by Ola." for number in range(PAGES)),
            )
        assert make(folder / "crawl", until="sampled_chunks") == 0

    @property
    def log(self) -> str:
        return (self.folder / "dagster.log").read_text()

    def serving(self) -> contextlib.AbstractContextManager[Dagster]:
        return serving(self.home.root, self.folder / "dagster.log", NYX_CRAWL=str(self.folder / "crawl"))

    def answers(self) -> int:
        return sum(self.service.counts()["answers"].values())

    def started(self, dagster: Dagster, crawl: str) -> str:
        """A run that asks about a partition, some of its answers there and others under way."""
        before = self.answers()
        run = dagster.launch(assets=["raw_qa"], partition=crawl)
        wait_for("answers", lambda: self.answers() >= before + 3, seconds=PATIENCE_SECONDS)
        return run

    def wait_for_success(self, dagster: Dagster, run: str) -> list[str]:
        """The runs that it took, each started in the place of the one before."""
        runs = [run]

        def is_through() -> bool:
            if dagster.status_of(runs[-1]) == "FAILURE" and (child := dagster.child_of(runs[-1])):
                runs.append(child)
            return dagster.status_of(runs[-1]) == "SUCCESS"

        wait_for(f"the success of run {run}", is_through, seconds=PATIENCE_SECONDS)
        return runs

    def must_be_whole(self, crawl: str) -> None:
        pairs = self.home.tables.read("raw_qa", partition=crawl).to_pylist()
        assert len({pair["chunk_id"] for pair in pairs}) == PAGES
        answers = self.service.counts()["answers"]
        assert [digest for digest, count in answers.items() if count > 1] == []
        with open_instance(self.home) as instance:
            assert list(dead_runs(instance)) == []


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("killed")
    (folder / "crawl").mkdir()
    with serve_offline_vlm(OfflineService(delay_seconds=0.6)) as service, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NYX_HOME", str(folder / "home"))
        patch.setenv("NYX_RECIPE", "smoke")
        patch.setenv("NYX_TEACHER_BASE_URL", service.base_url)
        patch.setenv("NYX_TEACHER_MODEL", STAND_IN_MODEL)
        patch.setenv("NYX_TEACHER_MAX_IN_FLIGHT", "2")
        patch.setenv("NYX_TEACHER_TIMEOUT_SECONDS", "5")
        yield Place(folder, service)


def test_a_killed_run_worker_is_replaced_by_the_daemon(place: Place) -> None:
    with place.serving() as dagster:
        run = place.started(dagster, "worker")
        os.kill(dagster.worker_of(run), signal.SIGKILL)
        runs = place.wait_for_success(dagster, run)
        assert len(runs) > 1
    place.must_be_whole("worker")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_dagster_dev_that_is_killed_alone_ends_no_work(place: Place, part: Part) -> None:
    crawl = part.replace(" ", "_")
    said_before = len(place.log) if (place.folder / "dagster.log").exists() else 0
    with place.serving() as dagster:
        run = place.started(dagster, crawl)
        os.kill(dagster.process_of(part), signal.SIGKILL)
        if part == "code server":  # dagster dev goes on without looking at it
            runs = place.wait_for_success(dagster, run)
        else:
            dagster.process.wait(timeout=PATIENCE_SECONDS)
            assert f"dagster-{part} process shut down unexpectedly with return code -9" in place.log[said_before:]
    if part != "code server":
        with place.serving() as dagster:
            runs = place.wait_for_success(dagster, run)
    assert len(runs) <= 2
    place.must_be_whole(crawl)


def test_everything_killed_at_once_goes_on_with_the_next_dagster_dev(place: Place) -> None:
    with place.serving() as dagster:
        run = place.started(dagster, "everything")
        worker = dagster.worker_of(run)
        os.killpg(dagster.process.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
        dagster.process.wait()
    with place.serving() as dagster:
        assert len(place.wait_for_success(dagster, run)) == 2
    place.must_be_whole("everything")
