"""Embedding a partition's chunks with captions in the places of their pictures, each text only once.

Shape letters: C chunks, U different texts, D width.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from nyx_assets.captioned import caption_embeddings_of, embedder_version, embedding_retriever, in_text, text_digest
from nyx_assets.records import caption_embeddings_schema
from nyx_assets.stored_embeddings import believed, embedded_once, embeddings_of_untrained, embeddings_of_version
from resources.embedder import Embedder
from resources.home import Home
from training_kernels.documents import Document

ENDPOINT = "endpoint:"


def known_captioned(
    home: Home,
    partition: str | None,
    chunk_by_id: Mapping[str, Document],
    captions: Mapping[str, str],
    embedder: Embedder,
    name: str,
) -> dict[str, np.ndarray]:
    """Embeddings, [D] by digest of the text, that the embedder of this name made before of what these chunks say now.

    They stand in the partition's present table; and in the retriever's own, of chunks that show no picture. What could
    have changed under its name is believed after a few were embedded again. What an endpoint embeds is paid for under
    its model's name, so nothing is asked twice.
    """
    document_by_digest = {text_digest(one): one for one in (in_text(chunk, captions) for chunk in chunk_by_id.values())}
    version = embedder_version(home, name)
    stored = caption_embeddings_of(home, partition, version, embedder.dim)
    known: Mapping[str, np.ndarray] = {digest: row for digest, row in stored.items() if digest in document_by_digest}
    if version == name and not name.startswith(ENDPOINT):
        known = believed(known, embedder, document_by_digest)
    retriever = embedding_retriever(name)
    if retriever is None:
        return dict(known)
    without_picture = {chunk_id: chunk for chunk_id, chunk in chunk_by_id.items() if not chunk.images}
    if retriever.checkpoint is None:
        by_chunk = embeddings_of_untrained(home, embedder, without_picture, partition=partition)
    else:
        made_with = home.artifacts.require(retriever.checkpoint).commit.data_version
        by_chunk = embeddings_of_version(home, made_with, partition, embedder.dim)
    return dict(known) | {
        text_digest(chunk): by_chunk[chunk_id]
        for chunk_id, chunk in without_picture.items()
        if chunk_id in by_chunk and in_text(chunk, captions) == chunk
    }


def captioned_rows(
    chunk_by_id: Mapping[str, Document],
    captions: Mapping[str, str],
    embedder: Embedder,
    known: Mapping[str, np.ndarray],
    version: str,
) -> tuple[pa.Table, int]:
    """Rows of caption_embeddings for these chunks, and how many different texts of theirs were known already."""
    documents = [in_text(chunk, captions) for chunk in chunk_by_id.values()]
    digests = [text_digest(document) for document in documents]
    document_by_digest = dict(zip(digests, documents, strict=True))
    different: Sequence[str] = list(document_by_digest)
    embedding_UD, num_reused = embedded_once(different, lambda row: document_by_digest[different[row]], embedder, known)
    row_by_digest = dict(zip(different, range(len(different)), strict=True))
    embedding_CD = embedding_UD[[row_by_digest[digest] for digest in digests]]
    columns = [
        pa.array(list(chunk_by_id), pa.string()),
        pa.array(digests, pa.string()),
        pa.array([version] * len(digests), pa.string()),
        pa.FixedSizeListArray.from_arrays(pa.array(embedding_CD.ravel(), pa.float32()), embedder.dim),
    ]
    return pa.Table.from_arrays(columns, schema=caption_embeddings_schema(embedder.dim)), num_reused
