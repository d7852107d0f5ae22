"""Ask the teacher for question-answer pairs on a chunk, and turn what it wrote into rows; nothing that came back is lost."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nyx_assets.nyxqa.replies import WrittenPair, pairs_in
from nyx_assets.prompts import load_prompt
from nyx_assets.recipes import QARecipe
from nyx_assets.records import content_id, document_key
from resources.vlm import VLM, Message, Reply, Request, Sampling
from training_kernels.documents import Document, Segment
from training_kernels.errors import ReplyFormatError, VLMError

Row = Mapping[str, Any]

IMAGE_REFERENCE = re.compile(r"<\s*image\s*[#_-]?\s*(\d+)\s*>", re.IGNORECASE)

PAIRS_SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "pairs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "question": {"type": "string"},
                        "answer": {"type": "string"},
                        "distractors": {"type": "array", "items": {"type": "string"}},
                    },
                    "required": ["question", "answer", "distractors"],
                    "additionalProperties": False,
                },
            }
        },
        "required": ["pairs"],
        "additionalProperties": False,
    }
)


def labelled(document: Document) -> list[Segment]:
    """The segments with the label `<image N>`, counted from 1, before each picture."""
    segments: list[Segment] = []
    number = 0
    for segment in document.segments:
        if segment.image is not None:
            number += 1
            segments.append(Segment(text=f"<image {number}>"))
        segments.append(segment)
    return segments


def requests_for(chunks: Iterable[Row], *, recipe: QARecipe, seed: int) -> Iterator[Request]:
    """One request to the teacher for each row of `chunked_corpus`, in order."""
    prompt = load_prompt("nyx_assets.nyxqa", "write_qa.v1")
    system = Message("system", Document.of(prompt.text))
    instruction = Segment(
        text=f"Write at most {recipe.pairs_per_chunk} question-answer pairs on the document that follows.\n\nDocument:"
    )
    sampling = Sampling(
        temperature=recipe.temperature,
        max_output_tokens=recipe.max_output_tokens,
        seed=seed,
        json_schema=PAIRS_SCHEMA,
    )
    for chunk in chunks:
        user = Document((instruction, *labelled(Document.from_rows(chunk["segments"]))))
        yield Request(messages=(system, Message("user", user)), sampling=sampling, prompt_version=prompt.version)


@dataclass(frozen=True, slots=True)
class Draft:
    """One row of `raw_qa` before it knows what it cost: a pair, or why there is none."""

    question: Document
    answer: str
    distractors: tuple[str, ...]
    problem: str | None


def pairs_of(chunk: Row, reply: Reply | VLMError, *, teacher: VLM, recipe: QARecipe) -> list[dict[str, Any]]:
    """Rows of `raw_qa` (without `crawl`) for what the teacher said to a chunk: always at least one.

    A refused call, a reply that cannot be read and a reply without pairs are one row each with `problem` set, which
    begins with the name of the rule that rejects it; so has a pair beyond those asked for, or with a picture that is
    not there. Tokens and cost of the call are divided among its rows.
    """
    if isinstance(reply, VLMError):
        call = _Call(teacher=teacher.model, is_stand_in=teacher.is_stand_in)
        return _rows(chunk, [_problem(f"refused_call: {reply}")], call)
    return _rows(chunk, _drafts(chunk, reply, recipe), _Call.of(reply))


def _drafts(chunk: Row, reply: Reply, recipe: QARecipe) -> list["Draft"]:
    try:
        pairs, is_whole = pairs_in(reply.text)
    except ReplyFormatError as error:
        return [_problem(f"unreadable_reply: {error}")]
    images = Document.from_rows(chunk["segments"]).images
    drafts = [_draft(pair, images, number=number, limit=recipe.pairs_per_chunk) for number, pair in enumerate(pairs, 1)]
    if not is_whole:
        drafts.append(
            _problem(f"unreadable_reply: cut off or damaged ({reply.finish_reason}) around {len(pairs)} whole pair(s)")
        )
    return drafts or [_problem("no_pair: the teacher found nothing to ask about this chunk")]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """What the rows of one call have in common. A refused call has no digest and cost nothing."""

    teacher: str
    is_stand_in: bool
    request_digest: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0

    @classmethod
    def of(cls, reply: Reply) -> "_Call":
        return cls(
            teacher=reply.model,
            is_stand_in=reply.is_stand_in,
            request_digest=reply.request_digest,
            input_tokens=reply.input_tokens,
            output_tokens=reply.output_tokens,
            cost_usd=reply.cost_usd,
        )


def _problem(problem: str) -> Draft:
    return Draft(Document(()), "", (), problem)


def _draft(pair: WrittenPair, images: tuple[str, ...], *, number: int, limit: int) -> Draft:
    """The pair with its picture references resolved; with `problem` set where one leads nowhere or it is one too many."""
    bad = [int(n) for n in IMAGE_REFERENCE.findall(pair.question) if not 1 <= int(n) <= len(images)]
    if bad:
        problem = f"bad_image_reference: <image {bad[0]}> is not in the chunk, which has {len(images)} picture(s)"
        return Draft(Document.of(pair.question), pair.answer, pair.distractors, problem)
    beyond = f"beyond_limit: pair {number} of a reply that was asked for at most {limit}" if number > limit else None
    return Draft(with_pictures(pair.question, images), pair.answer, pair.distractors, beyond)


def with_pictures(question: str, images: tuple[str, ...]) -> Document:
    """The question with the chunk's pictures in the places of their references, which must all exist."""
    segments: list[Segment] = []
    for place, part in enumerate(IMAGE_REFERENCE.split(question)):
        if place % 2:  # re.split with one group: texts at even places, picture numbers at odd ones
            segments.append(Segment(image=images[int(part) - 1]))
        elif part.strip():
            segments.append(Segment(text=part.strip()))
    return Document(tuple(segments))


def _rows(chunk: Row, drafts: list[Draft], call: _Call) -> list[dict[str, Any]]:
    """The drafts as rows with ids; equal drafts of a chunk get ids of their own by their order."""
    input_tokens, output_tokens = _shares(call.input_tokens, len(drafts)), _shares(call.output_tokens, len(drafts))
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for place, draft in enumerate(drafts):
        ordinal = 0
        while (qa_id := _qa_id(chunk["chunk_id"], draft, ordinal)) in seen:
            ordinal += 1
        seen.add(qa_id)
        rows.append(
            {
                "qa_id": qa_id,
                "chunk_id": chunk["chunk_id"],
                "question": draft.question.to_rows(),
                "answer": draft.answer,
                "distractors": list(draft.distractors),
                "problem": draft.problem,
                "teacher": call.teacher,
                "is_stand_in": call.is_stand_in,
                "prompt_version": load_prompt("nyx_assets.nyxqa", "write_qa.v1").version,
                "request_digest": call.request_digest,
                "input_tokens": input_tokens[place],
                "output_tokens": output_tokens[place],
                "cost_usd": call.cost_usd / len(drafts),
            }
        )
    return rows


def _qa_id(chunk_id: str, draft: Draft, ordinal: int) -> str:
    repeats = (str(ordinal),) if ordinal else ()
    return content_id(chunk_id, document_key(draft.question), draft.answer, *repeats)


def _shares(total: int, number: int) -> list[int]:
    """`total` divided into `number` whole shares that differ by at most one, the larger ones first."""
    return [total // number + (place < total % number) for place in range(number)]
