"""The embedder seam: documents in, unit-norm embeddings out, by the checkpoint that a retriever's name stands for."""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from training_kernels.documents import Document

Side = Literal["query", "candidate"]


class Embedder(Protocol):
    """An opened checkpoint (or bare backbone)."""

    @property
    def dim(self) -> int:
        """Full width of an embedding."""
        ...

    @property
    def dims(self) -> tuple[int, ...]:
        """Matryoshka dims, widest first."""
        ...

    def embed(self, documents: Sequence[Document], *, side: Side) -> np.ndarray:
        """float32 [len(documents), dim], unit norm, in the order given."""
        ...


class Embedders(Protocol):
    """Opens embedders; the resource that assets ask for."""

    def untrained(self) -> str:
        """Folder of the backbone as it was before any training; made or fetched on first use."""
        ...

    def open(self, folder: str) -> Embedder:
        """The embedder of a checkpoint folder or backbone folder. Raises IncompleteArtifact without its manifest."""
        ...
