"""Retrievers that take the corpus's embeddings from the tables."""

import numpy as np
import pytest

from nyx_assets.evaluation.stored import live_retriever, stored_retriever
from nyx_assets.rag.corpus import current_embeddings, dense_corpus
from nyx_assets.retrievers import FINETUNED
from training_kernels.documents import Document
from training_kernels.errors import DataError, IncompleteArtifact

NORTH, EAST, SOUTH = np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32)
CANDIDATES = {f"c{number}": Document.of(f"chunk {number}") for number in (0, 9, 18)}


def best(retriever) -> list[str]:
    """Candidates for the query at hour 0, best first."""
    return [chunk_id for chunk_id, _ in retriever.rank([Document.of("query 0")], CANDIDATES, top_k=3)[2][0]]


def test_a_stored_retriever_embeds_only_the_queries(home, publish, store_embeddings, clock_embedders):
    publish(home, "finetuned_checkpoint", "new")
    store_embeddings(home, "finetuned", "2026-01", {"c0": SOUTH, "c9": EAST}, made_with="new")
    store_embeddings(home, "finetuned", "2026-02", {"c18": NORTH}, made_with="new")
    embedders = clock_embedders(new=0)
    retriever = stored_retriever(FINETUNED, home, embedders)
    assert retriever.name == "finetuned"
    assert best(retriever) == ["c18", "c9", "c0"]
    assert embedders.by_name["new"].asked == [("query", "query 0")]


def test_what_another_checkpoint_made_is_told_and_embedded_again_and_no_retrieval_sees_it(
    home, publish, store_embeddings, clock_embedders, caplog
):
    publish(home, "finetuned_checkpoint", "new")
    store_embeddings(home, "finetuned", "2026-01", {"c0": NORTH, "c9": EAST}, made_with="new")
    store_embeddings(home, "finetuned", "2026-02", {"c18": NORTH}, made_with="old")
    embedders = clock_embedders(new=0)
    assert best(stored_retriever(FINETUNED, home, embedders)) == ["c0", "c9", "c18"]
    assert embedders.by_name["new"].asked == [("query", "query 0"), ("candidate", "chunk 18")]
    assert "finetuned/chunk_embeddings of 2026-02 was made with another checkpoint" in caplog.text
    ids, _ = current_embeddings(home, "finetuned")
    assert ids == ["c0", "c9"]
    found = dense_corpus(home, "finetuned", CANDIDATES).search(NORTH[None], 3)
    assert [chunk_id for chunk_id, _ in found[0]] == ["c0", "c9"]
    # c0 is gone: its partition was made again, its embeddings were not
    found = dense_corpus(home, "finetuned", {"c9", "c18"}).search(NORTH[None], 3)
    assert [chunk_id for chunk_id, _ in found[0]] == ["c9"]
    publish(home, "finetuned_checkpoint", "newer")
    home.look_again()
    with pytest.raises(DataError, match="made with another checkpoint in every crawl partition; materialize it"):
        dense_corpus(home, "finetuned", CANDIDATES)


def test_a_retriever_without_its_checkpoint_is_refused(home, store_embeddings, clock_embedders):
    store_embeddings(home, "finetuned", "2026-01", {"c0": SOUTH}, made_with="new")
    with pytest.raises(IncompleteArtifact, match="finetuned_checkpoint has not been made"):
        stored_retriever(FINETUNED, home, clock_embedders(new=0))


def test_the_live_retriever_takes_what_its_own_checkpoint_made_and_embeds_the_rest(
    home, publish, store_embeddings, clock_embedders
):
    publish(home, "promoted_checkpoint", "live")
    store_embeddings(home, "promoted", "2026-01", {"c0": SOUTH}, made_with="live")
    store_embeddings(home, "promoted", "2026-02", {"c9": SOUTH, "c18": NORTH}, made_with="the one before")
    embedders = clock_embedders(live=0)
    retriever = live_retriever(home, embedders, home.artifacts.require("promoted_checkpoint"))
    assert retriever.name == "promoted"
    assert best(retriever) == ["c9", "c0", "c18"]
    assert embedders.by_name["live"].asked == [
        ("query", "query 0"),
        ("candidate", "chunk 9"),
        ("candidate", "chunk 18"),
    ]


def test_quarantined_embeddings_are_made_again(home, publish, store_embeddings, clock_embedders):
    publish(home, "promoted_checkpoint", "live")
    store_embeddings(home, "promoted", "2026-01", {"c0": SOUTH}, made_with="live")
    home.tables.quarantine("promoted/chunk_embeddings", "2026-01", "not of unit norm")
    embedders = clock_embedders(live=0)
    assert best(live_retriever(home, embedders, home.artifacts.require("promoted_checkpoint")))[0] == "c0"
    assert ("candidate", "chunk 0") in embedders.by_name["live"].asked
