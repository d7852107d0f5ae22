"""The vector index in Milvus: a local `.db` path is Milvus Lite inside this process, an http(s) URI is any Milvus server.

Milvus Lite holds its path for one process at a time, from the first call until `close`; open late and close early.
"""

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from resources.exact_search import DECIMALS
from resources.milvus_connection import open_lite, open_server, release_lite
from resources.vector_index import (
    MAX_TOP_K,
    QUANTISED_TYPES,
    Hit,
    IndexedChunk,
    IndexSpec,
    checked_embeddings,
    checked_name,
    checked_queries,
    checked_where,
)
from training_kernels.errors import ConfigError, IndexUnavailable

if TYPE_CHECKING:
    from pymilvus import MilvusClient

COLLECTION_PREFIX = "nyx_version_"
ALIAS_PREFIX = "nyx_alias_"
"""Collections and aliases share one name space in Milvus, and a server may hold those of other projects."""

INDEX_PARAMS: dict[str, dict[str, int | str]] = {
    "FLAT": {},
    "HNSW": {"M": 16, "efConstruction": 200},
    "HNSW_SQ": {"M": 16, "efConstruction": 200, "sq_type": "SQ8"},
    "IVF_FLAT": {"nlist": 128},
    "IVF_SQ8": {"nlist": 128},
}
"""Build settings of each allowed type. Choice: M and efConstruction as in common HNSW practice; recall@10 of 1.0 on
50,000 embeddings of 256 dims. 128 cells as Milvus has it by default."""

NUM_PROBES = 64
"""Cells of an IVF that a query looks into. Choice: half of them; the canary refuses an index that this is too few for."""

OVERSAMPLING = 4
"""Hits taken of 8-bit numbers for each that is asked for; they are compared again in float32. Choice: 8 bits shift a
cosine by about 1e-3, and few chunks lie that close around the last place."""

MAX_ID_BYTES = 512
MAX_CRAWLS = 4_096
"""Source: the limit of a Milvus array field."""

BATCH_BYTES = 32 * 2**20
"""Half of the 64 MB that a Milvus server takes in one message."""

BATCH_ROWS = 5_000
BATCH_QUERIES = 200


NOT_LOADED = 101
"""Milvus's code for a collection that is not loaded, or not any more: its server was started again, say."""

LOADS = 5
"""Times that a collection is loaded for one question. Choice: once is enough but where something else unloads it."""

_touching = threading.Lock()
"""Milvus Lite opens a collection when it is first named, and two threads that name it at once get two of them, one of
which is not loaded; so within a process only one thread at a time asks whether a collection is there."""


