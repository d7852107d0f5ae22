"""An embedder that embeds each document once, for suites whose queries bring overlapping candidates."""

from collections.abc import Mapping, Sequence

import numpy as np

from nyx_assets.captioned import text_digest
from resources.embedder import Embedder, Side
from training_kernels.documents import Document


class RememberingEmbedder:
    """Keeps what an embedder made in memory, by side and content.

    Args:
        candidates: what it has made before, by digest of the document.
    """

    def __init__(self, embedder: Embedder, *, candidates: Mapping[str, np.ndarray] | None = None) -> None:
        self._embedder = embedder
        self._known: dict[tuple[Side, str], np.ndarray] = {
            ("candidate", digest): row for digest, row in (candidates or {}).items()
        }

    @property
    def dim(self) -> int:
        return self._embedder.dim

    @property
    def dims(self) -> tuple[int, ...]:
        return self._embedder.dims

    @property
    def reads_pictures(self) -> bool:
        return self._embedder.reads_pictures

    def embed(self, documents: Sequence[Document], *, side: Side) -> np.ndarray:
        keys = [(side, text_digest(document)) for document in documents]
        new = {key: document for key, document in zip(keys, documents, strict=True) if key not in self._known}
        if new:
            made = self._embedder.embed(list(new.values()), side=side)
            self._known |= dict(zip(new, made, strict=True))
        return np.stack([self._known[key] for key in keys])
