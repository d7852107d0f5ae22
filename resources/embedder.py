"""The embedder seam: documents in, unit-norm embeddings out, by a checkpoint of ours or by somebody else's model."""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from training_kernels.documents import Document

Side = Literal["query", "candidate"]


class Embedder(Protocol):
    """An opened checkpoint, bare backbone, or model of somebody else."""

    @property
    def dim(self) -> int:
        """Full width of an embedding."""
        ...

    @property
    def dims(self) -> tuple[int, ...]:
        """Matryoshka dims, widest first."""
        ...

    @property
    def reads_pictures(self) -> bool:
        """False if only a document's texts are embedded; one without text must not be handed in then."""
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

    def release(self) -> None:
        """Gives back the device's memory that opened embedders hold; before a training that needs all of it."""
        ...
