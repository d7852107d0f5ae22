"""A question must lead back to its chunk: by the recipe's retriever, in the recipe's scope."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from nyx_assets import recipes
from nyx_assets.definitions import build_pipeline
from nyx_assets.materialization import name_of
from nyx_assets.miners import EmbeddingMiner
from nyx_assets.nyxqa.pairs import Search
from nyx_assets.nyxqa.round_trip import open_search
from nyx_assets.qa_recipes import BACKFILLED_ROUND_TRIP, QACheck, RoundTripRecipe, nyx_qa, tiny_qa
from nyx_assets.records import CHUNKED_CORPUS
from resources.embedder import Side
from resources.embedder_checkpoint import CheckpointEmbedders
from resources.home import Home
from resources.settings import Settings
from resources.tables import Provenance
from training_kernels.documents import Document, Segment
from training_kernels.errors import ConfigError

CHECK = QACheck(name="not_found_again", threshold=1)


class PictureCounts:
    """Embeds a document by which of two pictures it shows, whatever its words."""

    reads_pictures = True
    dim = 3
    dims = (3,)

    def embed(self, documents: Sequence[Document], *, side: Side) -> np.ndarray:
        rows = [[1.0, *(float(name * 64 in document.images) for name in "ab")] for document in documents]
        array = np.array(rows, np.float32)
        return array / np.linalg.norm(array, axis=1, keepdims=True)


def test_a_retriever_that_reads_pictures_tries_questions_that_show_one(town) -> None:
    shown = {"k1": Document.of("x", Segment(image="a" * 64)), "c1": Document.of("y", Segment(image="b" * 64))}
    rows = [
        town.draft(Document.of("What is this", picture, "?"), qa_id=qa_id)
        for qa_id, picture in (("right", town.blue), ("wrong", town.red))
    ]
    search = Search(EmbeddingMiner(PictureCounts(), shown), "pictures among 2 chunks")
    sorted_out = town.sort(rows, CHECK, open_search=lambda: search)
    assert [row["qa_id"] for row in sorted_out.kept] == ["right"]
    assert [(row["qa_id"], row["measured"]) for row in sorted_out.rejected] == [("wrong", 2)]
    assert "at rank 2 by pictures among 2 chunks; rank 1 needed" in sorted_out.rejected[0]["reason"]


def test_nothing_is_opened_where_there_is_nothing_to_search_for(town) -> None:
    def refuse() -> Search:
        raise AssertionError("opened for nothing")

    assert town.sort([], CHECK, open_search=refuse).kept == []
    assert len(town.sort([town.draft()], QACheck(name="empty", threshold=1), open_search=refuse).kept) == 1


@pytest.mark.parametrize("scope", ["partition", "corpus"])
def test_the_scope_decides_which_chunks_are_searched(tmp_path: Path, scope: str) -> None:
    home = Home.at(tmp_path)
    texts = {"one": {"c1": "a bridge by the river"}, "two": {"c2": "the stone bridge over the river, a bridge"}}
    rows = {
        partition: {
            chunk_id: {"chunk_id": chunk_id, "doc_id": "d", "segments": Document.of(text).to_rows()}
            for chunk_id, text in chunks.items()
        }
        for partition, chunks in texts.items()
    }
    for partition, chunks in rows.items():
        with home.tables.write(
            "chunked_corpus", CHUNKED_CORPUS, partition=partition, provenance=Provenance(code_version="1")
        ) as table:
            table.append([dict.fromkeys(CHUNKED_CORPUS.names) | row for row in chunks.values()])
    search = open_search(
        RoundTripRecipe(scope=scope, retriever="bm25"),
        rows["one"],
        home=home,
        embedders=CheckpointEmbedders(str(tmp_path / "backbones"), "tiny-qwen2.5-vl", home.images.root),
        foreign_embedders={},
    )
    (mined,) = search.miner.mine([Document.of("Which stone bridge stands over the river?")], ["c1"], top_k=9)
    assert [chunk_id for chunk_id, _ in mined.hits] == {"partition": ["c1"], "corpus": ["c2", "c1"]}[scope]
    assert (
        search.described
        == {
            "partition": "bm25 among 1 chunks of the partition",
            "corpus": "bm25 among 2 chunks of the corpus",
        }[scope]
    )


def test_the_whole_corpus_is_an_input_where_it_is_searched_and_a_retriever_that_embeds_waits_for_the_accelerator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = recipes.tiny()

    def wiring(**changes: str) -> tuple[bool, str]:
        round_trip = RoundTripRecipe(**{"scope": "partition", "retriever": "bm25"} | changes)
        changed = replace(tiny, qa=replace(tiny.qa, round_trip=round_trip))
        monkeypatch.setitem(recipes.RECIPES, "tiny", lambda: changed)
        pipeline = build_pipeline(Settings.from_env({"NYX_HOME": str(tmp_path)}), Home.at(tmp_path))
        spec = pipeline.specs["filtered_qa"]
        (corpus,) = (one for one in spec.deps if name_of(one.asset_key) == "chunked_corpus")
        is_whole = isinstance(corpus.partition_mapping, dg.AllPartitionMapping)
        return is_whole, pipeline.defs.resolve_assets_def(spec.key).op.pool

    assert wiring() == (False, "vlm")
    assert wiring(scope="corpus") == (True, "vlm")
    assert wiring(retriever="endpoint:some/model") == (False, "vlm")
    assert wiring(scope="corpus", retriever="untrained") == (True, "gpu")


def test_ours_searches_the_whole_corpus_and_the_small_recipes_their_partition() -> None:
    assert nyx_qa().round_trip.scope == "corpus"
    assert tiny_qa().round_trip == BACKFILLED_ROUND_TRIP
    with pytest.raises(ConfigError, match="'partition' or the 'corpus', got 'page'"):
        RoundTripRecipe(scope="page", retriever="bm25")
