"""Search as a user does it: text and pictures in, chunks with their page and pictures out, from the live index."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nyx_assets.retrievers import PROMOTED
from resources.embedder import Embedders
from resources.home import Home
from resources.images import ImageStore, PictureLimits, PictureRefused
from resources.vector_index import LIVE, VectorIndex
from training_kernels.documents import Document, Segment
from training_kernels.errors import ConfigError, DataError, IncompleteArtifact, IndexUnavailable

SHOWN_CHARACTERS = 280


def query_document(text: str, pictures: Sequence[Path], store: ImageStore, *, limits: PictureLimits) -> Document:
    """The query of some picture files and a text, pictures first; the pictures are taken into the store.

    Raises DataError that names the file for a picture that cannot be read.
    """
    segments = [Segment(image=_taken(path, store, limits)) for path in pictures]
    return Document.of(*segments, *([text] if text.strip() else []))


def _taken(path: Path, store: ImageStore, limits: PictureLimits) -> str:
    try:
        return store.put(path.read_bytes(), limits=limits).digest
    except PictureRefused as refusal:
        raise DataError(f"query picture {path}: {refusal.reason}; give a PNG, JPEG, GIF or WebP file") from refusal


def search_live(
    home: Home, index: VectorIndex, embedders: Embedders, query: Document, *, top_k: int, where: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The best chunks for a query, best first, each with its page and the paths of its pictures.

    Raises IncompleteArtifact before the first index, ConfigError for a crawl that is not there, IndexUnavailable while
    another process holds the index file or is about to replace it.
    """
    _require_searchable(home, where)
    embedder = embedders.open(PROMOTED.folder(home, embedders))
    hits = index.search(LIVE, embedder.embed([query], side="query"), top_k=top_k, where=where or None)[0]
    chunk_by_id = _chunks(home, [hit.chunk_id for hit in hits])
    return [
        {"rank": rank, "similarity": round(hit.similarity, 4), **chunk_by_id[hit.chunk_id]}
        for rank, hit in enumerate(hits, start=1)
    ]


def _require_searchable(home: Home, where: Mapping[str, str]) -> None:
    if home.commit("final_index", None) is None:
        raise IncompleteArtifact(f"{home.root} has no index to search yet: make one with `nyx run`")
    crawls = home.tables.partitions("chunked_corpus")
    if "crawl" in where and where["crawl"] not in crawls:
        raise ConfigError(f"crawl {where['crawl']!r} is not in {home.root}; it has {', '.join(crawls)}")
    [indexed_with] = [row["checkpoint"] for row in home.tables.read("final_index").to_pylist() if row["is_live"]]
    promoted = home.artifacts.require("promoted_checkpoint").commit.data_version
    if promoted != indexed_with:
        raise IndexUnavailable(
            f"the index holds embeddings of checkpoint {indexed_with}, promoted since is {promoted}: a run is replacing it, "
            "or stopped before it did; search again after `nyx run`"
        )


def _chunks(home: Home, chunk_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Each chunk with its page, by id; a chunk of several crawls names them all."""
    if not chunk_ids:
        return {}
    listed = ", ".join(f"'{chunk_id}'" for chunk_id in chunk_ids)
    rows = home.tables.query(
        "SELECT chunk_id, chunk.crawl, doc_id, position, url, title, chunk.segments FROM chunked_corpus AS chunk "
        f"JOIN crawl_documents AS page USING (doc_id, crawl) WHERE chunk_id IN ({listed}) ORDER BY chunk.crawl"
    ).to_pylist()
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        document = Document.from_rows(row["segments"])
        found.setdefault(
            row["chunk_id"],
            {
                "chunk_id": row["chunk_id"],
                "doc_id": row["doc_id"],
                "crawls": [],
                "url": row["url"],
                "title": row["title"],
                "position": row["position"],
                "text": document.text,
                "images": [home.images.path(digest) for digest in document.images],
            },
        )["crawls"].append(row["crawl"])
    return found


def search_text(results: Sequence[dict[str, Any]]) -> str:
    """Hits for a person."""
    return "\n".join(line for hit in results for line in _hit_lines(hit)) or "nothing found"


def _hit_lines(hit: dict[str, Any]) -> list[str]:
    text = " ".join(hit["text"].split())
    if len(text) > SHOWN_CHARACTERS:
        text = f"{text[: SHOWN_CHARACTERS - 1]}…"
    where = f"{', '.join(hit['crawls'])}, chunk {hit['position']}"
    return [
        f"{hit['rank']:>2}. {hit['similarity']:.4f}  {hit['title'] or hit['url']}   [{where}]",
        *([f"      {text}"] if text else []),
        *(f"      picture {path}" for path in hit["images"]),
        f"      {hit['url']}   {hit['chunk_id']}",
    ]
