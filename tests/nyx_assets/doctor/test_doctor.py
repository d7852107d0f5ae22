"""`nyx doctor`: each check finds what is really broken, says what to do, and leaves what is well alone."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
from click.testing import CliRunner, Result

from nyx_assets.__main__ import main
from nyx_assets.doctor.catalogue import examine_catalogue, examine_tables
from nyx_assets.doctor.clock import examine_clock
from nyx_assets.doctor.dagster_records import examine_dagster_home, examine_records
from nyx_assets.doctor.device import examine_device
from nyx_assets.doctor.findings import Finding
from nyx_assets.doctor.landing import examine_landing
from nyx_assets.doctor.leases import examine_leases
from nyx_assets.doctor.live_index import examine_index
from nyx_assets.doctor.locks import examine_locks
from nyx_assets.doctor.setting_names import examine_setting_names, known_settings
from nyx_assets.doctor.storage import examine_disk, examine_drafts, examine_home
from nyx_assets.doctor.versions import examine_packages, examine_python
from nyx_assets.index_versions import records
from nyx_assets.quarantine import release_partition, take_out
from resources import settings as settings_file
from resources.home import Home
from resources.index_milvus import MilvusIndex
from resources.settings import ROLES
from resources.stores import SharedHome, files_below, open_store
from resources.tables import Provenance
from resources.vlm import STAND_IN_MODEL
from resources.vlm_server import OfflineService, serve_offline_vlm
from tests.embeddings_server import serving_embeddings
from tests.shut_in import read_only

ROOT = Path(__file__).resolve().parents[3]
NUMBERS = pa.schema([("x", pa.int64())])
NOW = datetime.now(UTC)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home.at(tmp_path / "home")
    write(made, [1, 2])
    return made


def write(home: Home, values: list[int]) -> None:
    with home.tables.write("numbers", NUMBERS, partition=None, provenance=Provenance(code_version="1")) as table:
        table.append({"x": value} for value in values)


def is_bad(finding: Finding, *words: str) -> None:
    """It is bad, says these words, and says what to do."""
    assert finding.verdict == "bad", finding
    assert finding.remedy
    assert "\n" not in str(finding)
    for word in words:
        assert word in str(finding), finding


# What is installed and set


def test_another_python_and_other_packages_are_named_with_the_command_that_installs_the_right_ones(
    tmp_path: Path,
) -> None:
    assert examine_python().verdict == "good"
    is_bad(examine_python((3, 9)), "3.9", "use Python 3.11")
    assert examine_packages().verdict == "good"
    pins = tmp_path / "constraints.txt"
    pins.write_text("# pins\nduckdb==0.1.0\nclick==8.5.1 # fine\nno-such-package==1\n# extra dev\nalso-absent==2\n")
    found = examine_packages(pins)
    is_bad(found, "tested with 0.1.0", "no-such-package is absent, tested with 1", f"pip install -c {pins} duckdb")
    assert "also-absent" not in str(found)
    assert "click is" not in str(found)
    local_build = {"torch": "2.13.0+cu126"}
    pins.write_text("torch==2.13.0\n")
    assert examine_packages(pins, local_build.get).verdict == "good"
    is_bad(examine_packages(pins, {"torch": "2.12.0+cpu"}.get), "torch is 2.12.0+cpu, tested with 2.13.0")


def test_a_setting_that_nothing_reads_is_named_with_the_one_that_was_meant() -> None:
    env = {"NYX_HOME": "x", "NYX_TEACHER_BASEURL": "http://here", "NYX_JUDGE_MAX_RETRY": "1", "PATH": "/bin"}
    found = examine_setting_names(env)
    is_bad(found, "NYX_TEACHER_BASEURL, which nothing reads (NYX_TEACHER_BASE_URL?)", "(NYX_JUDGE_MAX_RETRIES?)")
    assert examine_setting_names({"NYX_HOME": "x", "NYX_FETCH_ALLOW": "here"}).verdict == "good"
    assert found.remedy == "correct or unset; the head of resources/settings.py lists all there are"
    of_roles = re.compile(f"NYX_({'|'.join([*(role.upper() for role in ROLES), 'EMBEDDER'])})(?=_)")
    assert [name for name in known_settings() if of_roles.sub("", name) not in str(settings_file.__doc__)] == []
    assert {"NYX_BLOCKED_DOMAINS", "NYX_EMBEDDER_TIMEOUT_SECONDS", "NYX_BUDGET_SINCE"} <= known_settings()


def test_a_machine_without_a_gpu_says_what_that_means() -> None:
    found = examine_device(1)
    assert found.check == "gpu"
    assert found.verdict == "note"
    assert "on the CPU in float32" in found.said


@pytest.mark.gpu
def test_a_gpu_is_named_with_its_memory_and_more_processes_than_gpus_are_refused() -> None:
    assert "GiB" in examine_device(1).said
    is_bad(examine_device(1000), "NYX_TRAIN_PROCESSES=1000")


def test_a_clock_that_was_set_back_is_told_by_what_was_made_after_it(home: Home) -> None:
    assert examine_clock(home, NOW + timedelta(hours=1)).verdict == "good"
    is_bad(examine_clock(home, NOW - timedelta(days=2)), "numbers was made at", "NTP")
    is_bad(examine_clock(home, datetime(1970, 1, 1, tzinfo=UTC)), "before this project was written")


# The home


def test_a_home_on_a_read_only_disk_is_refused_by_name(home: Home) -> None:
    code = (
        "import sys; from pathlib import Path; from resources.home import Home;"
        "from nyx_assets.doctor.storage import examine_home; print(examine_home(Home.at(Path(sys.argv[1]))))"
    )
    done = read_only(home.root, [sys.executable, "-c", code, str(home.root)])
    assert done.stdout.startswith("bad"), done.stdout + done.stderr
    assert f"{home.root} cannot be written: Read-only file system" in done.stdout
    assert "set NYX_HOME to another folder" in done.stdout
    assert examine_home(home).verdict == "good"
    assert not list(home.root.glob(".doctor.*"))


def test_a_home_that_is_a_file_and_one_that_can_be_made_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    is_bad(examine_home(Home.at(tmp_path / "file")), "is a file")
    assert examine_home(Home.at(tmp_path / "new" / "home")).verdict == "note"
    assert not (tmp_path / "new").exists()


@pytest.fixture
def shared(bucket: str, tmp_path: Path) -> Home:
    return Home.at(SharedHome(store=f"{bucket}/home", local=tmp_path / "local", has_index_server=False))


def test_a_shared_home_is_good_where_its_store_takes_a_file_and_creates_none_twice(
    shared: Home, tmp_path: Path
) -> None:
    (tmp_path / "local").mkdir()
    found = examine_home(shared)
    assert (found.verdict, found.said.startswith(f"{shared.store} (this host's part in {shared.root})")) == (
        "good",
        True,
    )
    mounted = SharedHome(store=str(tmp_path / "mounted" / "home"), local=tmp_path / "local", has_index_server=False)
    assert examine_home(Home.at(mounted)).verdict == "good"
    assert files_below(*open_store(shared.store)) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["local"]


@pytest.mark.parametrize("method", ["put_object", "delete_object"])
def test_a_store_that_refuses_to_be_written_is_told_with_what_to_look_at(
    shared: Home, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = s3fs.S3FileSystem._call_s3

    async def refused(self: Any, asked: str, *arguments: Any, **options: Any) -> Any:
        if asked == method:
            raise PermissionError(13, "Access Denied")
        return await ask(self, asked, *arguments, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", refused)
    found = examine_home(shared)
    is_bad(found, f"{shared.store} cannot be used: PermissionError: [Errno 13] Access Denied")
    assert "the right to write" in found.remedy


def test_a_store_that_creates_a_file_where_one_is_is_told_since_leases_rest_on_it(
    shared: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = s3fs.S3FileSystem._call_s3

    async def heedless(self: Any, asked: str, *arguments: Any, **options: Any) -> Any:
        return await ask(self, asked, *arguments, **{name: options[name] for name in options if name != "IfNoneMatch"})

    async def unable(self: Any, asked: str, *arguments: Any, **options: Any) -> Any:
        if "IfNoneMatch" in options:
            raise NotImplementedError("A header you provided implies functionality that is not implemented")
        return await ask(self, asked, *arguments, **options)

    for other, said in ((heedless, "written over the first"), (unable, "NotImplementedError: A header you provided")):
        monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", other)
        is_bad(examine_home(shared), "does not create a file only where none is", said, "let one host at a time")
        assert files_below(*open_store(shared.store)) == {}


def test_a_disk_with_less_room_than_the_next_run_needs_is_named_with_what_is_missing(home: Home) -> None:
    assert examine_disk(home, 0).verdict == "good"
    is_bad(examine_disk(home, 1e18), "1,000,000,000.00 GB", "make room for")


HOLDING = """
import sys
from pathlib import Path
import pyarrow as pa
from resources.home import Home
from resources.tables import Provenance
home = Home.at(Path(sys.argv[1]))
with home.tables.write("numbers", pa.schema([("x", pa.int64())]), partition=None, provenance=Provenance(code_version="1")) as table:
    table.append([{"x": 7}])
    print("writing", flush=True)
    sys.stdin.read()
