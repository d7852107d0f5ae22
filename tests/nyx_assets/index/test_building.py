"""A version of the index goes live whole and checked, or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nyx_assets.index.building import build_version, canary_recall, every_chunk_once
from nyx_assets.records import chunk_embeddings_schema
from resources.artifacts import MANIFEST
from resources.home import Home
from resources.index_exact import ExactIndex
from resources.tables import Commit, Provenance
from resources.vector_index import LIVE, Hit
from training_kernels.errors import IndexUnavailable

ORIGIN = Provenance(code_version="1")
CHUNKS = pa.schema([("chunk_id", pa.string()), ("doc_id", pa.string()), ("modality", pa.string())])
DIM = 4


def direction(name: str) -> np.ndarray:
    """A unit vector of its own for each chunk id."""
    vector = np.random.default_rng(abs(hash_of(name))).normal(size=DIM).astype(np.float32)
    return vector / np.linalg.norm(vector)


def hash_of(name: str) -> int:
    return int.from_bytes(name.encode(), "big") % 2**31


def land(home: Home, partition: str, chunk_ids: list[str], *, embedded: list[str] | None = None) -> None:
    with home.tables.write("chunked_corpus", CHUNKS, partition=partition, provenance=ORIGIN) as table:
        table.append(
            {"chunk_id": one, "doc_id": f"page of {one}", "modality": "mixed" if one.endswith("7") else "text"}
            for one in chunk_ids
        )
    schema = chunk_embeddings_schema(DIM)
    with home.tables.write("promoted/chunk_embeddings", schema, partition=partition, provenance=ORIGIN) as table:
        table.append({"chunk_id": one, "embedding": direction(one).tolist()} for one in embedded or chunk_ids)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.at(tmp_path / "home")
    folder = home.artifacts.folder("promoted_checkpoint", "weights-1")
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text("{}")
    commit = Commit(data_version="weights-1", num_rows=1, provenance=ORIGIN, written_at="")
    home.artifacts.publish("promoted_checkpoint", folder, commit)
    return home


@pytest.fixture
def index(tmp_path: Path) -> ExactIndex:
    return ExactIndex(str(tmp_path / "index"))


def build(home: Home, index: Any, **inputs: str) -> list[dict[str, Any]]:
    return build_version(home, index, inputs=inputs, log=lambda line: None)


def live_row(rows: list[dict[str, Any]]) -> Mapping[str, Any]:
    (row,) = [row for row in rows if row["is_live"]]
    return row


def names(number: int) -> list[str]:
    return [f"c{position:03d}" for position in range(number)]


def test_a_chunk_of_two_crawls_stands_once_and_names_both(home: Home) -> None:
    land(home, "a", ["c2", "c1"])
    land(home, "b", ["c7", "c2"])
    chunks, embedding_CD = every_chunk_once(home)
    assert [(chunk.chunk_id, chunk.crawls, chunk.modality) for chunk in chunks] == [
        ("c1", ("a",), "text"), ("c2", ("a", "b"), "text"), ("c7", ("b",), "mixed"),
    ]  # fmt: skip
    assert chunks[0].doc_id == "page of c1"
    np.testing.assert_array_equal(embedding_CD, np.stack([direction(one) for one in ("c1", "c2", "c7")]))


def test_a_chunk_without_an_embedding_stops_the_build(home: Home) -> None:
    land(home, "a", ["c1", "c2", "c3"], embedded=["c1"])
    with pytest.raises(
        IndexUnavailable, match="^2 chunks have no embedding, e.g. c2; materialize promoted/chunk_embeddings"
    ):
        every_chunk_once(home)


def test_embeddings_of_chunks_that_are_gone_stay_out(home: Home) -> None:
    land(home, "a", ["c1"], embedded=["c0", "c1", "c9"])
    chunks, embedding_CD = every_chunk_once(home)
    assert [chunk.chunk_id for chunk in chunks] == ["c1"]
    np.testing.assert_array_equal(embedding_CD, [direction("c1")])


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


def test_the_version_before_stays_for_rollback_and_older_ones_go(home: Home, index: ExactIndex) -> None:
    versions = []
    for number in (3, 5, 8):
        land(home, "a", names(number))
        rows = build(home, index, corpus=f"v{number}")
        versions.append(live_row(rows)["version"])
    assert len(set(versions)) == 3
    assert index.versions() == sorted(versions[1:])
    assert {row["version"]: (row["num_chunks"], row["checkpoint"]) for row in rows} == {
        versions[1]: (5, None), versions[2]: (8, "weights-1"),
    }  # fmt: skip


def test_a_half_built_version_is_built_again(home: Home, index: ExactIndex, tmp_path: Path) -> None:
    land(home, "a", names(20))
    whole = ExactIndex(str(tmp_path / "other"))
    version = live_row(build(home, whole, corpus="v1"))["version"]
    chunks, embedding_CD = every_chunk_once(home)
    index.create(version, dim=DIM)
    index.add(version, chunks[:7], embedding_CD[:7])  # then its writer was killed
    assert live_row(build(home, index, corpus="v1"))["num_chunks"] == 20


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


def test_the_canary_asks_no_more_than_there_is(index: ExactIndex, home: Home) -> None:
    land(home, "a", names(3))
    chunks, embedding_CD = every_chunk_once(home)
    index.create("v", dim=DIM)
    index.add("v", chunks, embedding_CD)
    assert canary_recall(index, "v", [chunk.chunk_id for chunk in chunks], embedding_CD) == 1.0
