"""Drafts of killed writers are removed; those of writers at work never."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from resources.drafts import MAX_AGE_SECONDS, draft_in, sweep
from resources.tables import ParquetTables, Provenance

SCHEMA = pa.schema([("x", pa.int64())])
ORIGIN = Provenance(code_version="1")
PATIENT_WRITER = """
import sys, time
sys.path[:0] = sys.argv[2:]
import pyarrow as pa
from resources.tables import ParquetTables, Provenance
tables = ParquetTables(sys.argv[1])
with tables.write("pages", pa.schema([("x", pa.int64())]), partition="c", provenance=Provenance(code_version="2")) as table:
    table.append([{"x": 1}])
    print("writing", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def tables(tmp_path: Path) -> ParquetTables:
    return ParquetTables(str(tmp_path / "tables"))


def start_writer(tables: ParquetTables) -> "subprocess.Popen[str]":
    writer = subprocess.Popen(
        [sys.executable, "-c", PATIENT_WRITER, tables.root, *sys.path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    return writer


def drafts(tables: ParquetTables) -> list[Path]:
    return list(Path(tables.root).rglob(".part-*.writing"))


def test_the_draft_of_a_killed_writer_is_swept_and_that_of_one_at_work_is_not(tables: ParquetTables) -> None:
    writer = start_writer(tables)
    (draft,) = drafts(tables)
    assert tables.sweep() == []
    assert drafts(tables) == [draft]
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert drafts(tables) == [draft], "a killed writer cleans nothing up"
    assert tables.sweep() == [str(draft)]
    assert drafts(tables) == []
    assert tables.commit("pages", "c") is None


def test_a_writer_whose_folder_was_swept_while_it_wrote_commits_all_the_same(tables: ParquetTables) -> None:
    writer = start_writer(tables)
    tables.sweep()
    with tables.write("pages", SCHEMA, partition="other", provenance=ORIGIN) as table:
        table.append([{"x": 2}])
    writer.communicate("go on\n")
    assert writer.returncode == 0
    assert tables.read("pages").to_pylist() == [{"x": 1, "crawl": "c"}, {"x": 2, "crawl": "other"}]
    assert drafts(tables) == []


def test_the_next_writer_of_a_table_sweeps_its_folder(tables: ParquetTables) -> None:
    writer = start_writer(tables)
    writer.kill()
    writer.wait()
    assert len(drafts(tables)) == 1
    with tables.write("pages", SCHEMA, partition="c", provenance=ORIGIN) as table:
        table.append([{"x": 3}])
    assert drafts(tables) == []


def test_a_draft_in_a_folder_that_is_swept_all_the_time_is_never_lost(tmp_path: Path) -> None:
    """The sweeper may find a draft between its making and its locking."""
    folder, fs = str(tmp_path), fsspec.filesystem("file")
    stop = multiprocessing.get_context("fork").Event()

    def sweep_on() -> None:
        while not stop.is_set():
            sweep(fs.glob(f"{folder}/.part-*.writing"))

    sweeper = multiprocessing.get_context("fork").Process(target=sweep_on)
    sweeper.start()
    try:
        for _ in range(500):
            with draft_in(folder) as path:
                assert os.path.exists(path)
                os.rename(path, f"{folder}/done")
    finally:
        stop.set()
        sweeper.join()


def test_without_locks_only_an_old_draft_is_swept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(45, "no locks available on this disk")

    monkeypatch.setattr("resources.drafts.fcntl.flock", no_locks)
    with draft_in(str(tmp_path)) as path:
        assert sweep([path]) == []
        old = time.time() - MAX_AGE_SECONDS - 60
        os.utime(path, (old, old))
        assert sweep([path]) == [path]