"""


@contextmanager
def child(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process that has said its first word, and is ended at the end."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def test_what_a_killed_writer_left_is_found_and_what_a_living_one_writes_is_not(home: Home) -> None:
    with child(HOLDING, home.root) as writer:
        assert examine_drafts(home).verdict == "good"
        writer.kill()
        writer.wait()
    found = examine_drafts(home)
    assert found.verdict == "note"
    assert "1 left by killed writers" in found.said
    assert "`nyx run` removes them" in found.remedy
    home.tables.sweep()
    assert examine_drafts(home).verdict == "good"


def test_leases_of_a_shared_home_are_named_and_those_whose_holder_is_silent(tmp_path: Path) -> None:
    store = tmp_path / "store"
    here, there = (
        Home.at(SharedHome(store=str(store), local=tmp_path / name, has_index_server=False))
        for name in ("here", "there")
    )
    assert examine_leases(here).verdict == "good"
    with there.leases.held("pages of one", log=print):
        found = examine_leases(here)
        assert found.verdict == "note"
        assert f"pages of one is held by process {os.getpid()} of host" in found.said
        assert "silent" not in found.said
        (file,) = store.rglob("00000001.json")
        os.utime(file, (time.time() - 3600,) * 2)
        found = examine_leases(here)
        assert ", silent for 3,6" in found.said
        assert "waits 60 s and takes over" in found.remedy
    assert examine_leases(here).verdict == "good"


def test_drafts_of_a_shared_home_are_found_where_its_writers_have_them(tmp_path: Path) -> None:
    mounted, in_store = (
        Home.at(SharedHome(store=store, local=tmp_path / "local", has_index_server=False))
        for store in (str(tmp_path / "mounted"), "memory://nyx-doctor")
    )
    for home, folder in (
        (mounted, tmp_path / "mounted" / "tables" / "raw_qa"),
        (in_store, tmp_path / "local" / "drafts"),
    ):
        assert examine_drafts(home).verdict == "good"
        folder.mkdir(parents=True)
        (folder / ".part-1.writing").touch()
        assert "1 left by killed writers" in examine_drafts(home).said
        home.tables.sweep()
        assert examine_drafts(home).verdict == "good"


LOCKING = """
import fcntl, os, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
if sys.argv[2] == "leave a child":
    child = os.fork()
    if child:
        print(child, flush=True)
        os._exit(0)
