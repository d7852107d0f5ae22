"""Ask the teacher for question-answer pairs on a chunk, and turn what it wrote into rows; nothing that came back is lost."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nyx_assets.nyxqa.asking import labelled, object_schema, request_with
from nyx_assets.nyxqa.replies import WrittenPair, pairs_in
from nyx_assets.prompts import load_prompt
from nyx_assets.qa_recipes import QAVariant, QuestionType, WritingRecipe
from nyx_assets.records import content_id, document_key
from resources.vlm import VLM, Reply, Request
from training_kernels.documents import Document, Segment
from training_kernels.errors import ReplyFormatError, VLMError

Row = Mapping[str, Any]

IMAGE_REFERENCE = re.compile(r"<\s*image\s*[#_-]?\s*(\d+)\s*>", re.IGNORECASE)

MEANING_BY_TYPE: dict[QuestionType, str] = {
    "fact": "who, what, where or when",
    "number": "a quantity, a date or a measure that stands in the document",
    "comparison": "which of two things is more, earlier, larger, or what tells them apart",
    "cause": "why or how something comes about",
    "visual_attribute": "how something in a picture looks: its colour, shape, material, position or action",
    "counting": "how many of something a picture shows",
    "reading": "what is written, drawn as a value, or named by a mark in a picture",
    "picture_comparison": "what several pictures have in common, how they differ, or in what order they belong",
}

OTHER_TYPE = "other"
"""Kind of a pair whose teacher named none of those asked for. Choice: a good question under a wrong name is a good question."""


def prompt_of(variant: QAVariant) -> str:
    return f"write_{variant.name}_qa.v1"


def requests_for(calls: Iterable[tuple[Row, QAVariant]], *, recipe: WritingRecipe, seed: int) -> Iterator[Request]:
    """One request to the teacher for each call (sampling.calls_for), in order."""
    for chunk, variant in calls:
        yield request_with(
            prompt_of(variant),
            (Segment(text=_instruction(variant)), *labelled(Document.from_rows(chunk["segments"]))),
            schema=_pairs_schema(variant),
            max_output_tokens=recipe.max_output_tokens,
            temperature=recipe.temperature,
            seed=seed,
        )


def _instruction(variant: QAVariant) -> str:
    kinds = "\n".join(f"- {name}: {MEANING_BY_TYPE[name]}" for name in variant.question_types)
    fewest, most = variant.question_pictures
    shown = f" Each question shows {fewest} to {most} of the pictures." if most else ""
    return (
        f"Write at most {variant.pairs_per_chunk} question-answer pairs on the document that follows.{shown}\n\n"
        f"Kinds of question:\n{kinds}\n\nDocument:"
    )


def _pairs_schema(variant: QAVariant) -> dict[str, Any]:
    pair = object_schema(
        type={"type": "string", "enum": list(variant.question_types)},
        question={"type": "string"},
        answer={"type": "string"},
    )
    return object_schema(pairs={"type": "array", "items": pair})


@dataclass(frozen=True, slots=True)
class Draft:
    """One row of `raw_qa` before it knows what it cost: a pair, or why there is none."""

    question: Document
    answer: str
    question_type: str
    problem: str | None


def pairs_of(chunk: Row, variant: QAVariant, reply: Reply | VLMError, *, teacher: VLM) -> list[dict[str, Any]]:
    """Rows of `raw_qa` (without `crawl`) for what the teacher said to a call: always at least one.

    A refused call, a reply that cannot be read and a reply without pairs are one row each with `problem` set, which
    begins with the name of the rule that rejects it; so has a pair beyond those asked for, or with pictures that are
    not there, stand twice, or are too few or too many. Tokens and cost of the call are divided among its rows.
    """
    if isinstance(reply, VLMError):
        call = _Call(teacher=teacher.model, is_stand_in=teacher.is_stand_in)
        return _rows(chunk, variant, [_problem(f"refused_call: {reply}")], call)
    return _rows(chunk, variant, _drafts(chunk, variant, reply), _Call.of(reply))


def _drafts(chunk: Row, variant: QAVariant, reply: Reply) -> list[Draft]:
    try:
        pairs, is_whole = pairs_in(reply.text)
    except ReplyFormatError as error:
        return [_problem(f"unreadable_reply: {error}")]
    images = Document.from_rows(chunk["segments"]).images
    drafts = [_draft(pair, images, variant, number) for number, pair in enumerate(pairs, 1)]
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
    return Draft(Document(()), "", OTHER_TYPE, problem)


def _draft(pair: WrittenPair, images: tuple[str, ...], variant: QAVariant, number: int) -> Draft:
    """The pair with its pictures in place; with `problem` set where they are wrong, or the pair is one too many."""
    question_type = pair.question_type if pair.question_type in variant.question_types else OTHER_TYPE
    problem = _picture_problem(pair.question, len(images), variant)
    if problem is not None:
        return Draft(Document.of(pair.question), pair.answer, question_type, problem)
    if number > variant.pairs_per_chunk:
        problem = f"beyond_limit: pair {number} of a reply that was asked for at most {variant.pairs_per_chunk}"
    return Draft(with_pictures(pair.question, images), pair.answer, question_type, problem)


def _picture_problem(question: str, num_images: int, variant: QAVariant) -> str | None:
    """What is wrong with the numbered references of a question, or None.

    Choice: a picture that is referred to twice is refused, not merged: which mention should keep it is not ours to guess.
    """
    numbers = [int(number) for number in IMAGE_REFERENCE.findall(question)]
    if bad := [number for number in numbers if not 1 <= number <= num_images]:
        return f"bad_image_reference: <image {bad[0]}> is not in the chunk, which has {num_images} picture(s)"
    if len(set(numbers)) < len(numbers):
        return f"repeated_image_reference: pictures {numbers}; each may stand once in a question"
    fewest, most = variant.question_pictures
    if not fewest <= len(numbers) <= most:
        return f"wrong_number_of_pictures: {len(numbers)} in the question, {fewest} to {most} allowed ({variant.name})"
    return None


def with_pictures(question: str, images: tuple[str, ...]) -> Document:
    """The question with the chunk's pictures in the places of their references, which must all exist."""
    segments: list[Segment] = []
    for place, part in enumerate(IMAGE_REFERENCE.split(question)):
        if place % 2:  # re.split with one group: texts at even places, picture numbers at odd ones
            segments.append(Segment(image=images[int(part) - 1]))
        elif part.strip():
            segments.append(Segment(text=part.strip()))
    return Document(tuple(segments))


