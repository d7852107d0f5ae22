"""Building a version of the index beside the live one, checking it, and swapping it in."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nyx_assets.rag.corpus import corpus_embeddings
from resources.home import Home
from resources.vector_index import LIVE, IndexedChunk, VectorIndex
from training_kernels.errors import IndexUnavailable

CANARY_QUERIES = 50
"""Choice: each is a chunk's own embedding; at 10 hits a query, 500 comparisons show a loss of 1 % as 5 misses."""
MIN_CANARY_RECALL = 0.99
"""Choice: an index below this against exact search does not go live."""
KEPT_VERSIONS = 2
"""The live one and the one before it, for rollback."""
EMBEDDINGS = "promoted/chunk_embeddings"


def build_version(
    home: Home, index: VectorIndex, *, inputs: Mapping[str, str], log: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Rows of `final_index` after a version made of these inputs went live.

    A version is named by its inputs. A half-built one, left by a run that was killed, is dropped and built again; the
    live version is not touched until the new one has every chunk and passes the canary. Raises IndexUnavailable else.
    """
    version = "v" + hashlib.sha256(repr(sorted(inputs.items())).encode()).hexdigest()[:16]
    chunks, embedding_CD = every_chunk_once(home)
    if index.resolve(LIVE) != version:
        if version in index.versions():
            index.drop(version)
        index.create(version, dim=embedding_CD.shape[1])
        index.add(version, chunks, embedding_CD)
    if (count := index.count(version)) != len(chunks):
        raise IndexUnavailable(
            f"index version {version} holds {count:,} chunks, the corpus has {len(chunks):,}; rebuild final_index"
        )
    recall = canary_recall(index, version, [chunk.chunk_id for chunk in chunks], embedding_CD)
    if recall < MIN_CANARY_RECALL:
        raise IndexUnavailable(
            f"index version {version} finds {recall:.3f} of the 10 nearest chunks, at least {MIN_CANARY_RECALL} is required; "
            f"the version before it stays live"
        )
    previous = index.resolve(LIVE)
    index.set_alias(LIVE, version)
    log(f"version {version} is live with {len(chunks):,} chunks, canary recall@10 {recall:.3f}")
    keep = {version, previous}
    for old in index.versions():
        if old not in keep:
            index.drop(old)
    checkpoint = home.artifacts.require("promoted_checkpoint").commit.data_version
    return [
        {
            "version": name,
            "is_live": name == version,
            "checkpoint": checkpoint if name == version else None,
            "dim": embedding_CD.shape[1],
            "num_chunks": index.count(name),
            "recall_at_10": recall if name == version else None,
        }
        for name in index.versions()
    ]


def every_chunk_once(home: Home) -> tuple[list[IndexedChunk], np.ndarray]:
    """All chunks in order of id, and their embeddings [C, D]; a chunk of several crawls stands once and names them all."""
    ids, embedding_CD = corpus_embeddings(home, "promoted")
    facts: dict[str, dict[str, Any]] = {}
    for row in home.tables.read("chunked_corpus", columns=["chunk_id", "doc_id", "modality"]).to_pylist():
        known = facts.setdefault(row["chunk_id"], {"doc_id": row["doc_id"], "modality": row["modality"], "crawls": []})
        known["crawls"].append(row["crawl"])
    if missing := sorted(facts.keys() - set(ids)):
        raise IndexUnavailable(
            f"{len(missing):,} chunks have no embedding, e.g. {missing[0]}; materialize {EMBEDDINGS} for every crawl partition"
        )
    # embeddings of chunks that are gone stay out: the partition they came from was made again
    rows = [row for row, chunk_id in enumerate(ids) if chunk_id in facts]
    chunks = [
        IndexedChunk(ids[row], facts[ids[row]]["doc_id"], tuple(facts[ids[row]]["crawls"]), facts[ids[row]]["modality"])
        for row in rows
    ]
    return chunks, embedding_CD[rows]


def canary_recall(index: VectorIndex, version: str, ids: list[str], embedding_CD: np.ndarray) -> float:
    """Share of the exact 10 nearest chunks that the index finds, for chunks spread evenly over the corpus."""
    rows = np.unique(np.linspace(0, len(ids) - 1, min(CANARY_QUERIES, len(ids))).astype(int))
    query_BD, top_k = embedding_CD[rows], min(10, len(ids))
    found = index.search(version, query_BD, top_k=top_k)
    similarity_BC = query_BD @ embedding_CD.T
    right = 0
    for query, hits in enumerate(found):
        # a tie at the last place is no miss: what counts is that no hit is less similar than the exact last one
        last = np.partition(similarity_BC[query], -top_k)[-top_k]
        right += sum(hit.similarity >= last - 1e-4 for hit in hits)
    return float(right / (len(rows) * top_k))
