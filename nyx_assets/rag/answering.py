"""Ask a generator a question about retrieved documents, and read its answer."""

import re
from collections.abc import Sequence

from nyx_assets.prompts import load_prompt
from resources.vlm import Message, Reply, Request, Sampling
from training_kernels.documents import Document, Segment

ANSWER_HEAD = re.compile(r"^\s*(?:the\s+)?(?:final\s+)?answer(?:\s+is)?\s*[:：]\s*", re.IGNORECASE)
QUOTES = "\"'`“”‘’*"


def answer_request(
    question: Document,
    window: Sequence[Document],
    *,
    options: Sequence[str] = (),
    max_output_tokens: int,
    temperature: float,
    seed: int,
) -> Request:
    """The request for one answer: the documents of the window in order, then the question, then the options if any.

    Every picture stands where it belongs, so those of the documents come before those of the question. An empty window
    asks the generator from memory.
    """
    segments: list[Segment] = []
    for number, document in enumerate(window, 1):
        segments += [Segment(text=f"Document {number}:"), *document.segments]
    segments += [Segment(text="Question:"), *question.segments]
    if options:
        lines = [f"{option_letter(place)}. {' '.join(option.split())}" for place, option in enumerate(options)]
        segments.append(Segment(text="\n".join(["Options:", *lines])))
    prompt = load_prompt("nyx_assets.rag", "answer.v1")
    return Request(
        messages=(Message("system", Document.of(prompt.text)), Message("user", Document(tuple(segments)))),
        sampling=Sampling(temperature=temperature, max_output_tokens=max_output_tokens, seed=seed),
        prompt_version=prompt.version,
    )


def option_letter(place: int) -> str:
    """A for the first option, B for the second."""
    return chr(ord("A") + place)


def answer_of(reply: Reply) -> str:
    """The answer alone: the reply's first line that says something, without an "Answer:" before it or quotes around it."""
    for line in reply.text.splitlines():
        if answer := ANSWER_HEAD.sub("", line).strip().strip(QUOTES).strip():
            return answer
    return ""
