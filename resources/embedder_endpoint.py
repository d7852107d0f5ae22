"""Embeddings from any server with the /v1/embeddings of OpenAI's API: vLLM, TEI, Infinity, hosted ones.

Texts only: the API has no agreed place for pictures.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from resources.embedder import Side
from resources.vlm_openai import Endpoint
from training_kernels.documents import Document
from training_kernels.errors import DataError, VLMError

if TYPE_CHECKING:
    from openai import OpenAI

TEXTS_PER_CALL = 64
"""Choice: some 13,000 tokens of 200-token chunks, below the limits of hosted servers, and enough to fill a GPU."""


class EndpointEmbedder:
    """One model behind one endpoint. Rate limits and server errors are tried again by the client, as the endpoint says.

    Shape letters: N texts, D width.
    """

    reads_pictures = False

    def __init__(self, endpoint: Endpoint, *, api_key: str) -> None:
        self.endpoint = endpoint
        self._api_key = api_key

    @cached_property
    def _client(self) -> "OpenAI":
        from openai import OpenAI

        return OpenAI(
            base_url=self.endpoint.base_url,
            api_key=self._api_key,
            timeout=self.endpoint.timeout_seconds,
            max_retries=self.endpoint.max_retries,
        )

    @cached_property
    def dim(self) -> int:
        return self._call(["a"]).shape[1]

    @property
    def dims(self) -> tuple[int, ...]:
        return (self.dim,)

    def embed(self, documents: Sequence[Document], *, side: Side) -> np.ndarray:
        """Both sides are embedded alike: the API knows no query instruction.

        Raises VLMError when the server refuses, DataError for a document without text or an answer that is no set of
        embeddings.
        """
        texts = [document.text for document in documents]
        if (empty := next((place for place, text in enumerate(texts) if not text.strip()), None)) is not None:
            raise DataError(f"document {empty} has no text, and {self.endpoint.model} reads nothing else; leave it out")
        calls = [texts[start : start + TEXTS_PER_CALL] for start in range(0, len(texts), TEXTS_PER_CALL)]
        with ThreadPoolExecutor(self.endpoint.max_in_flight) as workers:
            parts = list(workers.map(self._call, calls))
        if len(widths := {part.shape[1] for part in parts}) > 1:
            raise DataError(f"{self.endpoint.model} answered with embeddings of different widths: {sorted(widths)}")
        return np.concatenate(parts) if parts else np.empty((0, self.dim), dtype=np.float32)

    def _call(self, texts: list[str]) -> np.ndarray:
        """float32 [N, D], unit norm, in the order of the texts, whatever the order of the answer."""
        from openai import OpenAIError

        try:
            answer = self._client.embeddings.create(model=self.endpoint.model, input=texts, encoding_format="float")
        except OpenAIError as error:
            raise VLMError(
                f"{self.endpoint.model} at {self.endpoint.base_url} did not embed {len(texts)} texts after "
                f"{self.endpoint.max_retries + 1} attempts: {str(error)[:300]}; check the server, its key and its limits"
            ) from error
        by_place = {item.index: item.embedding for item in answer.data}
        if sorted(by_place) != list(range(len(texts))) or len({len(row) for row in by_place.values()}) != 1:
            raise DataError(
                f"{self.endpoint.model} answered {len(texts)} texts with embeddings of places {sorted(by_place)[:5]}…, not "
                "one of equal width for each; is it an embedding model?"
            )
        row_ND = np.array([by_place[place] for place in range(len(texts))], dtype=np.float32)
        norm_N1 = np.linalg.norm(row_ND, axis=1, keepdims=True)
        if not np.isfinite(norm_N1).all() or not (norm_N1 > 0).all():
            raise DataError(f"{self.endpoint.model} answered with an embedding of norm zero or not a number")
        return row_ND / norm_N1
