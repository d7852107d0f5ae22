"""Embeddings from any model of the library sentence-transformers, an optional extra: pip install 'nyx[bench]'.

Texts only: the library hands pictures to processors that need torchvision, which this project does without.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from resources.embedder import Side
from training_kernels.documents import Document
from training_kernels.errors import ConfigError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

TEXTS_PER_BATCH = 32


class SentenceTransformersEmbedder:
    """One opened model, with the prompts for queries and documents that its own configuration names."""

    reads_pictures = False

    def __init__(self, model: "SentenceTransformer") -> None:
        self._model = model

    @classmethod
    def load(cls, name: str) -> "SentenceTransformersEmbedder":
        """The model of a folder or hub name. Raises ConfigError if the library is not installed or the name unknown."""
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise ConfigError(
                f"the miner sentence-transformers:{name} needs the library sentence-transformers; install nyx[bench] "
                "with -c constraints.txt"
            ) from error
        try:
            return cls(SentenceTransformer(name))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"sentence-transformers cannot load {name!r}: {str(error)[:300]}; give a folder with modules.json, or a "
                "hub name where the hub can be reached"
            ) from error

    @cached_property
    def dim(self) -> int:
        return int(self._model.encode_document(["a"], show_progress_bar=False).shape[1])

    @property
    def dims(self) -> tuple[int, ...]:
        return (self.dim,)

    def embed(self, documents: Sequence[Document], *, side: Side) -> np.ndarray:
        if not documents:
            return np.empty((0, self.dim), dtype=np.float32)
        encode = self._model.encode_query if side == "query" else self._model.encode_document
        embedding_BD = encode(
            [document.text for document in documents],
            batch_size=TEXTS_PER_BATCH,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return embedding_BD.astype(np.float32)
