"""Tables are complete or absent, name their content, and are read back as they were written."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resources.table_writer import BYTES_PER_GROUP
from resources.tables import ROWS_PER_GROUP, Commit, ParquetTables, Provenance
from training_kernels.errors import DataError, IncompleteArtifact

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("count", pa.int32()),
        ("tags", pa.list_(pa.string())),
        ("segments", pa.list_(pa.struct([("kind", pa.string()), ("text", pa.string())]))),
        ("vector", pa.list_(pa.float32(), 3)),
    ]
)
ORIGIN = Provenance(code_version="7-abc", inputs={"pages": "v1", "finetuned/chunk_embeddings": ""})


def rows_of(number: int, *, seed: int = 3) -> list[dict[str, Any]]:
    """Rows of unlike shape: nulls, empty lists, long and short texts."""
    draw = random.Random(seed)
    return [
        {
            "id": f"row {row}",
            "count": draw.choice([None, row, -row]),
            "tags": draw.choice([None, [], ["a" * draw.randrange(40)], ["é", None, "日本"]]),
            "segments": [{"kind": "text", "text": draw.choice([None, "", "x" * row])}] * draw.randrange(3),
            "vector": draw.choice([None, [0.5, float(row), -1.0]]),
        }
        for row in range(number)
    ]


def write(
    tables: ParquetTables, rows: list[dict[str, Any]], partition: str | None = None, asset: str = "pages"
) -> Commit:
    with tables.write(asset, SCHEMA, partition=partition, provenance=ORIGIN) as table:
        table.append(rows)
    commit = tables.commit(asset, partition)
    assert commit is not None
    return commit


@pytest.fixture(params=["folder", "memory", "s3"])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> ParquetTables:
    """A folder, and object stores: fsspec's in memory, and a server that speaks S3."""
    if request.param == "folder":
        return ParquetTables(str(tmp_path / "a root"))
    store = request.getfixturevalue("bucket") if request.param == "s3" else f"memory://{uuid.uuid4().hex}"
    return ParquetTables(f"{store}/tables", drafts=str(tmp_path / "drafts"))


@pytest.fixture
def folder(tmp_path: Path) -> ParquetTables:
    return ParquetTables(str(tmp_path / "tables"))


def test_what_was_written_is_read_back_with_its_provenance(tables: ParquetTables) -> None:
    rows = rows_of(2 * ROWS_PER_GROUP + 17)
    commit = write(tables, rows, "2024")
    assert tables.read("pages", partition="2024").to_pylist() == rows
    assert tables.schema("pages", "2024") == SCHEMA
    assert commit.provenance == ORIGIN
    assert commit.num_rows == tables.num_rows("pages", "2024") == len(rows)
    sizes = [batch.num_rows for batch in tables.batches("pages", partition="2024", columns=["id"])]
    assert sum(sizes) == len(rows)
    assert max(sizes) <= ROWS_PER_GROUP


