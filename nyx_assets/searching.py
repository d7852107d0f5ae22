"""Search as a user does it: text and pictures in, chunks with their page and pictures out, from the live index."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from nyx_assets.definitions import resources_of
from nyx_assets.query_pictures import QUERY_PICTURES, query_picture_store
from nyx_assets.retrievers import PROMOTED
from resources.embedder_checkpoint import CheckpointEmbedders
from resources.home import Home
from resources.images import PictureLimits, PictureRefused
from resources.settings import Settings
from resources.vector_index import LIVE
from training_kernels.documents import Document, Segment
from training_kernels.errors import DataError


def search_live(
    settings: Settings, home: Home, text: str, images: Sequence[Path], *, top_k: int, where: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The best chunks for a query of pictures and text, best first.

    Raises IncompleteArtifact before the first promotion, IndexUnavailable while another process holds the index file,
    DataError for a picture that cannot be read.
    """
    resources = resources_of(settings, home)
    recipe = resources["recipe"]
    pictures = [_taken(path, recipe.pictures) for path in images]
    query = Document.of(*(Segment(image=digest) for digest in pictures), *([text] if text.strip() else []))
    embedders = CheckpointEmbedders(str(home.root / "backbones"), recipe.backbone, QUERY_PICTURES)
    embedder = embedders.open(PROMOTED.folder(home, embedders))
    with closing(resources["index"]) as index:
        hits = index.search(LIVE, embedder.embed([query], side="query"), top_k=top_k, where=where or None)[0]
    chunks = _chunks(home, [hit.chunk_id for hit in hits])
    return [
        {"rank": rank, "similarity": round(hit.similarity, 4), **chunks[hit.chunk_id]}
        for rank, hit in enumerate(hits, start=1)
    ]


def _taken(path: Path, limits: PictureLimits) -> str:
    """SHA-256 of a query's picture. Raises DataError that names the file."""
    try:
        return query_picture_store().put(path.read_bytes(), limits=limits).digest
    except PictureRefused as refusal:
        raise DataError(f"query picture {path}: {refusal.reason}") from refusal


def _chunks(home: Home, chunk_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Each chunk with its page, by id."""
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
    lines = []
    for hit in results:
        lines.append(
            f"{hit['rank']:>2}. {hit['similarity']:.4f}  {hit['title'] or hit['url']}   [{', '.join(hit['crawls'])}, chunk {hit['position']}]"
        )
        text = " ".join(hit["text"].split())
        lines.append(f"      {text[:280]}{'…' if len(text) > 280 else ''}")
        lines += [f"      picture {path}" for path in hit["images"]]
        lines.append(f"      {hit['url']}   {hit['chunk_id']}")
    return "\n".join(lines) if lines else "nothing found"