else:
    print(os.getpid(), flush=True)
time.sleep(600)
"""


def test_a_lock_names_its_holder_and_one_whose_holder_does_nothing_any_more_is_bad(home: Home) -> None:
    lock = home.root / ".main_job.lock"
    assert examine_locks(home).verdict == "good"
    with child(LOCKING, lock, "stay") as holder:
        found = examine_locks(home)
        assert found.verdict == "note"
        assert f".main_job.lock is held by process {holder.pid} ({sys.executable}" in found.said
        holder.send_signal(signal.SIGSTOP)
        wait_until(lambda: examine_locks(home).verdict == "bad")
        is_bad(examine_locks(home), f"process {holder.pid}", "which is stopped", f"kill -CONT {holder.pid}")
    assert examine_locks(home).verdict == "good"


def test_a_lock_that_a_dead_process_left_to_its_child_is_bad(home: Home) -> None:
    lock = home.root / ".index.lock"
    left = subprocess.Popen([sys.executable, "-c", LOCKING, lock, "leave a child"], stdout=subprocess.PIPE, text=True)
    assert left.stdout is not None
    orphan = int(left.stdout.readline())
    try:
        left.wait(10)
        is_bad(examine_locks(home), f"process {orphan}", "left behind by a process that is dead", f"kill {orphan}")
    finally:
        os.kill(orphan, signal.SIGKILL)
        left.stdout.close()


def wait_until(is_so: Callable[[], bool], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def test_a_torn_table_and_a_quarantined_one_are_named(home: Home) -> None:
    assert examine_tables(home).verdict == "good"
    home.tables.quarantine("numbers", None, "for the test")
    is_bad(examine_tables(home), "1 quarantined: numbers (for the test)")
    file = home.root / "tables" / "numbers" / "part-0.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    is_bad(examine_tables(home), "numbers cannot be read", "which makes them again")


def test_a_partition_that_is_out_is_told_with_its_way_back_and_a_run_is_none(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    for asset in ("landed_crawl", "numbers"):
        with home.tables.write(asset, NUMBERS, partition="one", provenance=Provenance(code_version="1")) as table:
            table.append([{"x": 1}])
    take_out(home, {"one": "numbers failed 3 times"})
    found = examine_tables(home)
    is_bad(found, "1 crawl partitions are out of every run: one (numbers failed 3 times)")
    assert "deliver them again, or" in found.remedy
    assert "`nyx quarantine release CRAWL`" in found.remedy
    assert "nyx run" not in found.remedy
    release_partition(home, "one")
    assert examine_tables(home).verdict == "good"


# What is beside the tables: of a copy of the sample home


@pytest.fixture
def copy(small_home: Path, tmp_path: Path) -> Home:
    return Home.at(Path(shutil.copytree(small_home, tmp_path / "copy")))


def index_of(home: Home) -> MilvusIndex:
    return MilvusIndex(str(home.root / "index" / "milvus.db"))


def test_a_catalogue_that_is_damaged_or_gone_is_told_with_how_it_is_made_again(copy: Home) -> None:
    file = copy.root / "catalog.duckdb"
    file.write_bytes(b"no database" + file.read_bytes()[11:])
    is_bad(examine_catalogue(copy), str(file), "delete")
    file.unlink()
    assert examine_catalogue(copy).verdict == "note"


def test_records_that_do_not_open_and_a_dagster_home_that_is_none_are_told(copy: Home) -> None:
    assert examine_records(copy).verdict == "note"  # no daemon is running
    own = copy.root / "dagster"
    assert examine_dagster_home({}, copy).verdict == "good"
    assert examine_dagster_home({"DAGSTER_HOME": str(own)}, copy).verdict == "good"
    is_bad(examine_dagster_home({"DAGSTER_HOME": "dagster"}, copy), "named from the root")
    is_bad(examine_dagster_home({"DAGSTER_HOME": str(own / "none")}, copy), "nyx dagster-home")
    assert examine_dagster_home({"DAGSTER_HOME": str(copy.root)}, copy).verdict == "note"
    for database in own.rglob("*.db"):
        database.write_bytes(b"torn" * 2000)
    is_bad(examine_records(copy), "does not open", "tables are kept")
    (own / "dagster.yaml").write_text("concurrency: [")
    is_bad(examine_records(copy), "does not open")


def test_an_index_that_lost_a_chunk_a_vector_or_its_record_is_bad(copy: Home) -> None:
    def examined() -> Finding:
        return examine_index(copy, lambda: index_of(copy))

    assert examined().verdict == "good", examined()
    [record] = records(copy)
    folder = copy.root / "index" / "versions" / record.version
    chunks = pq.read_table(folder / "chunks.parquet")
    others = pa.array(["0" * 16] * chunks.num_rows, pa.string())
    place = chunks.schema.get_field_index("embedding_digest")
    pq.write_table(chunks.set_column(place, "embedding_digest", others), folder / "chunks.parquet")
    is_bad(examined(), "has another embedding than it was built with")
    pq.write_table(chunks, folder / "chunks.parquet")
    with closing(index_of(copy)) as index:
        index.delete(record.version, chunks["chunk_id"].to_pylist()[:1])
    is_bad(examined(), f"{record.num_chunks - 1:,} chunks, {record.num_chunks:,} were built")
    (folder / "record.json").unlink()
    is_bad(examined(), "replace it with `nyx run`")
    lock = next((copy.root / "index").glob("*.db/LOCK"))
    with lock.open("r") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert examined().verdict == "note"


def test_the_index_of_a_server_is_asked_by_a_host_that_has_nothing_of_it_yet(copy: Home, tmp_path: Path) -> None:
    fresh = Home.at(SharedHome(store=str(copy.root), local=tmp_path / "local", has_index_server=True))
    assert examine_index(fresh, lambda: index_of(copy)).said == "none yet"
    found = examine_index(fresh, lambda: index_of(copy), is_served=True)
    assert found.verdict == "good", found


def test_an_index_behind_its_tables_is_noted(copy: Home) -> None:
    partition = copy.tables.partitions("chunked_corpus")[0]
    shutil.rmtree(copy.root / "tables" / "chunked_corpus" / f"crawl={partition}")
    found = examine_index(copy, lambda: index_of(copy))
    assert (found.verdict, found.remedy) == ("note", "`nyx run` brings it up to date")


def test_a_crawl_folder_that_is_gone_or_holds_what_cannot_be_read_is_named(small_home: Path, tmp_path: Path) -> None:
    home = Home.at(small_home)
    assert examine_landing(home, None).verdict == "good"
    is_bad(examine_landing(home, tmp_path / "moved"), str(tmp_path / "moved"), "NYX_CRAWL")
    crawl = Path(shutil.copytree(small_home.parent / "crawl", tmp_path / "crawl"))
    shutil.copy(next(crawl.glob("*.parquet")), crawl / "2026-03-new.parquet")
    found = examine_landing(home, crawl)
    assert found.verdict == "note"
    assert "1 of them not registered yet: 2026-03-new" in found.said
    (crawl / "torn.parquet").write_bytes(b"PAR1 and no more")
    is_bad(examine_landing(home, crawl), "1 refused: torn: ", "torn.parquet")


# Servers

Doctor = Callable[..., tuple[Result, dict[str, Any]]]


@pytest.fixture
def doctor(small_home: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Runs the command; returns what it printed, and its findings by check."""
    for name in [name for name in os.environ if name.startswith(("NYX_", "DAGSTER_HOME"))]:
        monkeypatch.delenv(name)

    def run(*arguments: str, home: Path = small_home, **env: str) -> tuple[Result, dict[str, Any]]:
        env = {"NYX_RECIPE": "smoke", "NYX_HOME": str(home), **env}
        result = CliRunner().invoke(main, ["doctor", "--json", *arguments], env=env)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result, {one["check"]: one for one in json.loads(result.stdout)}

    return run


