"""A partition that fails for good is out, visible, and comes back by a command or a changed delivery."""

import json
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import botocore.exceptions
import pyarrow as pa
import pytest
from botocore.exceptions import HTTPClientError
from click.testing import CliRunner
from sqlalchemy.exc import OperationalError
from torch import OutOfMemoryError

from nyx_assets.__main__ import main
from nyx_assets.quarantine import (
    FailedAttempt,
    note_failures,
    note_success,
    quarantine_lines,
    quarantined_partitions,
    release_partition,
    take_out,
)
from nyx_assets.registering import open_instance
from resources.home import Home
from resources.tables import Provenance
from training_kernels.errors import AlreadyTraining, LeaseLost

NUMBERS = pa.schema([("x", pa.int64())])
ATTEMPT = FailedAttempt(
    asset="chunked_corpus", crawl="a", code_version="1", error_kind="ValueError", error="ValueError: page 3 has no end"
)
NUMBERS_OF_RUNS = count()


def write(home: Home, name: str, partition: str, *values: int) -> None:
    with home.tables.write(name, NUMBERS, partition=partition, provenance=Provenance(code_version="1")) as table:
        table.append({"x": value} for value in values)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.at(tmp_path / "home")
    for name in ("landed_crawl", "crawl_documents", "left/chunk_embeddings"):
        write(home, name, "a", 1, 2)
        write(home, name, "b", 3)
    return home


def failed(
    home: Home, attempt: FailedAttempt = ATTEMPT, *, times: int = 1, most: int = 3, began_at: str = ""
) -> list[bool]:
    """For each run that fails so, whether its partition is quarantined with it."""
    return [heard(home, f"run {next(NUMBERS_OF_RUNS)}", attempt, most=most, began_at=began_at) for _ in range(times)]


def heard(home: Home, run: str, *attempts: FailedAttempt, most: int = 3, began_at: str = "") -> bool:
    return bool(note_failures(home, attempts or [ATTEMPT], run_id=run, max_attempts=most, began_at=began_at))


def test_the_last_attempt_takes_the_partition_out_of_everything_that_is_read_whole(home: Home) -> None:
    before = home.input_version("crawl_documents", None)
    assert failed(home, times=3) == [False, False, True]
    assert failed(home) == [False], "what is out is not taken out again"
    (out,) = quarantined_partitions(home)
    assert out.crawl == "a"
    assert out.reason == "chunked_corpus failed 3 times, last: ValueError: page 3 has no end"
    for name in ("landed_crawl", "crawl_documents", "left/chunk_embeddings"):
        assert home.tables.partitions(name) == ["b"]
    assert home.input_version("crawl_documents", None) != before
    assert home.input_version("landed_crawl", "a") == ""
    assert quarantine_lines([out])[0].endswith("deliver it again, or: nyx quarantine release a")


def test_a_run_that_is_heard_again_counts_once_and_its_last_word_is_the_same(home: Home) -> None:
    assert [heard(home, "first") for _ in range(4)] == [False] * 4
    assert not heard(home, "second")
    assert [heard(home, "third") for _ in range(2)] == [True, True]
    assert quarantined_partitions(home)[0].reason.startswith("chunked_corpus failed 3 times")


