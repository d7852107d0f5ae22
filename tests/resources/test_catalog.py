"""catalog.duckdb answers, read-only, what a user asks of pages, pairs and money."""

import multiprocessing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from resources.artifacts import MANIFEST
from resources.catalog import build_catalog, drop_foreign_catalog
from resources.home import Home
from resources.tables import Commit, Provenance
from resources.vlm import Message, Request, Sampling, complete_all
from resources.vlm_ledger import MeteredVLM
from resources.vlm_offline import OfflineVLM
from training_kernels.documents import Document

ORIGIN = Provenance(code_version="3-ab", inputs={"chunked_corpus": "v7", "page_clusters": "v8"})


def write(home: Home, asset: str, partition: str | None, rows: list[dict[str, Any]]) -> None:
    schema = pa.Table.from_pylist(rows).schema
    with home.tables.write(asset, schema, partition=partition, provenance=ORIGIN) as table:
        table.append(rows)


def request(number: int) -> Request:
    return Request(
        messages=(Message("system", Document.of(f"Task: answer from documents\n\n{number}")),),
        sampling=Sampling(temperature=0.0, max_output_tokens=20, seed=3, json_schema=None),
        prompt_version="t",
    )


def ask(catalog: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(catalog), read_only=True) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Two crawls; the harbour page of the first has two pairs, written in one call of two cents."""
    home = Home.at(tmp_path / "it's home")
    vlm = OfflineVLM()
    metered = MeteredVLM(vlm, str(home.root / "vlm" / "ledger"), asset="raw_qa", partition="2024")
    list(complete_all(metered, [request(1), request(2)]))
    write(
        home,
        "crawl_documents",
        "2024",
        [{"doc_id": "d1", "url": "https://a/harbour"}, {"doc_id": "d2", "url": "https://a/hill"}],
    )
    write(home, "crawl_documents", "2025", [{"doc_id": "d3", "url": "https://a/harbour"}])
    write(home, "chunked_corpus", "2024", [{"chunk_id": "c1", "doc_id": "d1"}, {"chunk_id": "c2", "doc_id": "d2"}])
    write(home, "chunked_corpus", "2025", [{"chunk_id": "c1", "doc_id": "d3"}])
    write(
        home, "raw_qa", "2024",
        [
            {"qa_id": "q1", "chunk_id": "c1", "teacher": vlm.model, "cost_usd": 0.01, "request_digest": request(1).digest(vlm.model)},
            {"qa_id": "q2", "chunk_id": "c1", "teacher": vlm.model, "cost_usd": 0.01, "request_digest": request(1).digest(vlm.model)},
            {"qa_id": "q3", "chunk_id": "c2", "teacher": vlm.model, "cost_usd": 0.5, "request_digest": request(2).digest(vlm.model)},
        ],
    )  # fmt: skip
    write(home, "finetuned/chunk_embeddings", "2024", [{"chunk_id": "c1"}])
    write(home, "page_clusters", None, [{"doc_id": "d1", "cluster": "k"}])
    folder = home.artifacts.folder("pretrained_checkpoint", "w1")
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text("{}")
    home.artifacts.publish(
        "pretrained_checkpoint", folder, Commit(data_version="w1", num_rows=96, provenance=ORIGIN, written_at="now")
    )
    return home


def test_which_pairs_came_from_a_page_what_did_they_cost_and_which_model_saw_them(home: Home) -> None:
    build_catalog(home, [])
    answer = ask(
        home.root / "catalog.duckdb",
        "SELECT qa_id, teacher, raw_qa.cost_usd, call.model, call.asset FROM raw_qa JOIN chunked_corpus USING (chunk_id, crawl) "
        "JOIN crawl_documents USING (doc_id, crawl) JOIN vlm_calls AS call USING (request_digest) "
        "WHERE url LIKE '%harbour' ORDER BY qa_id",
    )
    model = OfflineVLM().model
    assert answer == [("q1", model, 0.01, model, "raw_qa"), ("q2", model, 0.01, model, "raw_qa")]


def test_every_table_is_a_view_and_partitions_are_text(home: Home) -> None:
    names = build_catalog(home, ["pretrained_checkpoint"])
    assert names == [
        "chunked_corpus", "commits", "crawl_documents", "finetuned_chunk_embeddings", "home", "lineage", "page_clusters", "raw_qa",
        "vlm_calls",
    ]  # fmt: skip
    catalog = home.root / "catalog.duckdb"
    assert ask(catalog, "SELECT crawl, count(*) FROM crawl_documents GROUP BY crawl ORDER BY crawl") == [
        ("2024", 2),
        ("2025", 1),
    ]
    assert ask(catalog, "SELECT * FROM page_clusters") == [("d1", "k")]


def test_commits_and_lineage_name_tables_and_folders_alike(home: Home) -> None:
    home.tables.quarantine("crawl_documents", "2025", "a page is missing")
    build_catalog(home, ["pretrained_checkpoint", "promoted_checkpoint"])
    catalog = home.root / "catalog.duckdb"
    commits = {
        (asset, crawl): (num_rows, reason)
        for asset, crawl, num_rows, reason in ask(
            catalog, "SELECT asset, crawl, num_rows, quarantined_because FROM commits"
        )
    }
    assert commits["crawl_documents", "2025"] == (1, "a page is missing")
    assert commits["raw_qa", "2024"] == (3, None)
    assert commits["pretrained_checkpoint", None] == (96, None)
    assert ("promoted_checkpoint", None) not in commits
    lineage = ask(catalog, "SELECT input, input_data_version FROM lineage WHERE asset = 'raw_qa' ORDER BY input")
    assert lineage == [("chunked_corpus", "v7"), ("page_clusters", "v8")]
    # what is quarantined is listed, and read by nobody
    assert ask(catalog, "SELECT DISTINCT crawl FROM crawl_documents") == [("2024",)]


def test_it_cannot_be_written_by_who_asks(home: Home) -> None:
    build_catalog(home, [])
    with pytest.raises(duckdb.InvalidInputException, match="read-only"):
        ask(home.root / "catalog.duckdb", "DROP TABLE commits")


def test_a_ledger_line_that_was_cut_off_hides_no_other(home: Home) -> None:
    (file,) = (home.root / "vlm" / "ledger").rglob("*.jsonl")
    (file.parent / "killed.jsonl").write_text(file.read_text() + '{"asset": "raw_qa", "cost_u')
    build_catalog(home, [])
    assert ask(home.root / "catalog.duckdb", "SELECT count(*) FROM vlm_calls WHERE asset = 'raw_qa'") == [(4,)]


def test_without_any_call_there_is_no_view_of_calls(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "home")
    write(home, "page_clusters", None, [{"doc_id": "d1"}])
    assert build_catalog(home, []) == ["commits", "home", "lineage", "page_clusters"]


def build_often(home: Home) -> None:
    for _ in range(3):
        build_catalog(home, ["pretrained_checkpoint"])


def test_whoever_asks_while_it_is_built_sees_a_whole_one(home: Home) -> None:
    build_catalog(home, [])
    builders = [multiprocessing.get_context("fork").Process(target=build_often, args=(home,)) for _ in range(2)]
    for builder in builders:
        builder.start()
    while any(builder.is_alive() for builder in builders):
        assert ask(home.root / "catalog.duckdb", "SELECT count(*) FROM raw_qa") == [(3,)]
    assert [builder.exitcode for builder in builders] == [0, 0]
    assert sorted(path.name for path in home.root.glob("*catalog*")) == [".catalog.lock", "catalog.duckdb"]


def test_views_of_a_moved_home_answer_once_told_where_it_is(home: Home) -> None:
    build_catalog(home, [])
    moved = home.root.rename(home.root.with_name("it's elsewhere"))
    with duckdb.connect(str(moved / "catalog.duckdb"), read_only=True) as connection:
        with pytest.raises(duckdb.IOException, match="it's home"):
            connection.execute("SELECT * FROM raw_qa")
        connection.execute("SET VARIABLE nyx_home = '" + str(moved).replace("'", "''") + "'")
        for name, rows in (("raw_qa", 3), ("crawl_documents", 3), ("page_clusters", 1), ("vlm_calls", 2)):
            assert connection.execute(f"SELECT count(*) FROM {name}").fetchall() == [(rows,)], name


def test_a_catalogue_of_another_folder_or_that_cannot_be_read_is_dropped_and_a_good_one_stays(home: Home) -> None:
    catalog = home.root / "catalog.duckdb"
    drop_foreign_catalog(home)  # there is none yet
    build_catalog(home, [])
    drop_foreign_catalog(home)
    assert catalog.exists()
    moved = Home.at(home.root.rename(home.root.with_name("moved")))
    drop_foreign_catalog(moved)
    assert not (moved.root / "catalog.duckdb").exists()
    (moved.root / "catalog.duckdb").write_bytes(b"no database" * 1000)
    drop_foreign_catalog(moved)
    assert not (moved.root / "catalog.duckdb").exists()


def test_what_a_killed_builder_left_is_swept_by_the_next(home: Home) -> None:
    (home.root / ".catalog.0f.writing").write_bytes(b"half")
    build_catalog(home, [])
    assert sorted(path.name for path in home.root.glob("*catalog*")) == [".catalog.lock", "catalog.duckdb"]