def server(service: OfflineService, role: str = "TEACHER", **more: str) -> dict[str, str]:
    return {
        f"NYX_{role}_BASE_URL": service.base_url,
        f"NYX_{role}_MODEL": STAND_IN_MODEL,
        f"NYX_{role}_USD_PER_MILLION_INPUT": "1000",
        **more,
    }


def test_a_home_that_is_well_ends_with_status_0_and_a_line_a_check(doctor: Doctor, small_home: Path) -> None:
    result, findings = doctor("--no-calls")
    assert result.exit_code == 0, result.output
    assert [one["check"] for one in findings.values() if one["verdict"] == "bad"] == []
    assert {"python", "packages", "settings", "gpu", "clock", "home", "disk", "drafts", "locks", "tables"} <= set(
        findings
    )
    assert {"catalogue", "DAGSTER_HOME", "Dagster's records", "landing folder", "index"} <= set(findings)
    assert "offline stand-in" in findings["judge"]["said"]
    said = CliRunner().invoke(main, ["doctor", "--no-calls"], env={"NYX_HOME": str(small_home), "NYX_RECIPE": "smoke"})
    assert len(said.stdout.splitlines()) == len(findings)


def test_each_server_is_asked_once_through_ledger_and_caps_and_the_most_it_may_cost_is_said_before(
    doctor: Doctor, copy: Home
) -> None:
    with serve_offline_vlm(OfflineService()) as service:
        env = server(service) | server(service, "GENERATOR")
        result, findings = doctor(home=copy.root, **env)
        assert result.exit_code == 0, result.output
        assert "asking 2 servers once each; at most 2 calls" in result.stderr
        assert "read a text and a picture and said " in findings["teacher"]["said"]
        assert sum(service.counts()["answers"].values()) == 2
        rows = [
            json.loads(line)
            for file in (copy.root / "vlm" / "ledger").glob("*.jsonl")
            for line in file.read_text().splitlines()
        ]
        asked = [row for row in rows if row["asset"] == "doctor"]
        assert len(asked) == 2
        assert all(row["cost_usd"] > 0 and not row["is_cached"] for row in asked)
        doctor(home=copy.root, **env)
        assert sum(service.counts()["answers"].values()) == 4  # a kept reply would say nothing of the server
        result, findings = doctor("--no-calls", home=copy.root, **env)
        assert findings["teacher"]["said"].endswith("not asked")
        _, findings = doctor(home=copy.root, **env, NYX_MAX_CALLS="4")
        assert findings["teacher"]["verdict"] == "bad"
        assert "NYX_MAX_CALLS=4" in findings["teacher"]["said"]
        assert sum(service.counts()["answers"].values()) == 4