def test_a_footer_is_read_once_until_the_table_is_written_again(
    folder: ParquetTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, num_read = pq.read_metadata, []
    monkeypatch.setattr(pq, "read_metadata", lambda stream: num_read.append(1) or read(stream))
    versions = []
    for number in (3, 3, 4):
        versions.append(write(folder, rows_of(number), "p").data_version)
        assert {folder.commit("pages", "p").data_version for _ in range(5)} == {versions[-1]}  # type: ignore[union-attr]
    assert len(num_read) == 3
    assert versions[0] == versions[1] != versions[2]
    Path(folder._file("pages", "p")).unlink()
    assert folder.commit("pages", "p") is None


def test_a_table_without_rows_is_a_table(tables: ParquetTables) -> None:
    assert write(tables, []).num_rows == 0
    assert tables.read("pages").schema == SCHEMA
    assert list(tables.query("SELECT count(*) AS n FROM pages")["n"].to_pylist()) == [0]


def test_equal_rows_have_equal_versions_however_they_are_handed_over(folder: ParquetTables) -> None:
    rows = rows_of(ROWS_PER_GROUP + 700)
    expected = write(folder, rows).data_version
    whole = pa.Table.from_pylist(rows, schema=SCHEMA)
    draw = random.Random(11)
    for attempt in range(4):
        with folder.write(
            "pages", SCHEMA, partition=f"p{attempt}", provenance=Provenance(code_version="other")
        ) as table:
            start = 0
            while start < len(rows):
                stop = min(len(rows), start + draw.choice([1, 3, 250, ROWS_PER_GROUP, ROWS_PER_GROUP + 5]))
                if draw.random() < 0.5:
                    table.append(rows[start:stop])
                else:  # a slice of a larger table, in pieces
                    table.append_table(
                        pa.concat_tables([whole.slice(start, 1), whole.slice(start + 1, stop - start - 1)])
                    )
                start = stop
        commit = folder.commit("pages", f"p{attempt}")
        assert commit is not None
        assert commit.data_version == expected


def test_groups_of_large_rows_end_by_their_bytes_however_rows_are_handed_over(folder: ParquetTables) -> None:
    schema = pa.schema([("text", pa.string())])
    draw = random.Random(5)
    rows = [{"text": f"{row} " * draw.choice([1, 30_000])} for row in range(2 * ROWS_PER_GROUP)]
    whole = pa.Table.from_pylist(rows, schema=schema)
    with folder.write("texts", schema, partition="rows", provenance=ORIGIN) as table:
        table.append(rows)
    with folder.write("texts", schema, partition="tables", provenance=ORIGIN) as table:
        for start in range(0, len(rows), 700):
            table.append_table(whole.slice(start, 700))
    commits = [folder.commit("texts", partition) for partition in ("rows", "tables")]
    assert len({commit.data_version for commit in commits if commit}) == 1
    sizes = [batch.nbytes for batch in folder.batches("texts", partition="rows")]
    assert len(sizes) > 2
    block = max(sum(len(row["text"]) for row in rows[start : start + 256]) for start in range(0, len(rows), 256))
    assert max(sizes) < BYTES_PER_GROUP + 2 * block
    assert folder.read("texts", partition="tables").to_pylist()[-1]["text"] == rows[-1]["text"]


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[:-1],
        lambda rows: [rows[1], rows[0], *rows[2:]],
        lambda rows: [*rows[:40], {**rows[40], "tags": ["b"]}, *rows[41:]],
        lambda rows: [*rows[:40], {**rows[40], "count": None}, *rows[41:]],
        lambda rows: [*rows, rows[-1]],
    ],
    ids=["one fewer", "swapped", "a value", "a null", "one more"],
)
def test_other_rows_have_another_version(folder: ParquetTables, change: Any) -> None:
    rows = [{**row, "count": position} for position, row in enumerate(rows_of(60))]
    assert write(folder, rows, "a").data_version != write(folder, change(rows), "b").data_version


def test_another_schema_has_another_version(folder: ParquetTables) -> None:
    versions = []
    for kind in (pa.int32(), pa.int64()):
        schema = pa.schema([("x", kind)])
        with folder.write("numbers", schema, partition=str(kind), provenance=ORIGIN) as table:
            table.append([])
        versions.append(folder.commit("numbers", str(kind)).data_version)  # type: ignore[union-attr]
    assert versions[0] != versions[1]


def test_an_exception_leaves_what_was_there_before(tables: ParquetTables) -> None:
    before = write(tables, rows_of(5), "c")
    with pytest.raises(DataError), tables.write("pages", SCHEMA, partition="c", provenance=ORIGIN) as table:
        table.append([*rows_of(3 * ROWS_PER_GROUP, seed=9), {"id": "in the middle"}])
    assert tables.commit("pages", "c") == before
    assert tables.read("pages", partition="c").to_pylist() == rows_of(5)
    assert [file.rsplit("/", 1)[1] for file in tables.fs.find(tables.base)] == ["part-0.parquet"]
    with pytest.raises(RuntimeError), tables.write("pages", SCHEMA, partition="new", provenance=ORIGIN):
        raise RuntimeError
    assert tables.commit("pages", "new") is None
    assert tables.partitions("pages") == ["c"]


ENDLESS_WRITER = """
import itertools, sys
sys.path[:0] = sys.argv[2:]
import pyarrow as pa
from resources.tables import ParquetTables, Provenance
tables = ParquetTables(sys.argv[1])
with tables.write("pages", pa.schema([("x", pa.int64())]), partition="c", provenance=Provenance(code_version="2")) as table:
    for x in itertools.count():
        table.append([{"x": x}])
        if x == 20_000:
            print("written", flush=True)
"""


