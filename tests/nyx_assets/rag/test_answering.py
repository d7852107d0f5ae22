"""What the generator is shown, in which order, and how its answer is read."""

import pytest

from nyx_assets.rag.answering import answer_of, answer_request
from resources.vlm import Reply
from training_kernels.documents import Document, Segment

RED, BLUE, GREEN = (Segment(image=letter * 64) for letter in "abc")


def ask(window, options=()):
    question = Document.of("What is ", GREEN, "?")
    return answer_request(question, window, options=options, max_output_tokens=9, temperature=0.2, seed=5)


def test_documents_come_in_order_and_each_picture_stays_where_it_belongs():
    request = ask([Document.of("first", RED), Document.of(BLUE, "second")], ["one  way", "other\nway"])
    assert [message.role for message in request.messages] == ["system", "user"]
    assert request.messages[1].content == Document.of(
        "Document 1:", "first", RED, "Document 2:", BLUE, "second", "Question:", "What is ", GREEN, "?",
        "Options:\nA. one way\nB. other way",
    )  # fmt: skip


def test_without_documents_and_options_only_the_question_is_asked():
    assert ask([]).messages[1].content == Document.of("Question:", "What is ", GREEN, "?")


def test_sampling_and_prompt_version_are_those_asked_for():
    request = ask([])
    assert (request.sampling.max_output_tokens, request.sampling.temperature, request.sampling.seed) == (9, 0.2, 5)
    assert request.prompt_version.startswith("answer.v1@")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Marta Olsen", "Marta Olsen"),
        ("\n Answer: “Marta Olsen”\nBecause the document says so.", "Marta Olsen"),
        ("The answer is: **1907**", "1907"),
        ("答案", "答案"),
        ("Answer:\n\n1907", "1907"),
        ("", ""),
        ("O'Brien", "O'Brien"),
    ],
)
def test_the_answer_is_the_first_line_that_says_something(text, answer):
    reply = Reply(
        text=text, model="m", request_digest="d", input_tokens=1, output_tokens=1, cost_usd=0.0, latency_seconds=0.0,
        finish_reason="stop", is_stand_in=False,
    )  # fmt: skip
    assert answer_of(reply) == answer
