"""Building a version of the index beside the live one, checking it, and swapping it in.

Shape letters: C chunks, D width.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from nyx_assets.index_versions import (
    VERSION_CHUNKS,
    VersionRecord,
    chunk_table,
    embedding_digests,
    forget_version,
    indexed_chunks,
    make_live,
    record_of,
    records,
    remove_drafts,
    version_rows,
    write_version,
)
from nyx_assets.promoting import promotion, require_promoted
from nyx_assets.rag.corpus import corpus_embeddings
from nyx_assets.rag.dense import prefix
from nyx_assets.recipes import IndexRecipe
from resources.home import Home
from resources.tables import utc_now
from resources.vector_index import LIVE, IndexSpec, VectorIndex
from training_kernels.errors import ConfigError, IndexUnavailable

CANARY_QUERIES = 50
"""Choice: each is a chunk's own embedding; at 10 hits a query, 500 comparisons show a loss of 1 % as 5 misses."""
MIN_CANARY_RECALL = 0.99
"""Choice: an index below this against exact search does not go live."""
EMBEDDINGS = "promoted/chunk_embeddings"
ROWS_PER_CALL = 5_000


@dataclass(frozen=True, slots=True)
class IndexedCorpus:
    """What a version is to hold: rows of VERSION_CHUNKS in order of id, and the embedding of each."""

    chunks: pa.Table
    embedding_CD: np.ndarray
    waiting: Mapping[str, int]
    """By crawl: chunks that have no embedding yet."""