def test_a_killed_writer_leaves_what_was_there_before(folder: ParquetTables) -> None:
    before = write(folder, rows_of(5), "c")
    writer = subprocess.Popen(
        [sys.executable, "-c", ENDLESS_WRITER, folder.root, *sys.path], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "written\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    left = [path.name for path in Path(folder.root).rglob("*") if path.is_file()]
    assert len(left) == 2, "the writer had a file of its own beside the table"
    assert folder.commit("pages", "c") == before
    assert folder.read("pages").num_rows == 5
    assert folder.query("SELECT count(*) AS n FROM pages")["n"].to_pylist() == [5]
    assert folder.partitions("pages") == ["c"]
    assert folder.assets() == ["pages"]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"count": "many"}, "row 300, column count takes int32, got 'many'"),
        ({"count": 2**40}, "row 300, column count takes int32"),
        ({"count": 2**80}, "row 300, column count takes int32"),
        ({"id": 5}, "row 300, column id takes string, got 5"),
        ({"id": "\ud800"}, "row 300, column id takes string"),
        ({"vector": [1.0]}, "row 300, column vector"),
        ({"segments": ["text"]}, "row 300, column segments"),
    ],
)
def test_a_value_of_another_type_is_named_with_its_row(folder: ParquetTables, bad: dict[str, Any], says: str) -> None:
    rows = rows_of(400)
    rows[300] |= bad
    with pytest.raises(DataError, match=f"^pages, partition 2024: {says}"):
        write(folder, rows, "2024")
    assert folder.commit("pages", "2024") is None


def test_a_row_with_other_fields_is_named(folder: ParquetTables) -> None:
    rows = rows_of(4)
    del rows[2]["tags"]
    with pytest.raises(
        DataError, match=r"pages: row 2 has fields \['count', 'id', 'segments', 'vector'\], the schema has"
    ):
        write(folder, rows)
    with pytest.raises(DataError, match="row 0 has fields.*'extra'"):
        write(folder, [{**rows[0], "extra": 1}])


def test_a_table_of_other_columns_is_refused(folder: ParquetTables) -> None:
    with (
        pytest.raises(DataError, match="got columns"),
        folder.write("pages", SCHEMA, partition=None, provenance=ORIGIN) as table,
    ):
        table.append_table(pa.table({"id": ["a"]}))


def test_a_quarantined_table_is_read_by_nobody_until_it_is_written_again(tables: ParquetTables) -> None:
    write(tables, rows_of(3), "bad")
    write(tables, rows_of(2), "good")
    tables.quarantine("pages", "bad", "its check failed: nine pages are missing")
    assert tables.partitions("pages") == ["good"]
    assert tables.all_partitions("pages") == ["bad", "good"]
    assert tables.quarantine_reason("pages", "bad") == "its check failed: nine pages are missing"
    with pytest.raises(
        IncompleteArtifact, match="partition 'bad', is quarantined .*nine pages.*materialize pages again"
    ):
        tables.read("pages", partition="bad")
    assert tables.read("pages").num_rows == 2
    assert tables.query("SELECT DISTINCT crawl FROM pages")["crawl"].to_pylist() == ["good"]
    assert tables.commit("pages", "bad") is not None

    write(tables, rows_of(4), "bad")
    assert tables.quarantine_reason("pages", "bad") is None
    assert tables.read("pages").num_rows == 6


def test_an_unpartitioned_table_can_be_quarantined(tables: ParquetTables) -> None:
    write(tables, rows_of(3))
    tables.quarantine("pages", None, "why")
    with pytest.raises(IncompleteArtifact, match="quarantined"):
        tables.read("pages")
    with pytest.raises(duckdb.CatalogException, match="pages"):
        tables.query("SELECT * FROM pages")


def test_a_failed_rewrite_releases_nothing(folder: ParquetTables) -> None:
    write(folder, rows_of(3), "bad")
    folder.quarantine("pages", "bad", "why")
    with pytest.raises(RuntimeError), folder.write("pages", SCHEMA, partition="bad", provenance=ORIGIN):
        raise RuntimeError
    assert folder.quarantine_reason("pages", "bad") == "why"


def test_what_is_missing_is_named_with_its_remedy(tables: ParquetTables) -> None:
    with pytest.raises(IncompleteArtifact, match="table pages has no partition yet; materialize pages"):
        tables.read("pages")
    with pytest.raises(IncompleteArtifact, match="table pages, partition 'c', has not been made"):
        tables.num_rows("pages", "c")
    assert tables.commit("pages", "c") is None
    assert tables.partitions("pages") == []


