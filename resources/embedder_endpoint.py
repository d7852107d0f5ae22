"""Embeddings from any server with the /v1/embeddings of OpenAI's API: vLLM, TEI, Infinity, hosted ones.

Texts only: the API has no agreed place for pictures. A text is embedded once for a model in a home, whoever asks: see
vlm_embeddings.py. Two processes that want the same text at once pay for it once: the second waits and looks again.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np

from resources.embedder import Side
from resources.home import Home
from resources.settings import Settings
from resources.vlm import VLM, Reply, complete_all
from resources.vlm_courier import CourierVLM
from resources.vlm_courier_wire import Order
from resources.vlm_embeddings import TextLists, embeddings_of, request_of, text_digest
from resources.vlm_folders import ledger_in, replies_in
from resources.vlm_ledger import MeteredVLM
from resources.vlm_replay import ReplayVLM
from resources.vlm_replies import FAR_AT_ONCE, ReplyFolder
from training_kernels.documents import Document
from training_kernels.errors import ConfigError, DataError

TEXTS_PER_CALL = 64
"""Choice: some 13,000 tokens of 200-token chunks, below the limits of hosted servers, and enough to fill a GPU."""


class EndpointEmbedder:
    """One model behind one endpoint, asked only for texts that it has not embedded yet.

    Shape letters: N texts, D width.
    """

    reads_pictures = False

    def __init__(self, vlm: VLM, replies: ReplyFolder, lists: TextLists) -> None:
        self._vlm = vlm
        self._replies = replies
        self._lists = lists

    @classmethod
    def of(cls, settings: Settings, home: Home, *, asset: str, partition: str | None = None) -> "EndpointEmbedder":
        """The server of the settings; its calls are entered in the ledger under this asset and partition.

        Raises ConfigError where the settings name none.
        """
        return EmbeddingsServer(settings, home).for_step(asset, partition)

    @cached_property
    def dim(self) -> int:
        return self._embeddings(["a"]).shape[1]

    @property
    def dims(self) -> tuple[int, ...]:
        return (self.dim,)

    def embed(self, documents: Sequence[Document], *, side: Side) -> np.ndarray:
        """Both sides are embedded alike: the API knows no query instruction.

        Raises VLMError when the server refuses, BudgetReached when a cap leaves no room for a call, DataError for a
        document without text or an answer that is no set of embeddings.
        """
        texts = [document.text for document in documents]
        if (empty := next((place for place, text in enumerate(texts) if not text.strip()), None)) is not None:
            raise DataError(f"document {empty} has no text, and {self._vlm.model} reads nothing else; leave it out")
        return self._embeddings(texts) if texts else np.empty((0, self.dim), dtype=np.float32)

    def _embeddings(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [N, D], unit norm, in the order of the texts."""
        digests = [text_digest(text) for text in texts]
        if not self._lists.knows(digests):
            self._lists.read()
        row_by_text = self._kept(set(digests))
        if len(row_by_text) < len(set(digests)):
            with self._lists.alone():
                row_by_text = self._paid(dict(zip(digests, texts, strict=True)))
        rows = [row_by_text[digest] for digest in digests]
        if len(widths := {len(row) for row in rows}) > 1:
            raise DataError(f"{self._vlm.model} answered with embeddings of different widths: {sorted(widths)}")
        return np.stack(rows)

    def _paid(self, text_by_digest: Mapping[str, str]) -> dict[str, np.ndarray]:
        """Rows of all texts, asked for where no process has asked before."""
        self._lists.read()  # what others paid for until now
        row_by_text = self._kept(set(text_by_digest))
        missing = [(digest, text) for digest, text in text_by_digest.items() if digest not in row_by_text]
        calls = [missing[start : start + TEXTS_PER_CALL] for start in range(0, len(missing), TEXTS_PER_CALL)]
        asked = (request_of([text for _, text in call]) for call in calls)
        for call, reply in zip(calls, complete_all(self._vlm, asked), strict=True):
            if not isinstance(reply, Reply):
                raise reply
            row_by_text |= zip((digest for digest, _ in call), embeddings_of(reply), strict=True)
            self._lists.note(reply.request_digest, [digest for digest, _ in call])
        return row_by_text

    def _kept(self, wanted: set[str]) -> dict[str, np.ndarray]:
        """Rows of the texts that were paid for before, in whatever call that is known here, by the texts' digests."""
        found: dict[str, np.ndarray] = {}
        for request_digest, text_digests in self._lists.calls_with(wanted).items():
            if (reply := self._replies.read(request_digest)) is not None:
                rows = zip(text_digests, embeddings_of(reply), strict=True)
                found |= {digest: row for digest, row in rows if digest in wanted}
        return found


class EmbeddingsServer:
    """The embeddings server of the settings, with one process that makes its calls, whoever asks. Raises ConfigError for none."""

    def __init__(self, settings: Settings, home: Home) -> None:
        endpoint, root = settings.embedder, str(home.root / "vlm")
        if endpoint is None:
            raise ConfigError("embeddings over HTTP need NYX_EMBEDDER_BASE_URL and NYX_EMBEDDER_MODEL, neither is set")
        self._endpoint, self._root = endpoint, root
        self._replies = replies_in(f"{home.store}/vlm")
        self._lists = TextLists(root, endpoint.model, store=f"{home.store}/vlm")
        self._courier = None
        if not settings.is_replay:
            order = Order(
                service="embeddings",
                endpoint=endpoint,
                api_key=settings.embedder_api_key,
                caps=settings.caps,
                images_root=home.images.root,
                vlm_root=root,
                replies_root=f"{home.store}/vlm",
            )
            self._courier = CourierVLM(order)

    def for_step(self, asset: str, partition: str | None) -> EndpointEmbedder:
        """Its embedder; what is asked is entered in the ledger under this asset and partition."""
        vlm: VLM
        if self._courier is not None:
            vlm = self._courier.for_step(asset, partition)
        else:
            kept = ReplayVLM(self._endpoint.model, self._replies, max_in_flight=self._endpoint.max_in_flight)
            vlm = MeteredVLM(kept, ledger_in(self._root), asset=asset, partition=partition)
        return EndpointEmbedder(vlm, self._replies, self._lists)


def texts_embedded(settings: Settings, home: Home) -> frozenset[str]:
    """Digests of the texts whose embedding by the server of the settings is kept; none without a server."""
    if settings.embedder is None:
        return frozenset()
    replies = replies_in(f"{home.store}/vlm")
    lists = TextLists(home.root / "vlm", settings.embedder.model, store=f"{home.store}/vlm").read()
    with ThreadPoolExecutor(FAR_AT_ONCE) as pool:
        are_kept = list(pool.map(replies.has, lists))
    return frozenset(text for texts, is_kept in zip(lists.values(), are_kept, strict=True) if is_kept for text in texts)
