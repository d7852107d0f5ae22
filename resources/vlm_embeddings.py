"""Embeddings of a server as paid replies: one reply a call of up to 64 texts, found again by each text.

    <home>/vlm/replies/…                                       the reply: its text holds the embeddings
    <home>/vlm/embeddings/<model>/<request digest>.json        SHA-256 of the texts of that call, in order

So embeddings have what every call has: cache, caps, journal, ledger, courier. The list of a call is written before its
reply is kept, and a list without its reply counts for nothing.

Shape letters: N texts, D width.
"""

import base64
import fcntl
import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from resources.endpoint_client import Endpoint, EndpointClient, Fault
from resources.stores import files_below, open_store, put_bytes
from resources.vlm import Message, Reply, Request, Sampling
from resources.vlm_budget import Spending
from resources.vlm_courier_notes import wait_for_finishing
from resources.vlm_folders import couriers_in
from resources.vlm_replies import FAR_AT_ONCE
from training_kernels.documents import Document
from training_kernels.errors import DataError

PROMPT_VERSION = "embeddings"
NOTHING_DRAWN = Sampling(temperature=0.0, max_output_tokens=0, seed=0)


def text_digest(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def request_of(texts: Sequence[str]) -> Request:
    """The request for the embeddings of these texts."""
    return Request(
        messages=(Message("user", Document.of(*texts)),), sampling=NOTHING_DRAWN, prompt_version=PROMPT_VERSION
    )


def texts_of(request: Request) -> list[str]:
    """The texts whose embeddings a request is for."""
    return [segment.text or "" for segment in request.messages[0].content.segments]


def embeddings_of(reply: Reply) -> np.ndarray:
    """float32 [N, D], unit norm, in the order of the request's texts."""
    said = json.loads(reply.text)
    return np.frombuffer(base64.b64decode(said["float32"]), dtype="<f4").reshape(-1, said["width"])


class TextLists:
    """Which call of a model embedded which texts; kept beside the replies, so that hosts share both."""

    def __init__(self, vlm_root: str | Path, model: str, *, store: str = "") -> None:
        name = hashlib.sha256(model.encode()).hexdigest()[:16]
        self._root = Path(vlm_root)
        self._folder = self._root / "embeddings" / name
        self._fs, self._base = open_store(f"{store or self._root}/embeddings/{name}")
        self._known: dict[str, list[str]] = {}
        self._calls_by_text: dict[str, list[str]] = {}

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Alone among the processes of this machine that pay for embeddings of this model, what a dead one asked kept.

        Two that embed the same texts at once would ask for them in different calls, and both would pay.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            wait_for_finishing(couriers_in(self._root))
            yield

    def write(self, request_digest: str, texts: Sequence[str]) -> None:
        """Complete in its place, or not there."""
        content = json.dumps([text_digest(text) for text in texts])
        put_bytes(self._fs, f"{self._base}/{request_digest}.json", content.encode())

    def read(self) -> dict[str, list[str]]:
        """Digests of the texts, in order, by the digest of their request: all that are kept now."""
        paths = [path for path in sorted(files_below(self._fs, self._base)) if path.endswith(".json")]
        path_by_digest = {path.rpartition("/")[2].removesuffix(".json"): path for path in paths}
        if self._known.keys() - path_by_digest.keys():  # some were removed
            self._known, self._calls_by_text = {}, {}
        new = [digest for digest in path_by_digest if digest not in self._known]
        with ThreadPoolExecutor(FAR_AT_ONCE) as pool:
            contents = pool.map(self._fs.cat_file, [path_by_digest[digest] for digest in new])
            for digest, content in zip(new, contents, strict=True):
                self.note(digest, json.loads(content))
        return self._known

    def knows(self, wanted: Collection[str]) -> bool:
        """Whether each text of these digests is in a call that was known at the last reading, or noted since."""
        return all(digest in self._calls_by_text for digest in wanted)

    def calls_with(self, wanted: Collection[str]) -> dict[str, list[str]]:
        """Of the calls known here, those with a text of these digests: digests of all their texts, by that of the request.

        Reads nothing: with thousands of calls, to read is many requests to a store.
        """
        calls = {request for digest in wanted for request in self._calls_by_text.get(digest, ())}
        return {request: self._known[request] for request in sorted(calls)}

    def note(self, request_digest: str, text_digests: Sequence[str]) -> None:
        """Know of a call."""
        if request_digest not in self._known:
            self._known[request_digest] = list(text_digests)
            for digest in text_digests:
                self._calls_by_text.setdefault(digest, []).append(request_digest)


class EmbeddingsVLM:
    """The /v1/embeddings of an OpenAI-compatible server; a request's texts come back as embeddings."""

    is_stand_in = False

    def __init__(self, endpoint: Endpoint, *, api_key: str, lists: TextLists) -> None:
        self.endpoint = endpoint
        self._client = EndpointClient(endpoint, api_key=api_key)
        self._lists = lists

    @property
    def model(self) -> str:
        return self.endpoint.model

    @property
    def max_in_flight(self) -> int:
        return self.endpoint.max_in_flight

    def bound(self, request: Request) -> Spending:
        """The most that one call may take: a token a byte and two marks around each text."""
        num_tokens = sum(len(text.encode("utf-8", "surrogatepass")) + 2 for text in texts_of(request))
        return Spending(calls=1, tokens=num_tokens, usd=self.endpoint.cost_usd(num_tokens, 0))

    def stop_retrying(self) -> None:
        """From now on an attempt that fails is a refusal, and pauses end at once."""
        self._client.stop_retrying()

    async def complete(self, request: Request) -> Reply:
        """Raises VLMError when the server refuses after retries, DataError for an answer that is no set of embeddings."""
        digest, texts = request.digest(self.model), texts_of(request)
        body = {"model": self.model, "input": texts, "encoding_format": "float"}
        answer, seconds = await self._client.post("/embeddings", json.dumps(body).encode(), _check, digest=digest)
        row_ND = self._rows(answer, len(texts))
        self._lists.write(digest, texts)
        num_tokens = (answer.get("usage") or {}).get("prompt_tokens") or 0
        said = {"width": row_ND.shape[1], "float32": base64.b64encode(row_ND.astype("<f4").tobytes()).decode()}
        return Reply(
            text=json.dumps(said),
            model=self.model,
            request_digest=digest,
            input_tokens=num_tokens,
            output_tokens=0,
            cost_usd=self.endpoint.cost_usd(num_tokens, 0),
            latency_seconds=seconds,
            finish_reason="stop",
            is_stand_in=False,
        )

    def _rows(self, answer: dict[str, Any], number: int) -> np.ndarray:
        """float32 [N, D], unit norm, in the order of the texts, whatever the order of the answer."""
        row_by_place = {item["index"]: item["embedding"] for item in answer["data"]}
        if sorted(row_by_place) != list(range(number)) or len({len(row) for row in row_by_place.values()}) != 1:
            raise DataError(
                f"{self.model} answered {number} texts with embeddings of places {sorted(row_by_place)[:5]}…, not one of "
                "equal width for each; is it an embedding model?"
            )
        row_ND = np.array([row_by_place[place] for place in range(number)], dtype=np.float32)
        norm_N1 = np.linalg.norm(row_ND, axis=1, keepdims=True)
        if not np.isfinite(norm_N1).all() or not (norm_N1 > 0).all():
            raise DataError(f"{self.model} answered with an embedding of norm zero or not a number")
        return row_ND / norm_N1


def _check(answer: Any) -> None:
    """Raises Fault for JSON without numbered embeddings."""
    try:
        _ = [(item["index"], len(item["embedding"])) for item in answer["data"]]
    except (KeyError, TypeError):
        raise Fault(f"status 200 without embeddings: {str(answer)[:80]!r}", is_transient=True) from None