def test_an_embeddings_server_is_asked_for_one_text_and_its_width_is_said(doctor: Doctor, copy: Home) -> None:
    with serving_embeddings() as embedder:
        result, findings = doctor(home=copy.root, NYX_EMBEDDER_BASE_URL=embedder.url, NYX_EMBEDDER_MODEL="counts")
    assert result.exit_code == 0, result.output
    assert "asking 1 servers once each" in result.stderr
    assert findings["embedder"]["said"] == f"counts at {embedder.url} answered with 3 dims"
    assert len(embedder.calls) == 1


def test_a_server_that_refuses_and_one_that_is_not_there_are_bad_at_once(doctor: Doctor, copy: Home) -> None:
    with serve_offline_vlm(OfflineService(fault_shares={"500": 1.0})) as service:
        began = time.monotonic()
        more = {"NYX_JUDGE_BASE_URL": "http://127.0.0.1:9/v1", "NYX_JUDGE_MODEL": "m"}
        more |= {"NYX_EMBEDDER_BASE_URL": "http://127.0.0.1:9/v1", "NYX_EMBEDDER_MODEL": "e"}
        result, findings = doctor(home=copy.root, **server(service), **more)
        assert sum(service.counts()["attempts"].values()) == 1
    assert result.exit_code == 1
    for check, word in (("teacher", "HTTP 500"), ("judge", "lost connection"), ("embedder", "lost connection")):
        assert findings[check]["verdict"] == "bad"
        assert word in findings[check]["said"]
        assert f"NYX_{check.upper()}_BASE_URL" in findings[check]["remedy"]
    assert findings["generator"]["verdict"] == "note"
    assert time.monotonic() - began < 60


def test_one_thing_that_is_broken_does_not_hide_the_others(doctor: Doctor, copy: Home) -> None:
    shutil.rmtree(copy.root / "dagster")
    (copy.root / "crawl.json").write_text("{")
    result, findings = doctor("--no-calls", home=copy.root, NYX_TEECHER_MODEL="x")
    assert result.exit_code == 1
    assert findings["settings"]["verdict"] == findings["landing folder"]["verdict"] == "bad"
    assert findings["index"]["verdict"] == "good"
