"""What a worker and its courier say to each other, a JSON line each, and the order that a courier starts with."""

import json
import socket
from dataclasses import asdict, dataclass
from typing import Any, Literal

from resources.endpoint_client import Endpoint
from resources.vlm import Message, Reply, Request, Sampling
from resources.vlm_budget import Caps
from training_kernels import errors
from training_kernels.documents import Document
from training_kernels.errors import NyxError

MAX_LINE_BYTES = 2**28
"""Choice: a request holds texts and names of pictures; no model reads as much as this."""
LENGTH_BYTES = 8

Service = Literal["chat", "embeddings"]
"""What is asked of the endpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Everything that a courier needs to know before its first call."""

    service: Service
    endpoint: Endpoint
    api_key: str
    caps: Caps
    images_root: str
    vlm_root: str
    """This machine's folder of journals, ledger and couriers."""
    replies_root: str
    """The folder or URL of the folder above the replies; that of the others unless hosts share the home."""

    def __repr__(self) -> str:
        return (
            f"Order({self.service} of {self.endpoint.model!r} at {self.endpoint.base_url!r}, kept in {self.vlm_root!r})"
        )


def send_order(control: socket.socket, order: Order, *, worker: int) -> None:
    """Over the control socket, once. The key goes this way because arguments can be read by anybody on the machine."""
    content = json.dumps(asdict(order) | {"worker": worker}).encode()
    control.sendall(len(content).to_bytes(LENGTH_BYTES, "big") + content)


def receive_order(control: socket.socket) -> tuple[Order, int]:
    """The order, and the process id of the worker. Raises EOFError where the worker has gone before it gave one."""
    content = json.loads(_exactly(control, int.from_bytes(_exactly(control, LENGTH_BYTES), "big")))
    worker = content.pop("worker")
    parts = {"endpoint": Endpoint(**content["endpoint"]), "caps": Caps(**content["caps"])}
    return Order(**(content | parts)), worker


def _exactly(control: socket.socket, num_bytes: int) -> bytes:
    content = b""
    while len(content) < num_bytes:
        part = control.recv(num_bytes - len(content))
        if not part:
            raise EOFError("the worker ended before it gave its order")
        content += part
    return content


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, numbered by its worker, and the asset and partition that it is entered under."""

    number: int
    asset: str
    partition: str | None
    request: Request

    def to_line(self) -> bytes:
        sampling = self.request.sampling
        return _line(
            [
                self.number,
                self.asset,
                self.partition,
                self.request.prompt_version,
                [sampling.temperature, sampling.max_output_tokens, sampling.seed, sampling.json_schema],
                [[turn.role, turn.content.to_rows()] for turn in self.request.messages],
            ]
        )

    @classmethod
    def from_line(cls, line: bytes) -> "Ask":
        number, asset, partition, prompt_version, drawn, turns = json.loads(line)
        temperature, max_output_tokens, seed, json_schema = drawn
        request = Request(
            messages=tuple(Message(role, Document.from_rows(rows)) for role, rows in turns),
            sampling=Sampling(
                temperature=temperature, max_output_tokens=max_output_tokens, seed=seed, json_schema=json_schema
            ),
            prompt_version=prompt_version,
        )
        return cls(number, asset, partition, request)


def line_of(number: int, outcome: Reply | NyxError) -> bytes:
    """What became of a request."""
    if isinstance(outcome, Reply):
        return _line([number, outcome.to_json()])
    return _line([number, type(outcome).__name__, str(outcome)])


def outcome_of(line: bytes) -> tuple[int, Reply | NyxError]:
    """The number of a request and what became of it."""
    number, *said = json.loads(line)
    if len(said) == 1:
        return number, Reply(**said[0])
    name, text = said
    return number, getattr(errors, name)(text)


def _line(content: list[Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"
