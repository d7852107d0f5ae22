"""A vector index by brute force in a folder: no server, no approximation, the oracle that others are checked against.

    <folder>/versions/<version>/version.json      the width, and the index type and metric that were asked for
    <folder>/versions/<version>/<number>.parquet  chunks with embeddings to add, or bare chunk ids to delete
    <folder>/aliases/<alias>                      the name of a version

A version is its numbered files applied in order. Every file is written beside and put in place whole, and two writers
never take the same number, so a reader in another process sees each call of `add` and `delete` entirely or not at all.
"""

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resources.exact_search import exact_top_k
from resources.vector_index import (
    Hit,
    IndexedChunk,
    IndexSpec,
    checked_embeddings,
    checked_name,
    checked_queries,
    checked_where,
    passes,
)
from training_kernels.errors import IndexUnavailable


@dataclass(frozen=True, slots=True)
class _Rows:
    """A version in memory, sorted by chunk id so that ties are settled by id."""

    files: tuple[str, ...]
    chunks: list[IndexedChunk]
    embedding_CD: np.ndarray


class ExactIndex:
    """VectorIndex in a local folder; a version is read into memory when it is first asked."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._rows: dict[str, _Rows] = {}

    def create(self, version: str, *, dim: int, index_type: str = "FLAT", metric: str = "COSINE") -> None:
        spec = IndexSpec(dim=dim, index_type=index_type, metric=metric)
        if self.resolve(version) is not None:
            raise IndexUnavailable(f"{version!r} is an alias in {self._folder}; give the version another name")
        place = self._place(version)
        fresh = self._beside(place)
        fresh.mkdir(parents=True)
        (fresh / "version.json").write_text(json.dumps(asdict(spec)))
        try:
            fresh.rename(place)
        except OSError as error:
            shutil.rmtree(fresh)
            if not place.exists():
                raise
            raise IndexUnavailable(f"version {version!r} exists already in {self._folder}; drop it first") from error

    def rename(self, version: str, new: str) -> None:
        place = self._place(self._existing_version(version))
        self._require_unaliased(version)
        if self._place(new).exists() or self.resolve(new) is not None:
            raise IndexUnavailable(f"{new!r} exists already in {self._folder}; give the version another name")
        self._rows.pop(version, None)
        place.rename(self._place(new))

    def add(self, version: str, chunks: Sequence[IndexedChunk], embedding_CD: np.ndarray) -> None:
        dim = self._dim(self._existing(version))
        embedding_CD = checked_embeddings(chunks, embedding_CD, dim=dim)
        self._append(version, _added(chunks, embedding_CD, dim))

    def delete(self, version: str, chunk_ids: Sequence[str]) -> None:
        self._existing(version)
        self._append(version, pa.table({"chunk_id": pa.array(chunk_ids, pa.string())}))

    def search(
        self, name: str, query_BD: np.ndarray, *, top_k: int, where: Mapping[str, str] | None = None
    ) -> list[list[Hit]]:
        version = self._existing(name)
        query_BD = checked_queries(query_BD, dim=self._dim(version), top_k=top_k)
        wanted = checked_where(where)
        rows = self._load(version)
        chunks, embedding_CD = rows.chunks, rows.embedding_CD
        if wanted:
            kept = [row for row, chunk in enumerate(chunks) if passes(chunk, wanted)]
            chunks, embedding_CD = [chunks[row] for row in kept], embedding_CD[kept]
        similarity_BK, row_BK = exact_top_k(query_BD, embedding_CD, top_k=top_k)
        return [
            [Hit(chunks[row].chunk_id, float(similarity)) for similarity, row in zip(similarity_K, row_K, strict=True)]
            for similarity_K, row_K in zip(similarity_BK, row_BK, strict=True)
        ]

    def fetch(self, name: str, chunk_ids: Sequence[str]) -> dict[str, np.ndarray]:
        rows = self._load(self._existing(name))
        row_by_id = {chunk.chunk_id: row for row, chunk in enumerate(rows.chunks)}
        return {
            chunk_id: rows.embedding_CD[row_by_id[chunk_id]].copy() for chunk_id in chunk_ids if chunk_id in row_by_id
        }

    def count(self, name: str) -> int:
        return len(self._load(self._existing(name)).chunks)

    def versions(self) -> list[str]:
        folder = self._folder / "versions"
        return sorted(
            place.parent.name for place in folder.glob("*/version.json") if ".making-" not in place.parent.name
        )

    def drop(self, version: str) -> None:
        place = self._place(self._existing(version))
        self._require_unaliased(version)
        self._rows.pop(version, None)
        # Renamed first, so that nobody reads a version that is half gone.
        going = self._beside(place)
        place.rename(going)
        shutil.rmtree(going)

    def set_alias(self, alias: str, version: str) -> None:
        checked_name(alias)
        self._existing_version(version)
        if alias in self.versions():
            raise IndexUnavailable(f"{alias!r} is a version in {self._folder}; give the alias another name")
        place = self._folder / "aliases" / alias
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._beside(place)
        fresh.write_text(version)
        fresh.replace(place)

    def resolve(self, alias: str) -> str | None:
        place = self._folder / "aliases" / checked_name(alias)
        return place.read_text() if place.exists() else None

    def close(self) -> None:
        self._rows.clear()

    def _existing(self, name: str) -> str:
        """The version that a version's or alias's name stands for."""
        return self._existing_version(self.resolve(name) or name)

    def _existing_version(self, version: str) -> str:
        if not (self._place(version) / "version.json").exists():
            known = ", ".join(self.versions()) or "none yet"
            raise IndexUnavailable(
                f"{self._folder} has no version or alias {version!r} (versions: {known}); materialize final_index"
            )
        return version

    def _require_unaliased(self, version: str) -> None:
        for alias in sorted(path.name for path in (self._folder / "aliases").glob("*") if ".making-" not in path.name):
            if self.resolve(alias) == version:
                raise IndexUnavailable(
                    f"alias {alias!r} points at version {version!r}; point it at another version first"
                )

    def _place(self, version: str) -> Path:
        return self._folder / "versions" / checked_name(version)

    def _beside(self, place: Path) -> Path:
        return place.with_name(f"{place.name}.making-{uuid.uuid4().hex}")

    def _dim(self, version: str) -> int:
        return json.loads((self._place(version) / "version.json").read_text())["dim"]

    def _files(self, version: str) -> tuple[str, ...]:
        return tuple(sorted(path.name for path in self._place(version).glob("*.parquet")))

    def _append(self, version: str, table: pa.Table) -> None:
        """Put the table in place under the next free number."""
        place = self._place(version)
        fresh = self._beside(place / "next")
        pq.write_table(table, fresh)
        number = 1 + int((self._files(version) or ("0.parquet",))[-1].removesuffix(".parquet"))
        while not _link_if_free(fresh, place / f"{number:08d}.parquet"):
            number += 1
        fresh.unlink()

    def _load(self, version: str) -> _Rows:
        """The version's rows; read again only when its files have changed."""
        files = self._files(version)
        known = self._rows.get(version)
        if known is None or known.files != files:
            known = self._rows[version] = self._read(version, files)
        return known

    def _read(self, version: str, files: tuple[str, ...]) -> _Rows:
        dim = self._dim(version)
        row_by_id: dict[str, tuple[IndexedChunk, np.ndarray]] = {}
        for name in files:
            table = pq.read_table(self._place(version) / name)
            if "embedding" not in table.column_names:
                for chunk_id in table["chunk_id"].to_pylist():
                    row_by_id.pop(chunk_id, None)
                continue
            embedding_CD = table["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, dim)
            columns = table.drop_columns(["embedding"]).to_pylist()
            for columns_of_row, embedding_D in zip(columns, embedding_CD, strict=True):
                chunk = IndexedChunk(**columns_of_row | {"crawls": tuple(columns_of_row["crawls"])})
                row_by_id[chunk.chunk_id] = (chunk, embedding_D)
        rows = [row_by_id[chunk_id] for chunk_id in sorted(row_by_id)]
        embedding_CD = np.stack([embedding for _, embedding in rows]) if rows else np.empty((0, dim), dtype=np.float32)
        return _Rows(files, [chunk for chunk, _ in rows], embedding_CD)


def _added(chunks: Sequence[IndexedChunk], embedding_CD: np.ndarray, dim: int) -> pa.Table:
    """The content of a file of chunks to add."""
    return pa.table(
        {
            "chunk_id": pa.array([chunk.chunk_id for chunk in chunks], pa.string()),
            "doc_id": pa.array([chunk.doc_id for chunk in chunks], pa.string()),
            "crawls": pa.array([list(chunk.crawls) for chunk in chunks], pa.list_(pa.string())),
            "modality": pa.array([chunk.modality for chunk in chunks], pa.string()),
            "language": pa.array([chunk.language for chunk in chunks], pa.string()),
            "source": pa.array([chunk.source for chunk in chunks], pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(embedding_CD.ravel(), pa.float32()), dim),
        }
    )


def _link_if_free(fresh: Path, place: Path) -> bool:
    """Whether `place` was free; it now holds `fresh` as well. Linking, unlike renaming, never replaces."""
    try:
        os.link(fresh, place)
    except FileExistsError:
        return False
    return True
