"""Faults that docs/crashes.md lists and that no other test injects: nothing is lost, nothing twice, and a plain message."""

import errno
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest
from click.testing import CliRunner
from dagster import DagsterInstance

from nyx_assets.__main__ import Commands
from nyx_assets.disk_trouble import disk_trouble
from resources.home import Home
from resources.vlm import Reply, complete_all
from resources.vlm_folders import replies_in
from resources.vlm_roles import budget_of
from tests.crashes.full_disk import MANY
from tests.nyx_assets.test_main_job import land, made, run
from tests.resources.test_vlm_courier import NUM_QUESTIONS, ledger_rows, question, settings_for, teacher, wait_until
from tests.shut_in import on_small_disk, read_only
from training_kernels.errors import IncompleteArtifact

ROOT = Path(__file__).resolve().parents[2]
TABLE = (ROOT / "docs" / "crashes.md").read_text(encoding="utf-8")


def test_every_test_that_the_crash_table_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TABLE)
    assert len(named) > 20
    missing = [
        f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert missing == []


@pytest.mark.long
def test_a_disk_that_fills_up_stops_a_run_plainly_and_with_room_the_next_one_finishes(tmp_path: Path) -> None:
    done = on_small_disk(tmp_path, 16_000_000, [sys.executable, "-m", "tests.crashes.full_disk", str(tmp_path)])
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["before"] == [1 + 2 + 3]
    assert said["failures"]
    assert any("full" in line or "No space left on device" in line for line in said["failures"]), said["failures"]
    assert all("\n" not in line for line in said["failures"])
    assert said["meanwhile"][:2] == [1, 2]
    assert said["meanwhile"][2] == 1 + 2 + 3  # the old total is still whole and readable
    assert said["drafts"] == 0
    assert said["failures afterwards"] == []
    assert said["after"] == [1 + 2 + sum(number // 10 for number in MANY)]


WRITE_TOO_MUCH = """
import resource, signal, sys
from pathlib import Path
from resources.home import Home
from resources.tables import Provenance
from tests.nyx_assets.test_main_job import NUMBERS
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
home = Home.at(Path(sys.argv[1]))
with home.tables.write("numbers", NUMBERS, partition=None, provenance=Provenance(code_version="2")) as table:
    table.append({"x": number * number} for number in range(300_000))
"""


def test_a_table_that_a_quota_cuts_off_is_not_written_at_all(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    land(home, c1=[1])
    before = home.tables.commit("landed", "c1")
    code = WRITE_TOO_MUCH.replace('"numbers", NUMBERS, partition=None', '"landed", NUMBERS, partition="c1"')
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert home.tables.commit("landed", "c1") == before
    assert not list(tmp_path.rglob("*.writing"))


def test_a_run_in_a_read_only_home_is_refused_in_one_line(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "sample_crawl").mkdir()
    command = [sys.executable, "-m", "nyx_assets", "run", "--crawl", str(crawl_with_a_page(tmp_path / "crawl"))]
    done = read_only(home, command, NYX_HOME=str(home), NYX_RECIPE="smoke")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert f"{home} may not be written" in line
    assert "set NYX_HOME to another folder" in line


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/nyx/tables/x"), "the disk of /data/nyx is full"),
        (OSError(errno.EACCES, "Permission denied", "/data/nyx/tables/x"), "/data/nyx may not be written"),
        (PermissionError(errno.EACCES, "Permission denied", "/crawl/one.parquet"), "may not use /crawl/one.parquet"),
        (sqlite3.OperationalError("database or disk is full"), "the disk of /data/nyx is full"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "/data/nyx may not be written"),
        (ValueError("a bug, and the disk is full of words"), None),
        (FileNotFoundError(errno.ENOENT, "No such file", "/data/nyx/x"), None),
    ],
    ids=str,
)
def test_trouble_with_the_disk_is_found_behind_other_errors_and_nothing_else_is_taken_for_it(
    error: Exception, says: str | None
) -> None:
    for wrapped in (error, caused_by(error)):
        told = disk_trouble(wrapped, Path("/data/nyx"))
        assert told is None if says is None else says in str(told)


def test_a_store_that_cannot_be_reached_is_one_line_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client raises an error of its own, which is no OSError."""
    monkeypatch.setenv("NYX_HOME", "s3://bucket/home")
    monkeypatch.setenv("NYX_LOCAL", "/data/nyx")
    options = {
        "key": "a",
        "secret": "b",
        "endpoint_url": "http://127.0.0.1:1",
        "config_kwargs": {"retries": {"max_attempts": 0}},
    }
    commands = Commands()
    commands.command("ask")(lambda: fsspec.filesystem("s3", **options).ls("bucket/home"))
    done = CliRunner().invoke(commands, ["ask"])
    assert done.exit_code == 1
    [line] = done.output.splitlines()
    assert line.startswith("Error: s3://bucket/home cannot be used: EndpointConnectionError: Could not connect")
    commands.command("fill")(raising(OSError(errno.ENOSPC, "No space left on device", "/data/nyx/x")))
    assert "the disk of /data/nyx is full" in CliRunner().invoke(commands, ["fill"]).output
    commands.command("err")(raising(ValueError("a bug")))
    assert isinstance(CliRunner().invoke(commands, ["err"]).exception, ValueError)


def raising(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def caused_by(error: Exception) -> Exception:
    try:
        try:
            raise error
        except Exception as inner:
            raise RuntimeError("a step failed") from inner
    except RuntimeError as outer:
        return outer


def crawl_with_a_page(folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    row = {"texts": ["A harbour."], "images": [None], "metadata": "[null]", "general_metadata": '{"url": "https://h"}'}
    pq.write_table(pa.Table.from_pylist([row]), folder / "one.parquet")
    return folder


@contextmanager
def vlm_server(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The offline VLM in a process of its own, at work."""
    command = [sys.executable, "-m", "resources.vlm_server", "--port", str(port), "--delay", "0.05"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port), 30.0)
        yield process
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as connection:
        connection.bind(("127.0.0.1", 0))
        return connection.getsockname()[1]


def test_a_vlm_server_that_is_killed_and_started_again_is_waited_for_and_no_reply_is_paid_twice(tmp_path: Path) -> None:
    port = free_port()
    role = teacher(tmp_path, f"http://127.0.0.1:{port}/v1")
    outcomes: list[object] = []
    asking = threading.Thread(
        target=lambda: outcomes.extend(complete_all(role.for_step("raw_qa", None), map(question, range(NUM_QUESTIONS))))
    )
    with vlm_server(port) as first:
        asking.start()
        wait_until(lambda: len(ledger_rows(tmp_path)) >= 40)
        os.kill(first.pid, signal.SIGKILL)
    time.sleep(0.5)
    with vlm_server(port):
        asking.join(60)
        assert not asking.is_alive()
    role.close()
    assert [type(outcome) for outcome in outcomes] == [Reply] * NUM_QUESTIONS
    paid = [row["request_digest"] for row in ledger_rows(tmp_path) if row["error"] is None and not row["is_cached"]]
    assert len(paid) == len(set(paid)) == NUM_QUESTIONS
    assert (
        budget_of(settings_for(tmp_path, f"http://127.0.0.1:{port}/v1"), Home.at(tmp_path)).spent().calls
        == NUM_QUESTIONS
    )


@pytest.mark.parametrize("kept_bytes", [0, 1, 40])
def test_a_reply_that_a_power_cut_tore_is_set_aside_and_asked_again(tmp_path: Path, kept_bytes: int) -> None:
    """The name is in its place and the bytes are not: what a disk may hold after the power came back."""
    port = free_port()
    with vlm_server(port):
        role = teacher(tmp_path, f"http://127.0.0.1:{port}/v1")
        [reply] = complete_all(role.for_step("raw_qa", None), [question(7)])
        assert isinstance(reply, Reply)
        [file] = (tmp_path / "vlm" / "replies").rglob("*.json")
        file.write_bytes(file.read_bytes()[:kept_bytes])
        [again] = complete_all(role.for_step("raw_qa", None), [question(7)])
        role.close()
    assert isinstance(again, Reply)
    assert again.text == reply.text
    assert not again.is_cached
    assert replies_in(tmp_path / "vlm").peek(reply.request_digest) is not None
    assert list((tmp_path / "vlm" / "replies").rglob("*.damaged"))


@pytest.mark.parametrize("damage", ["emptied", "cut", "zeroed"])
def test_a_table_that_a_power_cut_tore_is_set_aside_and_made_again(tmp_path: Path, damage: str) -> None:
    home = Home.at(tmp_path / "home")
    land(home, c1=[10, 21], c2=[35])
    with DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        run(home, instance)
        before = home.tables.commit("cleaned", "c1")
        file = home.root / "tables" / "cleaned" / "crawl=c1" / "part-0.parquet"
        whole = file.read_bytes()
        file.write_bytes({"emptied": b"", "cut": whole[:-30], "zeroed": whole[:-30] + bytes(30)}[damage])
        made(home)
        assert not run(home, instance).failures
    assert made(home) == ["cleaned c1", "halves c1"]  # and the total, which reads all of it, stays
    after = home.tables.commit("cleaned", "c1")
    assert before is not None
    assert after is not None
    assert after.data_version == before.data_version
    assert list(file.parent.glob("*.torn"))


def test_a_pointer_that_a_power_cut_tore_counts_as_a_checkpoint_that_was_never_published(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "finetuned_checkpoint.json").write_text('{"folder": "checkpo')
    assert home.commit("finetuned_checkpoint", None) is None
    with pytest.raises(IncompleteArtifact, match="was torn .* materialize finetuned_checkpoint again"):
        home.artifacts.require("finetuned_checkpoint")
