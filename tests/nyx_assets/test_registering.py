"""Dagster's records of a home: complete or absent, told of every delivery exactly once."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nyx_assets.partitions import CRAWL
from nyx_assets.registering import LANDED_CRAWL_KEY, open_instance, prepare_dagster_home, register_deliveries
from resources.home import Home
from sample_crawl import generate
from training_kernels.errors import DataError


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("crawl") / "crawl", num_pages=6, num_partitions=2)


OPEN_RECORDS = """
import os, signal, sys
sys.path[:0] = sys.argv[3:]
from pathlib import Path
from nyx_assets.registering import open_instance
from resources.home import Home

import sqlalchemy as db
tables = 0
@db.event.listens_for(db.engine.Engine, "before_cursor_execute")
def die_at_a_table(connection, cursor, statement, parameters, context, executemany):
    global tables
    tables += "CREATE TABLE" in statement
    if tables == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

print("ready", flush=True)
with open_instance(Home.at(Path(sys.argv[1]))) as instance:
    instance.add_dynamic_partitions("crawl", ["a"])
"""


def open_in_a_process(home: Home, *, dies_at_table: int = -1) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OPEN_RECORDS, str(home.root), str(dies_at_table), *sys.path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("table", [1, 7, 14, 21])
def test_records_whose_making_was_killed_are_made_again(home: Home, table: int) -> None:
    assert open_in_a_process(home, dies_at_table=table).wait(60) == -signal.SIGKILL
    with open_instance(home) as instance:
        instance.add_dynamic_partitions(str(CRAWL.name), ["b"])
        assert list(instance.get_dynamic_partitions(str(CRAWL.name))) == ["b"]


@pytest.mark.long
def test_processes_that_start_together_make_one_set_of_records(home: Home) -> None:
    processes = [open_in_a_process(home) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    with open_instance(home) as instance:
        assert list(instance.get_dynamic_partitions(str(CRAWL.name))) == ["a"]
    assert not [name for name in os.listdir(home.root) if name.startswith(".dagster.")]


def test_a_dagster_yaml_that_was_edited_stays(home: Home) -> None:
    config = prepare_dagster_home(home) / "dagster.yaml"
    assert "enabled: false" in config.read_text()
    config.write_text("telemetry:\n  enabled: false\n")
    prepare_dagster_home(home)
    assert config.read_text() == "telemetry:\n  enabled: false\n"


def landed_versions(home: Home, crawl: Path) -> dict[str, list[str]]:
    """Data versions that Dagster was told of, by partition, after registering once more."""
    with open_instance(home) as instance:
        assert register_deliveries(home, instance, crawl) == ()
        keys = instance.get_dynamic_partitions(str(CRAWL.name))
        records = instance.fetch_materializations(LANDED_CRAWL_KEY, limit=100).records
        told: dict[str, list[str]] = {key: [] for key in keys}
        for record in records:
            event = record.asset_materialization
            assert event is not None
            assert event.partition is not None
            told[event.partition].append((event.tags or {})["dagster/data_version"])
    return told


def test_a_delivery_is_told_once_with_the_version_of_its_table(home: Home, crawl: Path) -> None:
    first = landed_versions(home, crawl)
    assert len(first) == 2
    for partition, versions in first.items():
        commit = home.tables.commit("landed_crawl", partition)
        assert commit is not None
        assert versions == [commit.data_version]
    assert landed_versions(home, crawl) == first


def test_a_crawl_folder_without_deliveries_is_an_error(home: Home, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with open_instance(home) as instance:
        for folder in (tmp_path / "empty", tmp_path / "missing"):
            with pytest.raises(DataError, match=folder.name):
                register_deliveries(home, instance, folder)
