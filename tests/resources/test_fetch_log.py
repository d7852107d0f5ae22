"""A record is whole or absent, and the latest one counts."""

import threading
from dataclasses import replace

import pytest

from resources.fetch_log import FetchLog, FetchRecord
from resources.images import StoredImage


@pytest.fixture
def record() -> FetchRecord:
    return FetchRecord(
        address="https://a.example/ü?x=\ud83d",
        last_address="https://b.example/c.png",
        at_seconds=1_700_000_000.25,
        limits="10 bytes",
        num_bytes=7,
        stored=StoredImage(digest="ab" * 32, format="PNG", width=60, height=50),
        rule="",
        reason="",
    )


def test_a_record_comes_back_as_it_was_written_also_in_another_process(tmp_path, record):
    failure = replace(record, address="https://a.example/2", stored=None, rule="http_404", reason="gone")
    log = FetchLog(str(tmp_path))
    log.write(record)
    log.write(failure)
    other = FetchLog(str(tmp_path))
    assert (other.read(record.address), other.read(failure.address)) == (record, failure)
    assert other.read("https://a.example/never") is None


def test_a_later_record_takes_the_place_of_an_earlier_one_and_leaves_nothing_beside(tmp_path, record):
    log = FetchLog(str(tmp_path))
    log.write(replace(record, stored=None, rule="timeout", reason="slow"))
    log.write(record)
    assert log.read(record.address) == record
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"address": "x", "stored": null}', b"\xff"])
def test_a_file_that_is_no_record_counts_as_absent_and_is_logged(tmp_path, record, caplog, content):
    log = FetchLog(str(tmp_path))
    log.write(record)
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    path.write_bytes(content)
    assert log.read(record.address) is None
    assert str(path) in caplog.text


def test_records_written_at_once_are_all_whole(tmp_path, record):
    def write(number: int) -> None:
        for _ in range(20):
            FetchLog(str(tmp_path)).write(replace(record, reason="x" * number * 1000))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    log, seen = FetchLog(str(tmp_path)), set()
    while any(thread.is_alive() for thread in threads):
        if (found := log.read(record.address)) is not None:
            seen.add(len(found.reason) // 1000)
    for thread in threads:
        thread.join()
    assert log.read(record.address) is not None
    assert seen <= {0, 1, 2, 3}
