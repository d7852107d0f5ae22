"""Ask a model in one of the project's ways: prompt, document shown with numbered pictures, JSON wanted back, calls counted."""

import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, cast

from nyx_assets.prompts import load_prompt
from resources.vlm import VLM, Message, Reply, Request, Sampling, complete_all
from training_kernels.documents import Document, Segment
from training_kernels.errors import VLMError

GIVE_UP_AFTER = 32
"""Calls at the start of a stream that, all refused, end it. Choice: a wrong key or address refuses every call, and a
partition of 10,000 chunks should not be told so 10,000 times; answered calls are never this unlucky in a row."""

FEWEST_TO_TELL = 3
"""Fewest refused calls of a check that say something about the server: of one or two, the request may be the reason."""


@dataclass
class Tally:
    """What the calls of one step came to. Equal requests are paid once, so they are counted once in tokens and money."""

    num_calls: int = 0
    num_refused: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    asked: str | None = None
    is_stand_in: bool = False
    paid_digests: set[str] = field(default_factory=set)
    """Of the requests that were answered."""

    def add(self, reply: Reply | VLMError, vlm: VLM) -> None:
        self.num_calls += 1
        self.asked = vlm.model
        self.is_stand_in |= vlm.is_stand_in
        if isinstance(reply, VLMError):
            self.num_refused += 1
        elif reply.request_digest not in self.paid_digests:
            self.paid_digests.add(reply.request_digest)
            self.input_tokens += reply.input_tokens
            self.output_tokens += reply.output_tokens
            self.cost_usd += reply.cost_usd


def ask_all(
    vlm: VLM, requests: Iterable[Request], *, what_for: str, tally: Tally, fewest_to_tell: int = FEWEST_TO_TELL
) -> Iterator[Reply | VLMError]:
    """Replies in the order of the requests, each counted in `tally`.

    Raises VLMError with the first refusal's text where none was answered: of the first GIVE_UP_AFTER, or of all if
    they are at least `fewest_to_tell`. A wrong key must not make an empty table.
    """
    first_refusal: VLMError | None = None
    answered = refused = 0
    # closed at once where the calls are given up, so that no more of them start
    with closing(cast(Generator[Reply | VLMError], complete_all(vlm, requests))) as replies:
        for reply in replies:
            tally.add(reply, vlm)
            if isinstance(reply, VLMError):
                refused += 1
                first_refusal = first_refusal or reply
                if not answered and refused >= GIVE_UP_AFTER:
                    break
            else:
                answered += 1
            yield reply
    if first_refusal is not None and not answered and refused >= min(fewest_to_tell, GIVE_UP_AFTER):
        raise VLMError(f"{what_for}: not one of {refused} calls was answered; the first: {first_refusal}")


def labelled(document: Document) -> tuple[Segment, ...]:
    """The segments with the label `<image N>`, counted from 1, before each picture."""
    segments: list[Segment] = []
    number = 0
    for segment in document.segments:
        if segment.image is not None:
            number += 1
            segments.append(Segment(text=f"<image {number}>"))
        segments.append(segment)
    return tuple(segments)


def request_with(
    prompt_name: str,
    content: Iterable[Segment],
    *,
    schema: Mapping[str, Any],
    max_output_tokens: int,
    temperature: float,
    seed: int,
) -> Request:
    """A request under a prompt of this stage whose reply is wanted as JSON of the schema.

    The schema goes out with its properties in the order written: a server that decodes by it writes them in that order.
    """
    prompt = load_prompt("nyx_assets.nyxqa", prompt_name)
    sampling = Sampling(
        temperature=temperature, max_output_tokens=max_output_tokens, seed=seed, json_schema=json.dumps(schema)
    )
    messages = (Message("system", Document.of(prompt.text)), Message("user", Document(tuple(content))))
    return Request(messages=messages, sampling=sampling, prompt_version=prompt.version)


def object_schema(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """JSON schema of an object with exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def pair_on_document(
    chunk_segments: Iterable[Mapping[str, Any]], question: Document, answer: str
) -> tuple[Segment, ...]:
    """A chunk, a question about it and its answer, as every check shows them."""
    return (
        Segment(text="Document:"),
        *labelled(Document.from_rows(chunk_segments)),
        Segment(text="Question:"),
        *question.segments,
        Segment(text=f"Answer: {answer}"),
    )