def _rows(chunk: Row, variant: QAVariant, drafts: list[Draft], call: _Call) -> list[dict[str, Any]]:
    """The drafts as rows with ids; equal drafts of a call get ids of their own by their order."""
    input_tokens, output_tokens = _shares(call.input_tokens, len(drafts)), _shares(call.output_tokens, len(drafts))
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for place, draft in enumerate(drafts):
        ordinal = 0
        while (qa_id := _qa_id(chunk["chunk_id"], variant, draft, ordinal)) in seen:
            ordinal += 1
        seen.add(qa_id)
        rows.append(
            {
                "qa_id": qa_id,
                "chunk_id": chunk["chunk_id"],
                "variant": variant.name,
                "question_type": draft.question_type,
                "question": draft.question.to_rows(),
                "answer": draft.answer,
                "problem": draft.problem,
                "teacher": call.teacher,
                "is_stand_in": call.is_stand_in,
                "prompt_version": load_prompt("nyx_assets.nyxqa", prompt_of(variant)).version,
                "request_digest": call.request_digest,
                "input_tokens": input_tokens[place],
                "output_tokens": output_tokens[place],
                "cost_usd": call.cost_usd / len(drafts),
            }
        )
    return rows


def _qa_id(chunk_id: str, variant: QAVariant, draft: Draft, ordinal: int) -> str:
    """The variant is part of the id: two calls about a chunk may write the same pair."""
    repeats = (str(ordinal),) if ordinal else ()
    return content_id(chunk_id, variant.name, document_key(draft.question), draft.answer, *repeats)


def _shares(total: int, number: int) -> list[int]:
    """`total` divided into `number` whole shares that differ by at most one, the larger ones first."""
    return [total // number + (place < total % number) for place in range(number)]
