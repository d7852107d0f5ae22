"""The vector index in Milvus: a local `.db` path is Milvus Lite inside this process, an http(s) URI is any Milvus server.

Milvus Lite holds its path for one process at a time, from the first call until `close`; open late and close early.
"""

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from resources.exact_search import DECIMALS
from resources.milvus_connection import open_lite, open_server, release_lite
from resources.vector_index import (
    Hit,
    IndexedChunk,
    checked_dim,
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

INDEX_PARAMS: dict[str, dict[str, int]] = {"FLAT": {}, "HNSW": {"M": 16, "efConstruction": 200}}
"""The index types allowed, with their build settings. Milvus Lite accepts names of types that it then cannot load, so
only those that were tried stand here. Choice: M and efConstruction as in common HNSW practice; recall@10 of 1.0 on
50,000 embeddings of 256 dims."""

MAX_ID_BYTES = 512
MAX_CRAWLS = 4_096
"""Source: the limit of a Milvus array field."""

BATCH_BYTES = 32 * 2**20
"""Half of the 64 MB that a Milvus server takes in one message."""

BATCH_ROWS = 5_000
BATCH_QUERIES = 200


class MilvusIndex:
    """VectorIndex in Milvus under cosine similarity; nothing is opened before the first call.

    Args:
        uri: a path that ends in `.db`, or the http(s) address of a server.
        index_type: FLAT compares with every chunk; HNSW walks a graph and may miss some.
        token: "user:password" or API key of a server that asks for one.
    """

    def __init__(self, uri: str, *, index_type: str = "FLAT", token: str = "") -> None:
        self._is_local = not uri.startswith(("http://", "https://"))
        if self._is_local and not uri.endswith(".db"):
            raise ConfigError(f"an index is a path that ends in .db or an http(s) address, got {uri!r}")
        if index_type not in INDEX_PARAMS:
            raise ConfigError(f"index_type {index_type!r} is unknown; known: {', '.join(INDEX_PARAMS)}")
        self._uri = os.path.abspath(uri) if self._is_local else uri
        self._index_type = index_type
        self._token = token
        self._client: MilvusClient | None = None
        self._lock = threading.Lock()
        self._searchable: set[str] = set()

    def create(self, version: str, *, dim: int) -> None:
        from pymilvus import DataType

        checked_dim(dim)
        if self._has(version):
            raise IndexUnavailable(f"version {version!r} exists already in {self._uri}; drop it first")
        if self.resolve(version) is not None:
            raise IndexUnavailable(f"{version!r} is an alias in {self._uri}; give the version another name")
        client = self._connected()
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("chunk_id", DataType.VARCHAR, is_primary=True, max_length=MAX_ID_BYTES)
        schema.add_field("doc_id", DataType.VARCHAR, max_length=MAX_ID_BYTES)
        schema.add_field("modality", DataType.VARCHAR, max_length=MAX_ID_BYTES)
        schema.add_field(
            "crawls",
            DataType.ARRAY,
            element_type=DataType.VARCHAR,
            max_capacity=MAX_CRAWLS,
            max_length=MAX_ID_BYTES,
        )
        schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=dim)
        index = client.prepare_index_params()
        index.add_index(
            "embedding", index_type=self._index_type, metric_type="COSINE", params=INDEX_PARAMS[self._index_type]
        )
        # Strong: a search right after an add sees what was added.
        client.create_collection(
            COLLECTION_PREFIX + version, schema=schema, index_params=index, consistency_level="Strong"
        )

    def add(self, version: str, chunks: Sequence[IndexedChunk], embedding_CD: np.ndarray) -> None:
        collection = self._collection(self._existing_version(version))
        dim = self._dim(collection)
        embedding_CD = checked_embeddings(chunks, embedding_CD, dim=dim)
        for rows in _batches(len(chunks), dim=dim):
            self._connected().upsert(
                collection,
                [
                    {
                        "chunk_id": chunks[row].chunk_id,
                        "doc_id": chunks[row].doc_id,
                        "modality": chunks[row].modality,
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
        collection = self._collection(self._existing(name))
        query_BD = checked_queries(query_BD, dim=self._dim(collection), top_k=top_k)
        hits: list[list[Hit]] = []
        for start in range(0, len(query_BD), BATCH_QUERIES):
            found = self._connected().search(
                collection,
                data=list(query_BD[start : start + BATCH_QUERIES]),
                limit=top_k,
                filter=_expression(checked_where(where)),
                output_fields=["chunk_id"],
                # ef: how many chunks HNSW keeps in view, at least as many as it must return; FLAT ignores it.
                search_params={"metric_type": "COSINE", "params": {"ef": max(128, 2 * top_k)}},
            )
            hits.extend(_settled(found_of_query) for found_of_query in found)
        return hits

    def fetch(self, name: str, chunk_ids: Sequence[str]) -> dict[str, np.ndarray]:
        collection = self._collection(self._existing(name))
        embedding_by_id: dict[str, np.ndarray] = {}
        for rows in _batches(len(chunk_ids), dim=self._dim(collection)):
            found = self._connected().get(
                collection, ids=[chunk_ids[row] for row in rows], output_fields=["chunk_id", "embedding"]
            )
            embedding_by_id |= {row["chunk_id"]: np.asarray(row["embedding"], dtype=np.float32) for row in found}
        return embedding_by_id

    def count(self, name: str) -> int:
        collection = self._collection(self._existing(name))
        return self._connected().query(collection, filter="", output_fields=["count(*)"])[0]["count(*)"]

    def versions(self) -> list[str]:
        names = self._connected().list_collections()
        return sorted(name.removeprefix(COLLECTION_PREFIX) for name in names if name.startswith(COLLECTION_PREFIX))

    def drop(self, version: str) -> None:
        self._existing_version(version)
        # Milvus Lite drops a collection together with its aliases, without a word.
        for alias in self._aliases():
            if self.resolve(alias) == version:
                raise IndexUnavailable(
                    f"alias {alias!r} points at version {version!r}; point it at another version first"
                )
        self._searchable.discard(COLLECTION_PREFIX + version)
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
        return self._connected().has_collection(COLLECTION_PREFIX + checked_name(version))

    def _aliases(self) -> list[str]:
        names = self._connected().list_aliases()["aliases"]
        return [name.removeprefix(ALIAS_PREFIX) for name in names if name.startswith(ALIAS_PREFIX)]

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
            self._searchable.add(collection)
        return collection

    def _dim(self, collection: str) -> int:
        fields = self._connected().describe_collection(collection)["fields"]
        return next(int(field["params"]["dim"]) for field in fields if field["name"] == "embedding")


def _batches(num_rows: int, *, dim: int) -> Iterator[range]:
    """Rows by batch, so that one message stays under BATCH_BYTES (float32, and twice MAX_ID_BYTES for the ids)."""
    step = max(1, min(BATCH_ROWS, BATCH_BYTES // (4 * dim + 2 * MAX_ID_BYTES)))
    for start in range(0, num_rows, step):
        yield range(start, min(start + step, num_rows))


def _expression(where: Mapping[str, str]) -> str:
    """The filter in Milvus's language; its string literals are those of JSON as far as quotes and backslashes go."""
    clauses = {"modality": "modality == {}", "crawl": "array_contains(crawls, {})"}
    return " and ".join(clauses[field].format(json.dumps(value, ensure_ascii=False)) for field, value in where.items())


def _settled(found: Sequence[Mapping[str, Any]]) -> list[Hit]:
    """Hits best first, those of equal similarity in the order of their ids."""
    hits = [Hit(row["chunk_id"], round(float(row["distance"]), DECIMALS)) for row in found]
    return sorted(hits, key=lambda hit: (-hit.similarity, hit.chunk_id))
