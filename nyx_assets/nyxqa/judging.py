"""Ask the judge whether a document proves a pair, and read the verdict."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nyx_assets.nyxqa.generation import labelled
from nyx_assets.nyxqa.replies import verdict_in
from nyx_assets.prompts import load_prompt
from resources.vlm import Message, Reply, Request, Sampling
from training_kernels.documents import Document, Segment
from training_kernels.errors import ReplyFormatError, VLMError

Row = Mapping[str, Any]

MAX_VERDICT_TOKENS = 200
"""A verdict is one word and one sentence."""

VERDICT_SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"verdict": {"type": "string", "enum": ["keep", "reject"]}, "reason": {"type": "string"}},
        "required": ["verdict", "reason"],
        "additionalProperties": False,
    }
)


def judge_requests(rows: Iterable[Row], *, chunk_by_id: Mapping[str, Row], seed: int) -> Iterator[Request]:
    """One request to the judge for each row with chunk_id, question and answer, in order. Greedy: a verdict is no draw."""
    prompt = load_prompt("nyx_assets.nyxqa", "judge_qa.v1")
    system = Message("system", Document.of(prompt.text))
    sampling = Sampling(temperature=0.0, max_output_tokens=MAX_VERDICT_TOKENS, seed=seed, json_schema=VERDICT_SCHEMA)
    for row in rows:
        document = labelled(Document.from_rows(chunk_by_id[row["chunk_id"]]["segments"]))
        question = Document.from_rows(row["question"]).segments
        user = Document(
            (
                Segment(text="Document:"),
                *document,
                Segment(text="Question:"),
                *question,
                Segment(text=f"Answer: {row['answer']}"),
            )
        )
        yield Request(messages=(system, Message("user", user)), sampling=sampling, prompt_version=prompt.version)


def objection_of(reply: Reply | VLMError) -> tuple[str, str] | None:
    """Rule and reason of the judge's objection to a pair, or None if it keeps the pair.

    A judge that refuses or cannot be read has not approved: the pair is rejected under a rule of its own, so that a
    broken judge shows as such in the table.
    """
    if isinstance(reply, VLMError):
        return "judge_refused", str(reply)
    try:
        verdict = verdict_in(reply.text)
    except ReplyFormatError as error:
        return "unreadable_verdict", str(error)
    return None if verdict.is_kept else ("judged_unfit", verdict.reason)
