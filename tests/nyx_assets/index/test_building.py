"""A version of the index goes live whole and checked, or not at all."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nyx_assets.index.building import build_version, canary_recall, corpus_to_index, source_of, widest_dim
from nyx_assets.index_versions import (
    chunk_table,
    indexed_chunks,
    live_record,
    record_of,
    rollback,
    swap,
    version_folder,
    version_rows,
)
from nyx_assets.rag.bm25 import Bm25Corpus
from nyx_assets.recipes import tiny
from nyx_assets.records import CHUNKED_CORPUS, CRAWL_DOCUMENTS, FINAL_INDEX, chunk_embeddings_schema
from resources.artifacts import MANIFEST
from resources.home import Home
from resources.index_exact import ExactIndex
from resources.tables import Commit, Provenance
from resources.vector_index import LIVE, Hit
from training_kernels.errors import CheckpointMoved, ConfigError, IndexUnavailable

ORIGIN = Provenance(code_version="1")
DIM = 4
RECIPE = tiny().index


def direction(name: str) -> np.ndarray:
    """A unit vector of its own for each chunk id."""
    vector = np.random.default_rng(abs(hash_of(name))).normal(size=DIM).astype(np.float32)
    return vector / np.linalg.norm(vector)


def hash_of(name: str) -> int:
    return int.from_bytes(name.encode(), "big") % 2**31


def land(
    home: Home,
    partition: str,
    chunk_ids: list[str],
    *,
    embedded: list[str] | None = None,
    language: str | None = "en",
    turned: tuple[str, ...] = (),
) -> None:
    """A crawl partition of one chunk a page. The embeddings of chunks that are `turned` point the other way."""
    with home.tables.write("crawl_documents", CRAWL_DOCUMENTS, partition=partition, provenance=ORIGIN) as table:
        table.append(
            dict.fromkeys(CRAWL_DOCUMENTS.names) | {
                "doc_id": f"page of {one}", "url": f"https://www.{one}.example/page", "title": one, "language": language,
            }
            for one in chunk_ids
        )  # fmt: skip
    with home.tables.write("chunked_corpus", CHUNKED_CORPUS, partition=partition, provenance=ORIGIN) as table:
        table.append(
            dict.fromkeys(CHUNKED_CORPUS.names) | {
                "chunk_id": one, "doc_id": f"page of {one}", "modality": "mixed" if one.endswith("7") else "text",
                "segments": [{"kind": "text", "text": f"words of {one}", "image": None}],
            }
            for one in chunk_ids
        )  # fmt: skip
    schema = chunk_embeddings_schema(DIM)
    with home.tables.write("promoted/chunk_embeddings", schema, partition=partition, provenance=ORIGIN) as table:
        table.append(
            {"chunk_id": one, "embedding": (direction(one) * (-1 if one in turned else 1)).tolist()}
            for one in embedded or chunk_ids
        )


def promote(home: Home, version: str) -> None:
    folder = home.artifacts.folder("promoted_checkpoint", version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).write_text("{}")
    commit = Commit(data_version=version, num_rows=1, provenance=ORIGIN, written_at="")
    home.artifacts.publish("promoted_checkpoint", folder, commit)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.at(tmp_path / "home")
    promote(home, "weights-1")
    return home


@pytest.fixture
def index(tmp_path: Path) -> ExactIndex:
    return ExactIndex(str(tmp_path / "index"))


def build(home: Home, index: Any, **inputs: str) -> list[dict[str, Any]]:
    rows = build_version(home, index, recipe=RECIPE, dims=[DIM, 2], inputs=inputs, log=lambda line: None)
    with home.tables.write("final_index", FINAL_INDEX, partition=None, provenance=ORIGIN) as table:
        table.append(rows)
    return rows


def live_row(rows: list[dict[str, Any]]) -> Mapping[str, Any]:
    (row,) = [row for row in rows if row["is_live"]]
    return row


def names(number: int) -> list[str]:
    return [f"c{position:03d}" for position in range(number)]


def test_a_chunk_of_two_crawls_stands_once_and_names_both(home: Home) -> None:
    land(home, "a", ["c2", "c1"])
    land(home, "b", ["c7", "c2"], language=None)
    corpus = corpus_to_index(home, dim=DIM)
    chunks = indexed_chunks(corpus.chunks)
    assert [(one.chunk_id, one.crawls, one.modality, one.language, one.source) for one in chunks] == [
        ("c1", ("a",), "text", "en", "c1.example"), ("c2", ("a", "b"), "text", "en", "c2.example"),
        ("c7", ("b",), "mixed", "", "c7.example"),
    ]  # fmt: skip
    assert chunks[0].doc_id == "page of c1"
    np.testing.assert_array_equal(corpus.embedding_CD, np.stack([direction(one) for one in ("c1", "c2", "c7")]))


def test_a_chunk_without_an_embedding_waits_outside_and_holds_nobody_up(home: Home, index: ExactIndex) -> None:
    land(home, "a", ["c1", "c2", "c3"], embedded=["c1"])
    land(home, "b", ["c4"])
    assert corpus_to_index(home, dim=DIM).waiting == {"a": 2}
    said: list[str] = []
    rows = build_version(home, index, recipe=RECIPE, dims=[DIM], inputs={"a": "1"}, log=said.append)
    assert live_row(rows)["num_chunks"] == 2
    assert (
        "crawl a: 2 chunks wait outside, they have no embedding; materialize promoted/chunk_embeddings for it" in said
    )


def test_a_corpus_without_any_embedding_is_not_indexed(home: Home) -> None:
    land(home, "a", ["c1", "c2"], embedded=["c0"])
    with pytest.raises(
        IndexUnavailable, match=r"^2 chunks have no embedding, e\.g\. c1; materialize promoted/chunk_embeddings"
    ):
        corpus_to_index(home, dim=DIM)


def test_embeddings_of_two_checkpoints_are_never_in_one_index(home: Home) -> None:
    land(home, "a", ["c1"])
    old = Provenance(code_version="1", inputs={"promoted_checkpoint": "weights-0"})
    schema = chunk_embeddings_schema(DIM)
    with home.tables.write("promoted/chunk_embeddings", schema, partition="b", provenance=old) as table:
        table.append([{"chunk_id": "c2", "embedding": direction("c2").tolist()}])
    with pytest.raises(IndexUnavailable, match="1 crawl partitions are embedded by another checkpoint .*weights-1"):
        corpus_to_index(home, dim=DIM)


def test_embeddings_of_chunks_that_are_gone_stay_out(home: Home) -> None:
    land(home, "a", ["c1"], embedded=["c0", "c1", "c9"])
    corpus = corpus_to_index(home, dim=DIM)
    assert corpus.chunks["chunk_id"].to_pylist() == ["c1"]
    np.testing.assert_array_equal(corpus.embedding_CD, [direction("c1")])


def test_the_widest_dim_that_fits_is_indexed_at_unit_length(home: Home) -> None:
    assert [widest_dim([2048, 1024, 256], at_most=most) for most in (4096, 1500, 256)] == [2048, 1024, 256]
    with pytest.raises(ConfigError, match=r"at most 100 dims, the checkpoint has \[2048, 256\]"):
        widest_dim([2048, 256], at_most=100)
    land(home, "a", ["c1"])
    expected = direction("c1")[:2] / np.linalg.norm(direction("c1")[:2])
    np.testing.assert_allclose(corpus_to_index(home, dim=2).embedding_CD[0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("url", "source"),
    [("https://www.A.example:80/x", "a.example"), ("http://sub.a.example", "sub.a.example"), (None, ""), ("page.md", ""), ("http://[x", "")],
)  # fmt: skip
def test_the_source_of_a_page_is_its_host(url: str | None, source: str) -> None:
    assert source_of(url) == source


def test_what_goes_live_holds_every_chunk_and_finds_it(home: Home, index: ExactIndex) -> None:
    land(home, "a", names(30))
    row = live_row(build(home, index, corpus="v1"))
    assert (row["num_chunks"], row["dim"], row["recall_at_10"], row["checkpoint"]) == (30, DIM, 1.0, "weights-1")
    assert index.resolve(LIVE) == row["version"]
    (hits,) = index.search(LIVE, direction("c017")[None], top_k=1)
    assert hits[0].chunk_id == "c017"


def test_equal_inputs_are_the_same_version_and_are_not_built_again(home: Home, index: ExactIndex) -> None:
    land(home, "a", names(5))
    first = build(home, index, corpus="v1", embeddings="e1")
    files = sorted(path for path in Path(index._folder).rglob("*.parquet"))
    assert build(home, index, embeddings="e1", corpus="v1") == first
    assert sorted(path for path in Path(index._folder).rglob("*.parquet")) == files


def test_as_many_versions_as_the_recipe_says_stay_and_older_ones_go(home: Home, index: ExactIndex) -> None:
    versions = []
    for number in (3, 5, 8, 9):
        promote(home, f"weights-{number}")
        land(home, "a", names(number))
        rows = build(home, index, corpus=f"v{number}")
        versions.append(live_row(rows)["version"])
    assert len(set(versions)) == 4
    assert RECIPE.kept_versions == 2
    assert index.versions() == sorted(versions[1:])
    assert {row["version"]: (row["num_chunks"], row["checkpoint"]) for row in rows} == {
        versions[1]: (5, "weights-5"), versions[2]: (8, "weights-8"), versions[3]: (9, "weights-9"),
    }  # fmt: skip
    assert not version_folder(home, versions[0]).exists()
    for row in rows:
        assert (home.root / row["checkpoint_folder"] / MANIFEST).is_file()


def test_a_rollback_brings_back_chunks_words_and_checkpoint(home: Home, index: ExactIndex) -> None:
    land(home, "a", ["c1", "c2"])
    first = live_row(build(home, index, corpus="v1"))["version"]
    promote(home, "weights-2")
    land(home, "a", ["c2", "c3"])
    second = live_row(build(home, index, corpus="v2"))["version"]
    rows = rollback(home, index, log=print)
    assert (live_row(rows)["version"], index.resolve(LIVE)) == (first, first)
    assert home.tables.read("final_index").to_pylist() == rows
    promoted = home.artifacts.require("promoted_checkpoint")
    assert (promoted.commit.data_version, promoted.folder.name) == ("weights-1", "weights-1")
    assert chunk_table(home, first)["chunk_id"].to_pylist() == ["c1", "c2"]
    words = Bm25Corpus.load(version_folder(home, first) / "bm25")
    assert [chunk_id for chunk_id, _ in words.search(["c1"], 5)[0]] == ["c1"]
    with pytest.raises(IndexUnavailable, match=f"{first} is live and no version before it is kept"):
        rollback(home, index, log=print)
    assert live_row(swap(home, index, second, log=print))["version"] == second
    assert home.artifacts.require("promoted_checkpoint").commit.data_version == "weights-2"
    with pytest.raises(IndexUnavailable, match=f"'v7' is no whole version of .*; there are: {second}, {first}"):
        swap(home, index, "v7", log=print)


def test_a_rollback_leads_to_what_was_live_before_not_to_what_was_built_before(home: Home, index: ExactIndex) -> None:
    versions = []
    for number in (3, 5):
        land(home, "a", names(number))
        versions.append(live_row(build(home, index, corpus=f"v{number}"))["version"])
    rollback(home, index, log=print)  # the second one was bad
    land(home, "a", names(8))
    build(home, index, corpus="v8")
    assert live_row(rollback(home, index, log=print))["version"] == versions[0]


def test_a_version_whose_checkpoint_is_gone_does_not_go_live(home: Home, index: ExactIndex) -> None:
    land(home, "a", names(3))
    first = live_row(build(home, index, corpus="v1"))["version"]
    promote(home, "weights-2")
    second = live_row(build(home, index, corpus="v2"))["version"]
    (home.artifacts.folder("promoted_checkpoint", "weights-1") / MANIFEST).unlink()
    with pytest.raises(IndexUnavailable, match=f"{first} needs the checkpoint in .*weights-1, which is not there"):
        swap(home, index, first, log=print)
    assert index.resolve(LIVE) == second


def held(index: ExactIndex, version: str, number: int) -> dict[str, np.ndarray]:
    return index.fetch(version, names(number))


def test_a_partition_that_is_made_again_or_removed_leaves_nothing_stale_and_nothing_twice(
    home: Home, index: ExactIndex
) -> None:
    """The third version is the first one, changed by its differences; what it holds is what a fresh one would hold."""
    land(home, "a", ["c000", "c001", "c002"])
    land(home, "b", ["c002", "c003", "c004"])
    first = live_row(build(home, index, corpus="v1"))["version"]
    for number in (2, 3):
        land(home, "c", [f"c01{number}"])
        build(home, index, corpus=f"v{number}")
    land(home, "a", ["c001", "c005"], turned=("c001",))  # c000 is gone, c002 is held by b alone, c001 is another vector
    shutil.rmtree(home.root / "tables" / "chunked_corpus" / "crawl=c")
    logged: list[str] = []
    rows = build_version(home, index, recipe=RECIPE, dims=[DIM], inputs={"corpus": "v4"}, log=logged.append)
    version = live_row(rows)["version"]
    assert f"3 chunks written, 1 deleted, the others taken over from {first}, which was to go" in logged[0]
    assert first not in index.versions()
    fresh = ExactIndex(str(home.root / "fresh"))
    fresh.create("v", dim=DIM)
    corpus = corpus_to_index(home, dim=DIM)
    fresh.add("v", indexed_chunks(corpus.chunks), corpus.embedding_CD)
    assert index.count(version) == fresh.count("v") == 5
    assert sorted(held(index, version, 20)) == ["c001", "c002", "c003", "c004", "c005"]
    for where in ({}, {"crawl": "a"}, {"crawl": "b"}, {"crawl": "c"}):
        query = direction("c001")[None]
        assert index.search(version, query, top_k=9, where=where) == fresh.search("v", query, top_k=9, where=where)
    assert index.fetch(version, ["c001"])["c001"] == pytest.approx(-direction("c001"))
    assert record_of(home, version).crawls.keys() == {"a", "b"}  # type: ignore[union-attr]


def test_a_taken_over_version_that_was_left_half_changed_is_built_from_nothing(home: Home, index: ExactIndex) -> None:
    for number in (3, 4, 5):
        land(home, "a", names(number))
        build(home, index, corpus=f"v{number}")
    land(home, "a", names(9))
    live = index.resolve(LIVE)

    class Killed(Exception):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    add, index.add = index.add, killed  # type: ignore[method-assign]
    with pytest.raises(Killed):
        build(home, index, corpus="v9")
    index.add = add  # type: ignore[method-assign]
    assert index.resolve(LIVE) == live
    assert live_record(home, index).num_chunks == 5
    assert len(version_rows(home, index)) == 2  # what was being changed is no version any more
    assert live_row(build(home, index, corpus="v9"))["num_chunks"] == 9


def test_a_half_built_version_is_built_again(home: Home, index: ExactIndex, tmp_path: Path) -> None:
    land(home, "a", names(20))
    version = live_row(build(home, ExactIndex(str(tmp_path / "other")), corpus="v1"))["version"]
    shutil.rmtree(version_folder(home, version))
    corpus = corpus_to_index(home, dim=DIM)
    index.create(version, dim=DIM)
    index.add(version, indexed_chunks(corpus.chunks)[:7], corpus.embedding_CD[:7])  # then its writer was killed
    with pytest.raises(IndexUnavailable, match=f"'{version}' is no whole version of .*; there are: none yet"):
        swap(home, index, version, log=print)
    assert live_row(build(home, index, corpus="v1"))["num_chunks"] == 20
    assert index.count(LIVE) == 20


class LossyIndex(ExactIndex):
    """Forgets every chunk whose id ends in 3, or finds the wrong ones."""

    def __init__(self, folder: str, *, loses: bool) -> None:
        super().__init__(folder)
        self.loses = loses

    def add(self, version: str, chunks: Any, embedding_CD: np.ndarray) -> None:
        kept = [row for row, chunk in enumerate(chunks) if not (self.loses and chunk.chunk_id.endswith("3"))]
        super().add(version, [chunks[row] for row in kept], embedding_CD[kept])

    def search(self, name: str, query_BD: np.ndarray, **options: Any) -> list[list[Hit]]:
        found = super().search(name, query_BD, **options)
        return found if self.loses else [[Hit("c000", -1.0), *hits[1:]] for hits in found]


@pytest.mark.parametrize(
    ("loses", "says"),
    [(True, "holds 27 chunks, the corpus has 30"), (False, r"finds 0\.900 of the 10 nearest chunks, at least 0.99")],
)
def test_a_bad_version_does_not_go_live(home: Home, tmp_path: Path, loses: bool, says: str) -> None:
    good = ExactIndex(str(tmp_path / "index"))
    land(home, "a", names(4))
    before = live_row(build(home, good, corpus="v1"))["version"]
    land(home, "a", names(30))
    with pytest.raises(IndexUnavailable, match=says):
        build(home, LossyIndex(str(tmp_path / "index"), loses=loses), corpus="v2")
    assert good.resolve(LIVE) == before
    assert good.count(LIVE) == 4


class PromotingIndex(ExactIndex):
    """The real index, in which another checkpoint is promoted while a version is looked at."""

    def __init__(self, folder: str, home: Home) -> None:
        super().__init__(folder)
        self.home = home

    def search(self, name: str, query_BD: np.ndarray, **options: Any) -> list[list[Hit]]:
        promote(self.home, "weights-2")
        return super().search(name, query_BD, **options)


def test_a_promotion_during_a_build_is_not_undone_and_what_is_live_stays(home: Home, tmp_path: Path) -> None:
    good = ExactIndex(str(tmp_path / "index"))
    land(home, "a", names(4))
    before = live_row(build(home, good, corpus="v1"))["version"]
    land(home, "a", names(5))
    for _ in range(2):  # the version is whole by the second time
        with pytest.raises(CheckpointMoved, match=r"became weights-2 while version v\w+ of the index was built, which"):
            build(home, PromotingIndex(str(tmp_path / "index"), home), corpus="v2")
        assert home.artifacts.require("promoted_checkpoint").commit.data_version == "weights-2"
        assert good.resolve(LIVE) == before
    land(home, "a", names(5))  # embedded with the new one
    assert live_row(build(home, good, corpus="v3"))["checkpoint"] == "weights-2"


def test_the_canary_asks_no_more_than_there_is(index: ExactIndex, home: Home) -> None:
    land(home, "a", names(3))
    corpus = corpus_to_index(home, dim=DIM)
    index.create("v", dim=DIM)
    index.add("v", indexed_chunks(corpus.chunks), corpus.embedding_CD)
    assert canary_recall(index, "v", corpus.chunks["chunk_id"].to_pylist(), corpus.embedding_CD) == 1.0