def build_version(
    home: Home,
    index: VectorIndex,
    *,
    recipe: IndexRecipe,
    dims: Sequence[int],
    inputs: Mapping[str, str],
    log: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Rows of `final_index` after a version made of these inputs went live.

    A version is named by its inputs and by how it is held. A half-built one, left by a run that was killed, is dropped
    and built again; the live version is not touched until the new one has every chunk and passes the canary. Raises
    IndexUnavailable else, and CheckpointMoved if another checkpoint has been promoted since.

    Args:
        dims: Matryoshka dims of the promoted checkpoint.
    """
    with home.alone("index", log=log), home.held("index", log=log):
        spec = IndexSpec(
            dim=widest_dim(dims, at_most=recipe.max_dim), index_type=recipe.index_type, metric=recipe.metric
        )
        version = "v" + hashlib.sha256(repr((sorted(inputs.items()), spec)).encode()).hexdigest()[:16]
        remove_drafts(home)
        _drop_half_built(home, index, log)
        if record_of(home, version) is None and index.resolve(LIVE) == version:
            version += "_again"  # its record is lost, and what is live is not torn down to be built again
        if record_of(home, version) is None or version not in index.versions():
            _build(home, index, version, spec, kept_old=recipe.kept_versions, log=log)
        record = record_of(home, version)
        assert record is not None
        with promotion(home, log=log):
            doing = f"version {version} of the index was built"
            require_promoted(home, record.checkpoint, doing=doing, then="materialize final_index again")
            make_live(home, index, record)
        log(
            f"version {version} is live with {record.num_chunks:,} chunks, {record.dim} dims, "
            f"canary recall@10 {record.recall_at_10:.3f}"
        )
        for old in kept_in_order(home, version)[1 + recipe.kept_versions :]:
            _drop(home, index, old)
        return version_rows(home, index)


def widest_dim(dims: Sequence[int], *, at_most: int) -> int:
    """The widest Matryoshka dim that is at most this. Raises ConfigError if all are wider."""
    fitting = [dim for dim in dims if dim <= at_most]
    if not fitting:
        raise ConfigError(f"the index takes at most {at_most} dims, the checkpoint has {list(dims)}; raise max_dim")
    return max(fitting)


def recommended_dims(home: Home, dims: Sequence[int], recipe: IndexRecipe) -> tuple[int, ...]:
    """The checkpoint's dims up to the one that index_settings recommends for the recipe's precision; all without one."""
    spec = IndexSpec(dim=recipe.max_dim, index_type=recipe.index_type, metric=recipe.metric)
    rows = home.tables.read("index_settings").to_pylist()
    chosen = [row["dim"] for row in rows if row["is_recommended"] and row["precision"] == spec.precision]
    return tuple(dim for dim in dims if not chosen or dim <= max(chosen))


def kept_in_order(home: Home, live: str) -> list[str]:
    """All versions: the live one, then those that a rollback leads to, then the others, the one built last first."""
    record_by_version = {record.version: record for record in records(home)}
    chain: list[str] = []
    version: str | None = live
    while version in record_by_version and version not in chain:
        chain.append(version)
        version = record_by_version[version].previous
    return chain + [version for version in record_by_version if version not in chain]


def _build(
    home: Home, index: VectorIndex, version: str, spec: IndexSpec, *, kept_old: int, log: Callable[[str], None]
) -> None:
    """Make the version whole, and take note of it."""
    artifact = home.artifacts.require("promoted_checkpoint")
    checkpoint = artifact.commit.data_version
    corpus = corpus_to_index(home, dim=spec.dim)
    base = _base(home, index, spec, checkpoint, kept_old=kept_old)
    num_added, num_deleted = _fill(home, index, version, spec, corpus, base=base)
    log(
        f"version {version}: {num_added:,} chunks written, {num_deleted:,} deleted"
        + (f", the others taken over from {base}, which was to go" if base else "")
    )
    for crawl, num_waiting in sorted(corpus.waiting.items()):
        log(
            f"crawl {crawl}: {num_waiting:,} chunks wait outside, they have no embedding; materialize {EMBEDDINGS} for it"
        )
    ids = corpus.chunks["chunk_id"].to_pylist()
    if (count := index.count(version)) != len(ids):
        raise IndexUnavailable(
            f"index version {version} holds {count:,} chunks, the corpus has {len(ids):,}; rebuild final_index"
        )
    recall = canary_recall(index, version, ids, corpus.embedding_CD)
    if recall < MIN_CANARY_RECALL:
        raise IndexUnavailable(
            f"index version {version} finds {recall:.3f} of the 10 nearest chunks, at least {MIN_CANARY_RECALL} is required; "
            f"the version before it stays live"
        )
    crawls = {}
    for crawl in home.tables.partitions("chunked_corpus"):
        # a chunk's embedding may be another partition's: its own may be made again at this moment
        commit = home.tables.commit(EMBEDDINGS, crawl)
        crawls[crawl] = commit.data_version if commit else ""
    record = VersionRecord(
        version=version,
        previous=None,
        has_been_live=False,
        sequence=1 + max((one.sequence for one in records(home)), default=0),
        checkpoint=checkpoint,
        checkpoint_folder=os.path.relpath(artifact.folder, home.root),
        checkpoint_examples=artifact.commit.num_rows,
        dim=spec.dim,
        index_type=spec.index_type,
        metric=spec.metric,
        precision=spec.precision,
        crawls=crawls,
        num_chunks=len(ids),
        recall_at_10=recall,
        built_at=utc_now(),
    )
    write_version(home, record, corpus.chunks)


def _base(home: Home, index: VectorIndex, spec: IndexSpec, checkpoint: str, *, kept_old: int) -> str | None:
    """A version that goes when the new one is live and holds embeddings of the same checkpoint in the same way: it
    becomes the new one by its differences alone. Never the live one, and never the only one to roll back to."""
    live = index.resolve(LIVE)
    if live is None:
        return None
    for version in reversed(kept_in_order(home, live)[max(2, kept_old) :]):
        record = record_of(home, version)
        assert record is not None
        same = (record.checkpoint, record.dim, record.index_type, record.metric) == (
            checkpoint, spec.dim, spec.index_type, spec.metric,
        )  # fmt: skip
        if same and index.count(version) == record.num_chunks:
            return version
    return None


def _fill(
    home: Home, index: VectorIndex, version: str, spec: IndexSpec, corpus: IndexedCorpus, *, base: str | None
) -> tuple[int, int]:
    """Bring the version to hold the corpus and nothing else; how many chunks were written and how many deleted."""
    known: dict[str, dict[str, Any]] = {}
    if base is None:
        index.create(version, dim=spec.dim, index_type=spec.index_type, metric=spec.metric)
    else:
        known = {row["chunk_id"]: row for row in _compared(chunk_table(home, base))}
        forget_version(home, base)
        index.rename(base, version)
    wanted = {row["chunk_id"]: row for row in _compared(corpus.chunks)}
    index.delete(version, sorted(known.keys() - wanted.keys()))
    new = [place for place, (chunk_id, row) in enumerate(wanted.items()) if known.get(chunk_id) != row]
    chunks = indexed_chunks(corpus.chunks)
    for start in range(0, len(new), ROWS_PER_CALL):
        places = new[start : start + ROWS_PER_CALL]
        index.add(version, [chunks[place] for place in places], corpus.embedding_CD[places])
    return len(new), len(known.keys() - wanted.keys())


def _compared(chunks: pa.Table) -> list[dict[str, Any]]:
    """What the vector index holds of each chunk."""
    columns = ["chunk_id", "doc_id", "crawls", "modality", "language", "source", "embedding_digest"]
    return chunks.select(columns).to_pylist()


def _drop_half_built(home: Home, index: VectorIndex, log: Callable[[str], None]) -> None:
    """Drop versions that have no record: a build that was killed left them, or they are of an older nyx."""
    live = index.resolve(LIVE)
    for version in index.versions():
        if record_of(home, version) is None and version != live:
            log(f"version {version} is half built and is dropped")
            index.drop(version)


def _drop(home: Home, index: VectorIndex, version: str) -> None:
    forget_version(home, version)
    if version in index.versions():
        index.drop(version)


def corpus_to_index(home: Home, *, dim: int) -> IndexedCorpus:
    """Every chunk once with its page and its embedding's first `dim` numbers; one of several crawls names them all.

    A chunk without an embedding waits outside: its partition is being made, or failed, and holds nobody else up.
    Raises IndexUnavailable if no chunk has one, or if they are of several checkpoints.
    """
    _require_one_checkpoint(home)
    ids, embedding_CD = corpus_embeddings(home, "promoted")
    table = home.tables.query(
        "WITH placed AS (SELECT chunk.chunk_id, chunk.doc_id, chunk.position, chunk.segments, chunk.modality, page.url, "
        "page.title, page.language, chunk.crawl, row_number() OVER (PARTITION BY chunk.chunk_id ORDER BY chunk.crawl) AS "
        "place FROM chunked_corpus AS chunk LEFT JOIN crawl_documents AS page USING (doc_id, crawl)), "
        "held AS (SELECT chunk_id, list(DISTINCT crawl ORDER BY crawl) AS crawls FROM chunked_corpus GROUP BY chunk_id) "
        "SELECT placed.* EXCLUDE (place, crawl), crawls FROM placed JOIN held USING (chunk_id) WHERE place = 1 ORDER BY chunk_id"
    )
    wanted = table["chunk_id"].to_pylist()
    row_by_id = dict(zip(ids, range(len(ids)), strict=True))
    is_embedded = [chunk_id in row_by_id for chunk_id in wanted]
    waiting = table.filter(pa.array([not one for one in is_embedded], pa.bool_()))
    if wanted and not any(is_embedded):
        raise IndexUnavailable(
            f"{len(wanted):,} chunks have no embedding, e.g. {wanted[0]}; materialize {EMBEDDINGS} for every crawl partition"
        )
    table = table.filter(pa.array(is_embedded, pa.bool_()))
    wanted = table["chunk_id"].to_pylist()
    # embeddings of chunks that are gone stay out: the partition they came from was made again
    cut_CD = prefix(embedding_CD[[row_by_id[chunk_id] for chunk_id in wanted]], dim)
    columns = {name: table[name] for name in VERSION_CHUNKS.names if name in table.column_names}
    columns["language"] = pa.array([language or "" for language in table["language"].to_pylist()], pa.string())
    columns["source"] = pa.array([source_of(url) for url in table["url"].to_pylist()], pa.string())
    columns["embedding_digest"] = pa.array(embedding_digests(cut_CD), pa.string())
    ordered = pa.table([columns[name] for name in VERSION_CHUNKS.names], names=VERSION_CHUNKS.names)
    return IndexedCorpus(ordered.cast(VERSION_CHUNKS), cut_CD, _by_crawl(waiting["crawls"].to_pylist()))


def _require_one_checkpoint(home: Home) -> None:
    """Raise IndexUnavailable if a partition was embedded by another checkpoint than the promoted one."""
    version = home.artifacts.require("promoted_checkpoint").commit.data_version
    others = []
    for crawl in home.tables.partitions(EMBEDDINGS):
        commit = home.tables.commit(EMBEDDINGS, crawl)
        if commit is not None and commit.provenance.inputs.get("promoted_checkpoint", version) != version:
            others.append(crawl)
    if others:
        raise IndexUnavailable(
            f"{len(others):,} crawl partitions are embedded by another checkpoint than the promoted {version}, e.g. "
            f"{others[0]}; their similarities would not compare: materialize {EMBEDDINGS} for them, or nyx run"
        )


def _by_crawl(crawls_of_waiting: Sequence[Sequence[str]]) -> dict[str, int]:
    return dict(Counter(crawl for crawls in crawls_of_waiting for crawl in crawls))


def source_of(url: str | None) -> str:
    """The host of an address without "www."; "" for none."""
    try:
        host = urlsplit(url or "").hostname or ""
    except ValueError:  # brackets that hold no address
        return ""
    return host.removeprefix("www.")


def canary_recall(index: VectorIndex, version: str, ids: list[str], embedding_CD: np.ndarray) -> float:
    """Share of the exact 10 nearest chunks that the index finds, for chunks spread evenly over the corpus."""
    rows = np.unique(np.linspace(0, len(ids) - 1, min(CANARY_QUERIES, len(ids))).astype(int))
    row_by_id = dict(zip(ids, range(len(ids)), strict=True))
    query_BD, top_k = embedding_CD[rows], min(10, len(ids))
    found = index.search(version, query_BD, top_k=top_k)
    similarity_BC = query_BD @ embedding_CD.T
    right = 0
    for query, hits in enumerate(found):
        # a tie at the last place is no miss: what counts is that no hit is less similar than the exact last one, in
        # truth and by its own word
        last = np.partition(similarity_BC[query], -top_k)[-top_k]
        right += sum(
            min(similarity_BC[query, row_by_id[hit.chunk_id]], hit.similarity) >= last - 1e-4
            for hit in hits
            if hit.chunk_id in row_by_id
        )
    return float(right / (len(rows) * top_k))
