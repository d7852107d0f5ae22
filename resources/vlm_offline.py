"""The embedded stand-in for teacher, generator and judge: rules instead of a model, no network, no cost, no pictures.

It reads the prompts of nyx_assets (`nyxqa/prompts`, `rag/prompts`) and writes what they ask for, by the first line of
the system message. It is blind: it knows which picture stands where, not what is in it. What it writes is marked as a
stand-in's in every table; it exists so that every stage runs, and feedback depends on what was retrieved.
"""

import re
import time
from collections.abc import Callable, Sequence

from resources import cloze
from resources.cloze_writing import (
    score_pair,
    shorten_answer,
    write_picture_pairs,
    write_several_picture_pairs,
    write_text_pairs,
    write_wrong_options,
)
from resources.stop_words import STOP_WORDS
from resources.vlm import STAND_IN_MODEL, Message, Reply, Request
from training_kernels.documents import Segment
from training_kernels.errors import VLMError

DOCUMENT_HEADING = re.compile(r"Document \d+:")
OPTION = re.compile(r"^[A-Z]\. (.+)$", re.MULTILINE)
UNKNOWN = "unknown"
"""The generator's answer where no document supports one."""

MIN_SUPPORT = 0.5
"""Share of the tokens around a gap that a document must have in place. Choice: half of a question in order does not come
by chance, and a page that was edited since still answers."""

MIN_OVERLAP = 0.6
"""The same for a question without a gap: share of its content words in one sentence."""


class OfflineVLM:
    """Extractive, rule-based, deterministic: the same request always has the same reply, on any machine."""

    model = STAND_IN_MODEL
    is_stand_in = True
    max_in_flight = 4

    async def complete(self, request: Request) -> Reply:
        return self.answer(request)

    def answer(self, request: Request) -> Reply:
        """The reply, at once. Raises VLMError for a task that there are no rules for."""
        began = time.perf_counter()
        text = reply_text(request.messages)
        return Reply(
            text=text,
            model=self.model,
            request_digest=request.digest(self.model),
            input_tokens=sum(num_tokens(message.content.text) for message in request.messages),
            output_tokens=num_tokens(text),
            cost_usd=0.0,
            latency_seconds=time.perf_counter() - began,
            finish_reason="stop",
            is_stand_in=True,
        )


def num_tokens(text: str) -> int:
    """About how many tokens a text has: a quarter of its characters, the rule of thumb for English."""
    return len(text) // 4 + 1


def reply_text(messages: Sequence[Message]) -> str:
    """What the stand-in says to a conversation. Raises VLMError for a task that there are no rules for."""
    task = messages[0].content.text.split("\n", 1)[0].strip() if messages else ""
    if task not in RULES_BY_TASK:
        raise VLMError(
            f"{STAND_IN_MODEL} has no rules for a system message that begins {task!r}; it knows "
            f"{', '.join(map(repr, RULES_BY_TASK))}; set an OpenAI-compatible endpoint for other prompts"
        )
    return RULES_BY_TASK[task](messages[-1].content.segments)


def answer_from_documents(segments: Sequence[Segment]) -> str:
    """The answer that the documents shown support best; `unknown` if none supports one."""
    documents, question, options = read_answer_prompt(segments)
    answer, support = best_answer(question, documents)
    if not options:
        return answer if support else UNKNOWN
    folded = cloze.tokens_of(answer).folded
    right = next((option for option in options if cloze.tokens_of(option).folded == folded), None)
    return right if support and right is not None else best_option(question, options, documents)


def read_answer_prompt(segments: Sequence[Segment]) -> tuple[list[str], str, list[str]]:
    """Texts of the documents, text of the question, options: the parts of a prompt that rag/answering.py wrote."""
    texts = [segment.text or "" for segment in segments]
    at_question = max((i for i, text in enumerate(texts) if text == "Question:"), default=len(texts))
    documents: list[list[str]] = []
    for text in texts[:at_question]:
        if DOCUMENT_HEADING.fullmatch(text):
            documents.append([])
        elif documents:
            documents[-1].append(text)
    rest = texts[at_question + 1 :]
    options = OPTION.findall(rest[-1]) if rest and rest[-1].startswith("Options:\n") else []
    question = " ".join(rest[:-1] if options else rest)
    return ["\n".join(parts) for parts in documents], question, options


def around_gap(question: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Folded tokens before and after the gap, inside the question's outer quotes; None for a question without a gap."""
    before, gap, after = question.partition(cloze.GAP)
    if not gap:
        return None
    before = before.partition("“")[2] or before
    after = after.rpartition("”")[0] if "”" in after else after
    return cloze.tokens_of(before).folded, cloze.tokens_of(after).folded


def best_answer(question: str, documents: Sequence[str]) -> tuple[str, float]:
    """The best supported answer and its support; ("", 0) below the threshold. Among equals the first document's."""
    around = around_gap(question)
    if around is None:
        return _answer_without_gap(question, documents)
    best, best_support = "", 0.0
    for document in documents:
        answer, support = cloze.fill_gap(*around, document) if any(around) else ("", 0.0)
        if support > best_support:
            best, best_support = answer, support
    return (best, best_support) if best_support >= MIN_SUPPORT else ("", 0.0)


def content_words(text: str) -> set[str]:
    """Folded tokens that carry meaning: numbers, CJK characters, and words of four letters or more that are not common."""
    return {
        token
        for token in cloze.tokens_of(text).folded
        if (len(token) > 3 and token not in STOP_WORDS) or token[0].isdigit() or cloze.is_cjk(token)
    }


def _answer_without_gap(question: str, documents: Sequence[str]) -> tuple[str, float]:
    sentence, overlap = _nearest_sentence(question, documents)
    asked = set(cloze.tokens_of(question).folded)
    for gap in cloze.gaps_of(sentence):
        if not asked.intersection(cloze.tokens_of(gap.answer).folded):
            return gap.answer, overlap
    return "", 0.0


def _nearest_sentence(question: str, documents: Sequence[str]) -> tuple[str, float]:
    """The sentence with the largest share of the question's content words, and that share; ("", 0) below MIN_OVERLAP."""
    words = content_words(question)
    best, best_overlap = "", 0.0
    for document in documents:
        if len(words & cloze.tokens_of(document).places.keys()) < MIN_OVERLAP * len(words):
            continue  # no sentence of it can have more
        for sentence in cloze.sentences_of(document):
            overlap = len(words & content_words(sentence)) / max(len(words), 1)
            if overlap > best_overlap:
                best, best_overlap = sentence, overlap
    return (best, best_overlap) if best_overlap >= MIN_OVERLAP else ("", 0.0)


def best_option(question: str, options: Sequence[str], documents: Sequence[str]) -> str:
    """The option that stands in the sentence nearest to the question; `unknown` if none does."""
    sentence, _ = _nearest_sentence(question.replace(cloze.GAP, " "), documents)
    return next((option for option in options if cloze.stands_in(option, sentence)), UNKNOWN)


RULES_BY_TASK: dict[str, Callable[[Sequence[Segment]], str]] = {
    "Task: write questions about a text": write_text_pairs,
    "Task: write questions about pictures and text": write_picture_pairs,
    "Task: write questions that need several pictures": write_several_picture_pairs,
    "Task: shorten an answer": shorten_answer,
    "Task: write wrong options": write_wrong_options,
    "Task: answer from documents": answer_from_documents,
    "Task: score a question-answer pair": score_pair,
}