class MilvusIndex:
    """VectorIndex in Milvus under cosine similarity; nothing is opened before the first call.

    Args:
        uri: a path that ends in `.db`, or the http(s) address of a server.
        token: "user:password" or API key of a server that asks for one.
    """

    def __init__(self, uri: str, *, token: str = "") -> None:
        self._is_local = not uri.startswith(("http://", "https://"))
        if self._is_local and not uri.endswith(".db"):
            raise ConfigError(f"an index is a path that ends in .db or an http(s) address, got {uri!r}")
        self._uri = os.path.abspath(uri) if self._is_local else uri
        self._token = token
        self._client: MilvusClient | None = None
        self._lock = threading.Lock()
        self._searchable: dict[str, IndexSpec] = {}

    def create(self, version: str, *, dim: int, index_type: str = "FLAT", metric: str = "COSINE") -> None:
        from pymilvus import DataType

        spec = IndexSpec(dim=dim, index_type=index_type, metric=metric)
        if self._has(version):
            raise IndexUnavailable(f"version {version!r} exists already in {self._uri}; drop it first")
        if self.resolve(version) is not None:
            raise IndexUnavailable(f"{version!r} is an alias in {self._uri}; give the version another name")
        client = self._connected()
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("chunk_id", DataType.VARCHAR, is_primary=True, max_length=MAX_ID_BYTES)
        schema.add_field("doc_id", DataType.VARCHAR, max_length=MAX_ID_BYTES)
        for name in ("modality", "language", "source"):
            schema.add_field(name, DataType.VARCHAR, max_length=MAX_ID_BYTES)
        schema.add_field(
            "crawls",
            DataType.ARRAY,
            element_type=DataType.VARCHAR,
            max_capacity=MAX_CRAWLS,
            max_length=MAX_ID_BYTES,
        )
        schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=spec.dim)
        index = client.prepare_index_params()
        index.add_index(
            "embedding", index_type=spec.index_type, metric_type=spec.metric, params=INDEX_PARAMS[spec.index_type]
        )
        # Strong: a search right after an add sees what was added.
        client.create_collection(
            COLLECTION_PREFIX + version, schema=schema, index_params=index, consistency_level="Strong"
        )

    def rename(self, version: str, new: str) -> None:
        self._existing_version(version)
        self._require_unaliased(version)
        if self._has(new) or self.resolve(new) is not None:
            raise IndexUnavailable(f"{new!r} exists already in {self._uri}; give the version another name")
        self._searchable.pop(COLLECTION_PREFIX + version, None)
        self._connected().rename_collection(COLLECTION_PREFIX + version, COLLECTION_PREFIX + new)

    def add(self, version: str, chunks: Sequence[IndexedChunk], embedding_CD: np.ndarray) -> None:
        collection = self._collection(self._existing_version(version))
        dim = self._searchable[collection].dim
        embedding_CD = checked_embeddings(chunks, embedding_CD, dim=dim)
        for rows in _batches(len(chunks), dim=dim):
            self._connected().upsert(
                collection,
                [
                    {
                        "chunk_id": chunks[row].chunk_id,
                        "doc_id": chunks[row].doc_id,
                        "modality": chunks[row].modality,
                        "language": chunks[row].language,
                        "source": chunks[row].source,
                        "crawls": list(chunks[row].crawls),
                        "embedding": embedding_CD[row],
                    }
                    for row in rows
                ],
            )

    def delete(self, version: str, chunk_ids: Sequence[str]) -> None:
        collection = self._collection(self._existing_version(version))
        for rows in _batches(len(chunk_ids), dim=1):
            self._connected().delete(collection, ids=[chunk_ids[row] for row in rows])

    def search(
        self, name: str, query_BD: np.ndarray, *, top_k: int, where: Mapping[str, str] | None = None
    ) -> list[list[Hit]]:
        version = self._existing(name)
        spec = self._searchable[self._collection(version)]
        query_BD = checked_queries(query_BD, dim=spec.dim, top_k=top_k)
        expression = _expression(checked_where(where))
        is_rough = spec.index_type in QUANTISED_TYPES
        limit = min(OVERSAMPLING * top_k, MAX_TOP_K) if is_rough else top_k
        hits: list[list[Hit]] = []
        for start in range(0, len(query_BD), BATCH_QUERIES):
            batch_BD = query_BD[start : start + BATCH_QUERIES]
            found = self._asked(
                version,
                "search",
                data=list(batch_BD),
                limit=limit,
                filter=expression,
                output_fields=["chunk_id"],
                # ef: how many chunks HNSW keeps in view, at least as many as it must return; each type takes its own
                search_params={
                    "metric_type": spec.metric,
                    "params": {"ef": max(128, 2 * limit), "nprobe": NUM_PROBES},
                },
            )
            if is_rough:
                hits.extend(self._compared_again(version, batch_BD, found, top_k))
            else:
                hits.extend(_settled(found_of_query, spec.metric) for found_of_query in found)
        return hits

    def _compared_again(
        self, version: str, query_BD: np.ndarray, found: Sequence[Sequence[Mapping[str, Any]]], top_k: int
    ) -> Iterator[list[Hit]]:
        """The best of what 8-bit numbers found, by the cosine of the float32 embeddings."""
        embedding_by_id = self.fetch(version, sorted({row["chunk_id"] for rows in found for row in rows}))
        for query_D, rows in zip(query_BD.astype(np.float64), found, strict=True):
            ids = [row["chunk_id"] for row in rows if row["chunk_id"] in embedding_by_id]
            hits = [Hit(one, round(float(embedding_by_id[one] @ query_D), DECIMALS)) for one in ids]
            yield _in_order(hits)[:top_k]

    def fetch(self, name: str, chunk_ids: Sequence[str]) -> dict[str, np.ndarray]:
        version = self._existing(name)
        dim = self._searchable[self._collection(version)].dim
        embedding_by_id: dict[str, np.ndarray] = {}
        for rows in _batches(len(chunk_ids), dim=dim):
            ids = [chunk_ids[row] for row in rows]
            found = self._asked(version, "get", ids=ids, output_fields=["chunk_id", "embedding"])
            embedding_by_id |= {row["chunk_id"]: np.asarray(row["embedding"], dtype=np.float32) for row in found}
        return embedding_by_id

    def count(self, name: str) -> int:
        return self._asked(self._existing(name), "query", filter="", output_fields=["count(*)"])[0]["count(*)"]

    def versions(self) -> list[str]:
        names = self._connected().list_collections()
        return sorted(name.removeprefix(COLLECTION_PREFIX) for name in names if name.startswith(COLLECTION_PREFIX))

    def drop(self, version: str) -> None:
        self._existing_version(version)
        self._require_unaliased(version)
        self._searchable.pop(COLLECTION_PREFIX + version, None)
        self._connected().drop_collection(COLLECTION_PREFIX + version)

    def set_alias(self, alias: str, version: str) -> None:
        self._existing_version(version)
        if self._has(checked_name(alias)):
            raise IndexUnavailable(f"{alias!r} is a version in {self._uri}; give the alias another name")
        client = self._connected()
        # What goes live is written through first, and only then: a server limits how often it may be asked to.
        client.flush(COLLECTION_PREFIX + version)
        point = client.alter_alias if alias in self._aliases() else client.create_alias
        point(COLLECTION_PREFIX + version, ALIAS_PREFIX + alias)

    def resolve(self, alias: str) -> str | None:
        if checked_name(alias) not in self._aliases():
            return None
        described = self._connected().describe_alias(ALIAS_PREFIX + alias)
        return described["collection_name"].removeprefix(COLLECTION_PREFIX)

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
            self._searchable.clear()
        if client is None:
            return
        client.close()
        if self._is_local:
            release_lite(self._uri)

    def _connected(self) -> "MilvusClient":
        with self._lock:
            if self._client is None:
                self._client = open_lite(self._uri) if self._is_local else open_server(self._uri, self._token)
            return self._client

    def _has(self, version: str) -> bool:
        with _touching:
            return self._connected().has_collection(COLLECTION_PREFIX + checked_name(version))

    def _aliases(self) -> list[str]:
        names = self._connected().list_aliases()["aliases"]
        return [name.removeprefix(ALIAS_PREFIX) for name in names if name.startswith(ALIAS_PREFIX)]

    def _require_unaliased(self, version: str) -> None:
        """Milvus Lite drops a collection together with its aliases, without a word; ours may not lose one."""
        for alias in self._aliases():
            if self.resolve(alias) == version:
                raise IndexUnavailable(
                    f"alias {alias!r} points at version {version!r}; point it at another version first"
                )

    def _existing(self, name: str) -> str:
        """The version that a version's or alias's name stands for."""
        return self._existing_version(self.resolve(name) or name)

    def _existing_version(self, version: str) -> str:
        if not self._has(version):
            known = ", ".join(self.versions()) or "none yet"
            raise IndexUnavailable(
                f"{self._uri} has no version or alias {version!r} (versions: {known}); materialize final_index"
            )
        return version

    def _collection(self, version: str) -> str:
        """The version's collection, loaded: Milvus answers from loaded collections only."""
        collection = COLLECTION_PREFIX + version
        if collection not in self._searchable:
            self._connected().load_collection(collection)
            self._searchable[collection] = self._spec(collection)
        return collection

    def _asked(self, version: str, question: Literal["search", "get", "query"], **arguments: Any) -> Any:
        """The client's answer about a version; one that was unloaded meanwhile is loaded and asked again."""
        from pymilvus.exceptions import MilvusException

        for attempt in range(1, LOADS + 1):
            collection = self._collection(version)
            try:
                return getattr(self._connected(), question)(collection, **arguments)
            except MilvusException as error:
                if error.code != NOT_LOADED or attempt == LOADS:
                    raise
                self._searchable.pop(collection, None)
        raise AssertionError("the last attempt returns or raises")

    def _spec(self, collection: str) -> IndexSpec:
        client = self._connected()
        fields = client.describe_collection(collection)["fields"]
        dim = next(int(field["params"]["dim"]) for field in fields if field["name"] == "embedding")
        index = client.describe_index(collection, client.list_indexes(collection)[0])
        return IndexSpec(dim=dim, index_type=index["index_type"], metric=index["metric_type"])


