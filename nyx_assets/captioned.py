"""Documents as retrievers see them that read texts alone: captions in the places of pictures; and who embeds them so."""

import hashlib
from collections.abc import Mapping

import numpy as np

from nyx_assets.miners import ForeignEmbedders
from nyx_assets.records import document_key, embedding_matrix
from nyx_assets.retrievers import DENSE_RETRIEVERS, PROMOTED, RetrieverSpec, dense_retriever
from nyx_assets.words_only import WordsOnlyEmbedder
from resources.embedder import Embedder, Embedders
from resources.home import Home
from training_kernels.documents import Document, Segment

CAPTION_EMBEDDINGS = "caption_embeddings"


def caption_by_image(home: Home, partition: str | None = None) -> dict[str, str]:
    """The captions of a crawl, or of all, by SHA-256 of the picture."""
    rows = home.tables.read("chunk_captions", partition=partition, columns=["image", "caption"]).to_pylist()
    return {row["image"]: row["caption"] for row in rows if row["caption"]}


def in_text(document: Document, caption_by_image: Mapping[str, str]) -> Document:
    """The document with captions in the places of its pictures; an empty text where nothing is left to read."""
    segments = (
        segment if segment.image is None else Segment(text=caption_by_image.get(segment.image, ""))
        for segment in document.segments
    )
    read = tuple(segment for segment in segments if segment.text and segment.text.strip())
    return Document(read or (Segment(text=""),))


def text_digest(document: Document) -> str:
    """What tells one captioned document from another: two with equal texts in equal segments are one."""
    return hashlib.sha256(document_key(document).encode("utf-8", "surrogatepass")).hexdigest()


WITHOUT_TEXT = text_digest(in_text(Document.of(""), {}))


def open_text_embedder(
    home: Home,
    embedders: Embedders,
    foreign_embedders: ForeignEmbedders,
    name: str,
    *,
    asset: str,
    partition: str | None = None,
) -> Embedder:
    """The embedder of CaptionRecipe.embedder; what it asks a server is entered under this asset and partition.

    Raises ConfigError for one that is none, IncompleteArtifact for a checkpoint that was not made.
    """
    scheme, _, model = name.partition(":")
    if scheme in foreign_embedders and model:
        return WordsOnlyEmbedder(foreign_embedders[scheme](model, asset=asset, partition=partition))
    return WordsOnlyEmbedder(embedders.open(dense_retriever(name).folder(home, embedders)))


def embedder_version(home: Home, name: str) -> str:
    """The embedder as it is noted beside what it made: with the version of its checkpoint, where it has one."""
    for retriever in DENSE_RETRIEVERS:
        if retriever.name == name and retriever.checkpoint is not None:
            return f"{name}/{home.artifacts.require(retriever.checkpoint).commit.data_version}"
    return name


def embedding_retriever(name: str) -> RetrieverSpec | None:
    """The retriever of ours that reads the captions, whose own embeddings of chunks are an input then.

    None for somebody else's model, and for the one that is live: what goes live is decided by scores that these
    embeddings are an input of.
    """
    return next((one for one in DENSE_RETRIEVERS if one.name == name and one is not PROMOTED), None)


def caption_embeddings(home: Home, embedder: str, dim: int) -> dict[str, np.ndarray]:
    """Embeddings of all crawls' captioned chunks, [D] by digest of the text, by this version of an embedder."""
    known: dict[str, np.ndarray] = {}
    for partition in home.tables.partitions(CAPTION_EMBEDDINGS):
        known |= caption_embeddings_of(home, partition, embedder, dim)
    return known


def caption_digests(home: Home, partition: str | None, embedder: str) -> set[str]:
    """Digests of the texts of a crawl's captioned chunks that are embedded by this version of an embedder."""
    if home.commit(CAPTION_EMBEDDINGS, partition) is None:
        return set()
    table = home.tables.read(CAPTION_EMBEDDINGS, partition=partition, columns=["text_digest", "embedder"])
    return {row["text_digest"] for row in table.to_pylist() if row["embedder"] == embedder}


def caption_embeddings_of(home: Home, partition: str | None, embedder: str, dim: int) -> dict[str, np.ndarray]:
    """The same of one crawl; none of a table that is quarantined, missing, or by another embedder."""
    commit = home.commit(CAPTION_EMBEDDINGS, partition)
    if commit is None or home.tables.quarantine_reason(CAPTION_EMBEDDINGS, partition) is not None:
        return {}
    table = home.tables.read(CAPTION_EMBEDDINGS, partition=partition)
    is_ours = set(table["embedder"].unique().to_pylist()) == {embedder}
    if not is_ours or table.schema.field("embedding").type.list_size != dim:
        return {}
    return dict(zip(table["text_digest"].to_pylist(), embedding_matrix(table), strict=True))