def test_names_of_partitions_stay_text(tables: ParquetTables) -> None:
    names = ["2024", "0007", "2024-01-02", "it's", "null", "1e5"]
    for position, name in enumerate(names):
        write(tables, rows_of(position + 1), name)
    assert tables.partitions("pages") == sorted(names)
    read = tables.read("pages")
    assert read.schema.field("crawl").type == pa.string()
    assert {name: read["crawl"].to_pylist().count(name) for name in names} == dict(zip(names, range(1, 7), strict=True))
    asked = tables.query("SELECT crawl, count(*) AS n FROM pages GROUP BY crawl")
    assert dict(zip(asked["crawl"].to_pylist(), asked["n"].to_pylist(), strict=True)) == dict(
        zip(names, range(1, 7), strict=True)
    )


def test_partitions_that_all_look_like_numbers_stay_text(tables: ParquetTables) -> None:
    for name in ("2024", "1999"):
        write(tables, rows_of(1), name)
    assert tables.query("SELECT crawl FROM pages ORDER BY crawl")["crawl"].to_pylist() == ["1999", "2024"]


def test_duckdb_joins_tables_over_all_partitions(tables: ParquetTables) -> None:
    write(tables, rows_of(30), "b")
    write(tables, rows_of(20), "a")
    write(tables, rows_of(25), asset="finetuned/chunk_embeddings")
    assert tables.assets() == ["finetuned/chunk_embeddings", "pages"]
    answer = tables.query(
        "SELECT p.crawl, count(*) AS n FROM pages p JOIN finetuned_chunk_embeddings e USING (id) GROUP BY p.crawl ORDER BY 1"
    ).to_pylist()
    assert answer == [{"crawl": "a", "n": 20}, {"crawl": "b", "n": 25}]


def test_all_partitions_are_read_in_the_order_of_their_names(tables: ParquetTables) -> None:
    write(tables, rows_of(2), "b")
    write(tables, rows_of(1), "a")
    table = tables.read("pages", columns=["id"])
    assert table.column_names == ["id", "crawl"]
    assert table.to_pylist() == [
        {"id": "row 0", "crawl": "a"}, {"id": "row 0", "crawl": "b"}, {"id": "row 1", "crawl": "b"},
    ]  # fmt: skip


def test_a_foreign_file_is_refused_by_name(folder: ParquetTables) -> None:
    place = Path(folder.root) / "pages"
    place.mkdir(parents=True)
    pq.write_table(pa.table({"id": ["a"]}), place / "part-0.parquet")
    with pytest.raises(DataError, match="part-0.parquet has no provenance in its footer.*materialize pages"):
        folder.commit("pages", None)


def write_many(root: str, name: str, start: Any) -> None:
    tables = ParquetTables(root)
    start.wait()
    for attempt in range(6):
        write(tables, rows_of(40 + attempt), name)
        write(tables, rows_of(40 + attempt), "shared by all")


def test_processes_write_beside_each_other_and_readers_see_whole_tables(folder: ParquetTables) -> None:
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    start = context.Barrier(4)
    writers = [context.Process(target=write_many, args=(folder.root, f"p{one}", start)) for one in range(3)]
    for writer in writers:
        writer.start()
    start.wait()
    while any(writer.is_alive() for writer in writers):
        for partition in folder.partitions("pages"):
            commit, rows = folder.commit("pages", partition), folder.read("pages", partition=partition)
            assert commit is not None
            assert rows.to_pylist() == rows_of(rows.num_rows)
        time.sleep(0.01)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert folder.partitions("pages") == ["p0", "p1", "p2", "shared by all"]
    assert folder.read("pages").num_rows == 4 * 45
    assert not [name for name in os.listdir(Path(folder.root) / "pages" / "crawl=p0") if name != "part-0.parquet"]


def test_queries_of_several_threads_do_not_meet(tables: ParquetTables) -> None:
    for name in ("one", "other"):
        write(tables, rows_of(50, seed=len(name)), asset=name)

    def ask(name: str) -> list[int]:
        sql = f"SELECT count(*)::BIGINT AS n FROM {name}"
        return [tables.query(sql, of={name: None}).to_pylist()[0]["n"] for _ in range(10)]

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, ["one", "other"] * 4))
    assert answers == [[50] * 10] * 8


def test_a_forked_process_queries_as_well(folder: ParquetTables) -> None:
    write(folder, rows_of(2000), asset="numbers")
    sql = "SELECT count(*)::BIGINT AS n FROM numbers"
    assert folder.query(sql, of={"numbers": None}).to_pylist() == [{"n": 2000}]
    child = os.fork()
    if child == 0:
        os._exit(0 if folder.query(sql, of={"numbers": None}).to_pylist() == [{"n": 2000}] else 1)
    assert os.waitpid(child, 0)[1] == 0
