"""Every draft is kept or rejected with a reason, once; each rule refuses what it should and no more."""

import json

import pyarrow as pa
import pytest

from nyx_assets.nyxqa.filters import filter_pairs, num_words
from nyx_assets.recipes import tiny
from nyx_assets.records import FILTERED_QA, REJECTED_QA
from resources.vlm import Reply
from training_kernels.documents import Document, Segment
from training_kernels.errors import VLMError

RED, BLUE = Segment(image="a" * 64), Segment(image="b" * 64)
CHUNKS = {
    "c1": {"chunk_id": "c1", "doc_id": "d1", "segments": Document.of("The bridge", RED, BLUE).to_rows()},
    "c2": {"chunk_id": "c2", "doc_id": "d2", "segments": Document.of("The tower").to_rows()},
    "c3": {"chunk_id": "c3", "doc_id": "d1", "segments": Document.of("The bridge again").to_rows()},
}
SPLITS = {"d1": "train", "d2": "test"}


def draft(
    question, answer="Marta Olsen", *, qa_id="q1", chunk_id="c1", problem=None, distractors=("A1", "B1", "C1")
) -> dict:
    document = question if isinstance(question, Document) else Document.of(question)
    return {
        "qa_id": qa_id, "chunk_id": chunk_id, "question": document.to_rows(), "answer": answer, "problem": problem,
        "distractors": list(distractors), "teacher": "t", "is_stand_in": False,
    }  # fmt: skip


def judge_says(*verdicts):
    """A judge with a verdict for each request in turn; "keep" for all if none is given."""

    def ask(requests):
        for number, _ in enumerate(requests):
            verdict = verdicts[number] if verdicts else "keep"
            if isinstance(verdict, VLMError):
                yield verdict
                continue
            text = verdict if verdict == "garbage" else json.dumps({"verdict": verdict, "reason": "because"})
            yield Reply(
                text=text, model="j", request_digest="d", input_tokens=1, output_tokens=1, cost_usd=0.0,
                latency_seconds=0.0, finish_reason="stop", is_stand_in=False,
            )  # fmt: skip

    return ask


def sort(*rows, judge=None):
    return filter_pairs(
        rows, chunk_by_id=CHUNKS, split_by_doc=SPLITS, recipe=tiny().qa, seed=3, ask_judge=judge or judge_says()
    )


def rule_of(question, answer="Marta Olsen", **more) -> str | None:
    kept, rejected = sort(draft(question, answer, **more))
    assert len(kept) + len(rejected) == 1
    return rejected[0]["rule"] if rejected else None


GOOD = "Who finished the stone bridge over the river?"


@pytest.mark.parametrize(
    ("question", "answer", "rule"),
    [
        (GOOD, "Marta Olsen", None),
        ("", "Marta Olsen", "empty"),
        (Document.of(RED), "Marta Olsen", "empty"),
        (GOOD, " ... ", "empty"),
        ("Who is the hero of this passage?", "x y", "names_its_source"),
        ("What does the author think of bridges?", "x y", "names_its_source"),
        ("According to the text, who built the bridge?", "x y", "names_its_source"),
        ("What is shown in the image above?", "x y", "names_its_source"),
        ("Según el texto, ¿quién construyó el puente?", "x y", "names_its_source"),
        ("根据文章，是谁建造了这座石桥？", "x y", "names_its_source"),
        ("Which context-free texture has authority over textiles?", "x y", None),  # whole words only
        ("Who signed the document that ended the war?", "x y", None),
        ("Did Marta Olsen finish the bridge in 1907?", "marta olsen", "leaks_its_answer"),
        ("How many arches has the 12-arch bridge?", "12", None),  # "12arch" is another word
        ("Is it 12 or more arches that it has?", "12", "leaks_its_answer"),
        ("Which of the smart people painted it?", "art", None),
        ("Which of the artists painted the harbour?", "art", None),  # inside another word
        ("石桥是由玛塔建造的吗，在哪一年？", "玛塔", "leaks_its_answer"),
        (GOOD, "the tall engineer Marta Olsen of Bergen", "answer_too_long"),
        (GOOD, "one two three four five", None),
        ("Who built it?", "Marta Olsen", "question_too_short"),
        ("Who then built it?", "Marta Olsen", None),
        ("红烧猪蹄要放多少克冰糖？", "20", None),
        ("放多少？", "20", "question_too_short"),
    ],
)
def test_a_rule_refuses_what_it_names_and_no_more(question, answer, rule):
    assert rule_of(question, answer) == rule


