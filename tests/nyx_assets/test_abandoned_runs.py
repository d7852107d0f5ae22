"""A run that was killed inside a pool does not keep its place: the next run finishes, and Dagster knows what happened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from dagster import DagsterRunStatus

from nyx_assets.abandoned_runs import tagged_process
from nyx_assets.registering import open_instance
from resources.home import Home
from resources.vlm import STAND_IN_MODEL
from resources.vlm_server import OfflineService, serve_offline_vlm
from sample_crawl import generate

ROOT = Path(__file__).resolve().parents[2]
RUN = "import sys; from pathlib import Path; from benchmarks.factory import make; sys.exit(make(Path(sys.argv[1]), until='raw_qa'))"


def test_after_kill_9_in_the_middle_of_a_pooled_asset_the_next_run_finishes(tmp_path):
    crawl = generate(tmp_path / "crawl", num_pages=8, num_partitions=1)
    with serve_offline_vlm(OfflineService(delay_seconds=0.2, max_concurrent=1)) as service:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "NYX_HOME": str(tmp_path / "home"),
            "NYX_TEACHER_BASE_URL": service.base_url,
            "NYX_TEACHER_MODEL": STAND_IN_MODEL,
        }
        command = [sys.executable, "-c", RUN, str(crawl)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
        while sum(service.counts()["answers"].values()) < 3 and process.poll() is None:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert subprocess.run(command, cwd=ROOT, env=environment, timeout=90).returncode == 0
        assert set(service.counts()["answers"].values()) == {1}
    home = Home.at(tmp_path / "home")
    (partition,) = home.tables.partitions("raw_qa")
    assert home.tables.read("raw_qa", partition=partition).num_rows > 0
    with open_instance(home) as instance:
        statuses = [run.status for run in instance.get_runs()]
        assert statuses.count(DagsterRunStatus.FAILURE) == 1
        assert DagsterRunStatus.STARTED not in statuses


def test_a_process_that_lives_keeps_its_file_and_one_that_ends_takes_it_along(tmp_path):
    with open_instance(Home.at(tmp_path / "home")) as instance:
        folder = tmp_path / "processes"
        with tagged_process(instance, folder) as first:
            with tagged_process(instance, folder) as second:
                assert first != second
                assert len(list(folder.iterdir())) == 2
            assert [path.name for path in folder.iterdir()] == list(first.values())
        assert list(folder.iterdir()) == []