def _batches(num_rows: int, *, dim: int) -> Iterator[range]:
    """Rows by batch, so that one message stays under BATCH_BYTES (float32, and twice MAX_ID_BYTES for the ids)."""
    step = max(1, min(BATCH_ROWS, BATCH_BYTES // (4 * dim + 2 * MAX_ID_BYTES)))
    for start in range(0, num_rows, step):
        yield range(start, min(start + step, num_rows))


def _expression(where: Mapping[str, str]) -> str:
    """The filter in Milvus's language; its string literals are those of JSON as far as quotes and backslashes go."""
    clauses = {"crawl": "array_contains(crawls, {})"}
    return " and ".join(
        clauses.get(field, field + " == {}").format(json.dumps(value, ensure_ascii=False))
        for field, value in where.items()
    )


def _settled(found: Sequence[Mapping[str, Any]], metric: str) -> list[Hit]:
    """Hits with their cosines, best first; `distance` is the cosine, the equal inner product, or 2 - 2 cosine."""
    return _in_order(
        Hit(
            row["chunk_id"],
            round(1 - float(row["distance"]) / 2 if metric == "L2" else float(row["distance"]), DECIMALS),
        )
        for row in found
    )


def _in_order(hits: Iterable[Hit]) -> list[Hit]:
    """Best first, those of equal similarity in the order of their ids."""
    return sorted(hits, key=lambda hit: (-hit.similarity, hit.chunk_id))