def test_a_problem_of_the_reply_is_the_rule_that_rejects_it():
    assert rule_of("", problem="refused_call: HTTP 500: busy") == "refused_call"
    _, rejected = sort(draft("", problem="refused_call: HTTP 500: busy"))
    assert rejected[0]["reason"] == "HTTP 500: busy"


def test_too_few_options_are_a_reason():
    assert rule_of(GOOD, distractors=["Ole", "Ole!", "marta olsen"]) == "bad_options"


def test_a_question_asked_twice_of_a_page_is_kept_once_and_of_another_page_once_more():
    kept, rejected = sort(
        draft(GOOD, qa_id="first"),
        draft("who finished a stone bridge, over the river", "Ole Bull", qa_id="again", chunk_id="c3"),
        draft(GOOD, qa_id="of another page", chunk_id="c2"),
        draft(Document.of(GOOD, RED), qa_id="with red"),
        draft(Document.of(GOOD, BLUE), qa_id="with blue"),
    )
    assert [row["qa_id"] for row in kept] == ["first", "of another page", "with red", "with blue"]
    assert [(row["qa_id"], row["rule"]) for row in rejected] == [("again", "repeated_pair")]
    assert "first" in rejected[0]["reason"]


def test_the_judge_decides_on_those_that_the_rules_let_through():
    rows = [
        draft(GOOD, qa_id="q1"),
        draft("too short", qa_id="q2"),
        draft("Where does the northern railway line end?", qa_id="q3"),
        draft("Which year saw the market hall open?", qa_id="q4", chunk_id="c2"),
        draft("Why was the iron gate painted green?", qa_id="q5"),
    ]
    kept, rejected = sort(*rows, judge=judge_says("reject", VLMError("HTTP 429"), "keep", "garbage"))
    assert [row["qa_id"] for row in kept] == ["q4"]
    assert [(row["qa_id"], row["rule"]) for row in rejected] == [
        ("q1", "judged_unfit"), ("q2", "question_too_short"), ("q3", "judge_refused"), ("q5", "unreadable_verdict"),
    ]  # fmt: skip
    assert rejected[0]["reason"] == "because"


def test_kept_and_rejected_together_are_the_drafts_each_once():
    rows = [draft(f"Who finished bridge {i % 7} over the river?", qa_id=f"q{i}") for i in range(20)]
    kept, rejected = sort(*rows)
    assert sorted(row["qa_id"] for row in [*kept, *rejected]) == sorted(row["qa_id"] for row in rows)
    assert len(kept) == 7


def test_a_kept_pair_has_options_split_and_modalities_and_fits_its_table():
    kept, rejected = sort(
        draft(Document.of(GOOD, RED)), draft("no", qa_id="q2", chunk_id="c2"), draft(GOOD, qa_id="q3", chunk_id="c2")
    )
    first, second = kept
    assert first["options"][first["right_option"]] == "Marta Olsen"
    assert len(set(first["options"])) == 4
    assert (first["split"], second["split"]) == ("train", "test")
    assert (first["query_modality"], first["target_modality"]) == ("mixed", "mixed")
    assert (second["query_modality"], second["target_modality"]) == ("text", "text")
    assert pa.Table.from_pylist(kept, schema=FILTERED_QA).to_pylist() == kept
    assert pa.Table.from_pylist(rejected, schema=REJECTED_QA).to_pylist() == rejected


def test_chinese_words_are_counted_by_two_characters():
    assert num_words("红烧猪蹄") == 2
    assert num_words("加入 20 克冰糖 now") == 1 + 1 + 2 + 1
    assert num_words("… — ?") == 0