def test_all_that_failed_in_a_run_is_kept_in_one_write(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    write_table = home.tables.write

    def noted(asset: str, *arguments: Any, **named: Any) -> Any:
        written.append(asset)
        return write_table(asset, *arguments, **named)

    monkeypatch.setattr(home.tables, "write", noted)
    of_b, of_another = replace(ATTEMPT, crawl="b"), replace(ATTEMPT, asset="crawl_documents")
    assert not heard(home, "one", ATTEMPT, of_b, of_another, replace(ATTEMPT, error="a second check"))
    assert written == ["failed_attempts"]
    assert home.tables.num_rows("failed_attempts", None) == 3


def test_a_quarantine_that_was_cut_short_is_completed_by_the_next_failure_or_the_same_one(home: Home) -> None:
    marked = []
    mark = home.tables.quarantine

    def killed_after_one(asset: str, partition: str | None, reason: str) -> None:
        if marked:
            raise KeyboardInterrupt
        mark(asset, partition, reason)
        marked.append(asset)

    for way, run in (("the same run", "third"), ("another", "fourth")):
        failed(home, times=2)
        marked.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(home.tables, "quarantine", killed_after_one)
            with pytest.raises(KeyboardInterrupt):
                heard(home, "third")
        assert quarantined_partitions(home) == []
        assert heard(home, run), way
        assert [one.crawl for one in quarantined_partitions(home)] == ["a"]
        assert all(home.tables.partitions(name) == ["b"] for name in home.tables.assets() if name != "failed_attempts")
        assert release_partition(home, "a")


@pytest.mark.parametrize("content", [b"", b"PAR1 torn", b"no Parquet at all, but long enough to be looked into"])
def test_a_table_of_attempts_that_cannot_be_read_is_set_aside(
    home: Home, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    failed(home, times=2)
    file = home.root / "tables" / "failed_attempts" / "part-0.parquet"
    file.write_bytes(content)
    assert failed(home, times=3) == [False, False, True]
    assert file.with_name("part-0.parquet.torn").read_bytes() == content
    assert "set aside as *.torn, failed attempts are counted anew" in caplog.text


def test_attempts_count_for_one_asset_one_code_and_one_delivery(home: Home) -> None:
    failed(home, times=2)
    assert failed(home, replace(ATTEMPT, asset="crawl_documents"), times=2) == [False, False]
    assert failed(home, replace(ATTEMPT, code_version="2"), times=2) == [False, False]
    assert failed(home, replace(ATTEMPT, crawl="b"), times=2) == [False, False]
    write(home, "landed_crawl", "a", 9)
    assert failed(home, times=2) == [False, False]
    assert quarantined_partitions(home) == []


def test_a_success_between_failures_starts_the_count_again(home: Home) -> None:
    failed(home, times=2)
    note_success(home, "chunked_corpus", "a")
    assert failed(home, times=2) == [False, False]


def test_what_was_made_since_starts_the_count_again_whoever_made_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as months_ago:
        months_ago.setattr("nyx_assets.quarantine.utc_now", lambda: "2026-01-31T12:00:00+00:00")
        failed(home, times=2)
    write(home, "chunked_corpus", "b", 1)
    write(home, "chunked_corpus", "a", 1)
    later = "2100-01-31T12:00:00+00:00"
    assert failed(home, times=2, began_at=later) == [False, False]
    assert home.tables.num_rows("failed_attempts", None) == 2
    # a table that did not pass its check is no success
    write(home, "chunked_corpus", "a", 2)
    home.tables.quarantine("chunked_corpus", "a", "a check")
    assert failed(home, began_at=later) == [True]


def test_what_an_attempt_stored_before_it_failed_is_no_success(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    for minute in range(3):
        began_at = f"2026-01-31T12:0{minute}:00+00:00"
        monkeypatch.setattr("resources.table_writer.utc_now", lambda at=began_at: at.replace(":00+", ":10+"))
        monkeypatch.setattr("nyx_assets.quarantine.utc_now", lambda at=began_at: at.replace(":00+", ":20+"))
        write(home, "chunked_corpus", "a", minute)
        counted += failed(home, began_at=began_at)
    assert counted == [False, False, True]


def subclasses(kind: type[Exception], *, of: str) -> list[type[Exception]]:
    """Those of one package: which others there are depends on what has been imported."""
    return [one for one in kind.__subclasses__() if one.__module__.partition(".")[0] == of]


PLACE = [
    *(error.__name__ for error in (LeaseLost, AlreadyTraining, OperationalError, OutOfMemoryError)),
    *(error.__name__ for error in (TimeoutError, ConnectionError, *subclasses(ConnectionError, of="builtins"))),
    *(error.__name__ for error in (HTTPClientError, *subclasses(HTTPClientError, of="botocore"))),
    *(error.__name__ for error in subclasses(botocore.exceptions.ConnectionError, of="botocore")),
]


@pytest.mark.parametrize("kind", ["BudgetReached", "VLMError", "OSError", "IncompleteArtifact", *PLACE])
def test_an_error_of_servers_and_disks_is_no_attempt_of_the_partition(home: Home, kind: str) -> None:
    assert failed(home, replace(ATTEMPT, error_kind=kind), times=5) == [False] * 5
    assert home.tables.commit("failed_attempts", None) is None


def test_a_released_partition_is_read_and_registered_again_and_its_count_starts_anew(home: Home) -> None:
    failed(home, times=3)
    home.tables.quarantine("crawl_documents", "b", "a check of its own")
    env = {"NYX_HOME": str(home.root)}
    shown = CliRunner().invoke(main, ["quarantine", "list", "--json"], env=env)
    assert [one["crawl"] for one in json.loads(shown.output)] == ["a"]
    done = CliRunner().invoke(main, ["quarantine", "release", "a"], env=env)
    assert done.exit_code == 0, done.output
    assert home.tables.partitions("left/chunk_embeddings") == ["a", "b"]
    assert home.tables.partitions("crawl_documents") == ["a"], "what a check has marked stays marked"
    assert quarantined_partitions(home) == []
    assert failed(home, times=2) == [False, False]
    with open_instance(home) as instance:
        assert instance.has_dynamic_partition("crawl", "a")
        instance.delete_dynamic_partition("crawl", "a")  # as a release leaves it that was killed, or was another host's
    again = CliRunner().invoke(main, ["quarantine", "release", "a"], env=env)
    assert again.exit_code == 0, again.output
    with open_instance(home) as instance:
        assert instance.has_dynamic_partition("crawl", "a")
    for crawl in ("a", "z"):
        refused = CliRunner().invoke(main, ["quarantine", "release", crawl], env=env)
        assert refused.exit_code == 1
        assert f"crawl '{crawl}' is not quarantined; quarantined: none" in refused.output


def test_a_quarantined_table_of_its_own_is_no_quarantined_partition(home: Home) -> None:
    home.tables.quarantine("landed_crawl", "b", "something else")
    take_out(home, {"a": "by hand"})
    assert [one.crawl for one in quarantined_partitions(home)] == ["a"]
