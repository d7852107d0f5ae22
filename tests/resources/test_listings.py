"""What lies far away is asked for once in a while, and what was read is read again only when it has changed."""

import uuid
from pathlib import Path

import fsspec
import pytest

from resources.listings import Listings
from resources.tables import ParquetTables, Provenance


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_what_another_host_wrote_is_seen_when_the_listing_is_old_or_was_forgotten(clock: Clock) -> None:
    fs, folder = fsspec.filesystem("memory"), f"/{uuid.uuid4().hex}"
    ours = Listings(fs, seconds=5, clock=clock)
    assert ours.below(folder) == {}
    fs.pipe_file(f"{folder}/a/b", b"1")
    assert ours.below(folder) == {}
    clock.now += 5.1
    assert list(ours.below(folder)) == [f"{folder}/a/b"]
    fs.pipe_file(f"{folder}/c", b"1")
    ours.look_again()
    assert list(ours.below(folder)) == [f"{folder}/a/b", f"{folder}/c"]


def test_a_file_is_read_again_exactly_when_it_has_changed(clock: Clock) -> None:
    fs, folder = fsspec.filesystem("memory"), f"/{uuid.uuid4().hex}"
    ours, read = Listings(fs, seconds=0, clock=clock), []

    def reading(path: str) -> bytes:
        read.append(path)
        return fs.cat_file(path)

    for content in (b"one", b"two"):
        fs.pipe_file(f"{folder}/a", content)
        for _ in range(3):
            clock.now += 1
            assert ours.content(folder, f"{folder}/a", reading) == content
    assert len(read) == 2
    fs.rm_file(f"{folder}/a")
    clock.now += 1
    assert ours.content(folder, f"{folder}/a", reading) is None


def test_a_process_sees_at_once_what_it_wrote_itself(tmp_path: Path) -> None:
    import pyarrow as pa

    tables = ParquetTables(f"memory://{uuid.uuid4().hex}", drafts=str(tmp_path))
    schema = pa.schema([("x", pa.int64())])
    for x in (1, 2):
        assert (tables.commit("pages", "a") is None) == (x == 1)
        with tables.write("pages", schema, partition="a", provenance=Provenance(code_version=str(x))) as table:
            table.append([{"x": x}])
        commit = tables.commit("pages", "a")
        assert commit is not None
        assert commit.provenance.code_version == str(x)
    tables.quarantine("pages", "a", "for a reason")
    assert tables.quarantine_reason("pages", "a") == "for a reason"
    assert tables.partitions("pages") == []
