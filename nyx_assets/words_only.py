"""A text embedder as a baseline on suites with pictures: what has no text is similar to nothing."""

from collections.abc import Sequence

import numpy as np

from resources.embedder import Embedder, Side
from training_kernels.documents import Document


class WordsOnlyEmbedder:
    """Embeds the texts of documents; a document without text gets a vector of zeros, which has cosine 0 with all."""

    reads_pictures = True

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    @property
    def dim(self) -> int:
        return self._embedder.dim

    @property
    def dims(self) -> tuple[int, ...]:
        return self._embedder.dims

    def embed(self, documents: Sequence[Document], *, side: Side) -> np.ndarray:
        embedding_CD = np.zeros((len(documents), self.dim), dtype=np.float32)
        rows = [row for row, document in enumerate(documents) if document.text.strip()]
        if rows:
            embedding_CD[rows] = self._embedder.embed([documents[row] for row in rows], side=side)
        return embedding_CD
