"""Every draft is kept or rejected, once, in the recipe's order of checks; a check that asks a model grades its answer."""

from dataclasses import replace

import pyarrow as pa
import pytest

from nyx_assets.nyxqa.asking import GIVE_UP_AFTER
from nyx_assets.nyxqa.filters import CHECKS
from nyx_assets.planned_calls import ROLE_BY_CHECK
from nyx_assets.qa_recipes import QA_CHECK_NAMES, QACheck, nyx_qa, paper_qa
from nyx_assets.records import FILTERED_QA, REJECTED_QA
from training_kernels.documents import Document
from training_kernels.errors import ConfigError, VLMError

OPTIONS = QACheck(name="bad_options", threshold=4)


def test_every_check_that_a_recipe_may_name_is_there():
    assert sorted(CHECKS) == sorted(QA_CHECK_NAMES)


def test_a_problem_of_the_reply_is_the_rule_that_rejects_it(town):
    (row,) = town.sort([town.draft("", "", problem="refused_call: HTTP 500: busy")]).rejected
    assert (row["check"], row["rule"], row["reason"], row["measured"]) == (
        "read",
        "refused_call",
        "HTTP 500: busy",
        None,
    )
    assert (row["teacher"], row["is_stand_in"]) == ("t-9", True)


def test_the_first_check_of_the_recipe_that_objects_gives_the_reason(town):
    short, leak = QACheck(name="question_too_short", threshold=9), QACheck(name="leaks_its_answer", threshold=0)
    row = town.draft("Is 12 more?", "12")
    assert [town.sort([row], *checks).rejected[0]["rule"] for checks in ((short, leak), (leak, short))] == [
        "question_too_short", "leaks_its_answer",
    ]  # fmt: skip


def test_a_check_that_marks_keeps_the_pair_and_says_so(town):
    check = QACheck(name="question_too_short", threshold=9, on_failure="mark")
    sorted_out = town.sort(
        [town.draft(qa_id="q1"), town.draft("Who of all the people here built the bridge?", qa_id="q2")], check
    )
    assert [row["marks"] for row in sorted_out.kept] == [["question_too_short"], []]
    assert (sorted_out.steps[-1].num_marked, sorted_out.steps[-1].num_rejected) == (1, 0)


def test_a_call_that_was_refused_marks_under_its_own_name(town):
    judge = town.ScriptedVLM(lambda request: VLMError("HTTP 500") if "mill" in town.shown_to(request) else {"score": 9})
    rows = [town.draft(qa_id="q1", chunk_id="c3"), town.draft(qa_id="q2", chunk_id="c2")]
    sorted_out = town.sort(rows, QACheck(name="judged_unfit", threshold=7, on_failure="mark"), judge=judge)
    assert [row["marks"] for row in sorted_out.kept] == [["judged_unfit/refused_call"], []]


def test_a_long_answer_is_refined_the_original_kept_and_a_short_one_not_asked_about(town):
    long = "the tall engineer Marta Olsen of Bergen"
    said = {"q-short": "Marta Olsen", "q-long": "still the tall engineer Marta Olsen", "q-none": "", "q-list": ["a"]}
    teacher = town.ScriptedVLM(
        lambda request: {"answer": next(said[name] for name in said if name in town.shown_to(request))}
    )
    rows = [town.draft(f"Who built it, {name}?", long, qa_id=name) for name in said] + [town.draft(qa_id="untouched")]
    sorted_out = town.sort(rows, QACheck(name="answer_too_long", threshold=5), teacher=teacher)
    assert [(row["qa_id"], row["answer"], row["original_answer"]) for row in sorted_out.kept] == [
        ("q-short", "Marta Olsen", long), ("untouched", "Marta Olsen", "Marta Olsen"),
    ]  # fmt: skip
    assert [(row["qa_id"], row["rule"], row["measured"]) for row in sorted_out.rejected] == [
        ("q-long", "answer_too_long", 6), ("q-none", "answer_too_long", 7), ("q-list", "unreadable_reply", None),
    ]  # fmt: skip
    assert len(teacher.requests) == 4
    assert all("at most 5 words" in town.shown_to(request) for request in teacher.requests)
    assert sorted_out.steps[-1].num_refined == 1


def test_the_rank_of_the_golden_chunk_decides_the_round_trip(town):
    rows = [
        town.draft("Which tower burned in the great fire?", qa_id="own words", chunk_id="c2"),
        town.draft("Which stone bridge was it?", qa_id="words of another", chunk_id="c3"),
        town.draft("Which opera sings of ships?", qa_id="no words", chunk_id="c2"),
        town.draft(Document.of("What is this", town.red, "?"), qa_id="picture"),
    ]
    sorted_out = town.sort(rows, QACheck(name="not_found_again", threshold=1))
    assert [row["qa_id"] for row in sorted_out.kept] == ["own words", "picture"]
    assert [(row["qa_id"], row["measured"]) for row in sorted_out.rejected] == [
        ("words of another", 2),
        ("no words", None),
    ]
    assert town.sort(rows[1:2], QACheck(name="not_found_again", threshold=2)).rejected == []


def test_what_the_generator_answers_from_memory_is_refused(town):
    generator = town.ScriptedVLM(lambda request: "Marta Olsen" if "bridge" in town.shown_to(request) else "no idea")
    rows = [town.draft(qa_id="famous"), town.draft("Which mayor opened the mill?", "Ole Bull", qa_id="obscure")]
    sorted_out = town.sort(rows, QACheck(name="answered_closed_book", threshold=0.8), generator=generator)
    assert [(row["qa_id"], row["measured"]) for row in sorted_out.rejected] == [("famous", 1.0)]
    assert not any("finished by Marta" in town.shown_to(request) for request in generator.requests)


def test_without_its_picture_a_picture_question_must_fail_and_others_are_not_asked(town):
    generator = town.ScriptedVLM(lambda request: "Olsen" if "finished" in town.shown_to(request) else "unknown")
    rows = [
        town.draft(Document.of("Who finished", town.red, "?"), qa_id="in the words"),
        town.draft(Document.of("Who paints", town.blue, "?"), qa_id="in the picture", chunk_id="c3"),
        town.draft(qa_id="no picture"),
    ]
    for threshold, refused in ((0.8, []), (0.6, ["in the words"])):  # one of two words right: F1 2/3
        check = QACheck(name="answered_without_picture", threshold=threshold)
        assert [row["qa_id"] for row in town.sort(rows, check, generator=generator).rejected] == refused
    assert len(generator.requests) == 2 * 2
    assert all(not request.messages[-1].content.images for request in generator.requests)


def test_the_judges_score_decides_and_stays_with_the_pair(town):
    said = {
        "q1": {"score": 7, "reason": "fine"},
        "q2": {"score": 6, "reason": "vague"},
        "q3": VLMError("HTTP 429"),
        "q4": "eh",
    }
    judge = town.ScriptedVLM(
        lambda request: next(said[name] for name in said if f"hard, {name}" in town.shown_to(request))
    )
    rows = [town.draft(f"Who worked so hard, {name}?", qa_id=name) for name in said]
    sorted_out = town.sort(rows, QACheck(name="judged_unfit", threshold=7), judge=judge)
    assert [(row["qa_id"], row["judge_score"]) for row in sorted_out.kept] == [("q1", 7)]
    assert [(row["qa_id"], row["rule"], row["measured"]) for row in sorted_out.rejected] == [
        ("q2", "judged_unfit", 6), ("q3", "refused_call", None), ("q4", "unreadable_reply", None),
    ]  # fmt: skip
    assert sorted_out.rejected[0]["reason"] == "vague"


def test_options_are_the_refined_answer_and_three_other_ones_or_the_pair_goes(town):
    teacher = town.ScriptedVLM(
        lambda request: {
            "wrong_options": ["Ole", "Ole!", "marta olsen"]
            if "few" in town.shown_to(request)
            else ["Ole", "Ada", "Bo", "Eva"]
        }
    )
    rows = [town.draft(qa_id="q1"), town.draft("Who were the few that built it?", qa_id="q2")]
    sorted_out = town.sort(rows, OPTIONS, teacher=teacher)
    (kept,), (rejected,) = sorted_out.kept, sorted_out.rejected
    assert kept["options"][kept["right_option"]] == "Marta Olsen"
    assert sorted(kept["options"]) == ["Ada", "Bo", "Marta Olsen", "Ole"]
    assert (rejected["qa_id"], rejected["rule"], rejected["measured"]) == ("q2", "bad_options", 2)


def test_options_that_the_chunk_does_not_decide_are_refused(town):
    teacher = town.ScriptedVLM(lambda request: {"wrong_options": ["Ole", "Ada", "Bo"]})
    generator = town.ScriptedVLM(lambda request: "Ole" if "mill" in town.shown_to(request) else "Marta Olsen")
    rows = [town.draft(qa_id="solved"), town.draft(qa_id="not solved", chunk_id="c3")]
    check = QACheck(name="options_not_solved", threshold=1)
    sorted_out = town.sort(rows, OPTIONS, check, teacher=teacher, generator=generator)
    assert [row["qa_id"] for row in sorted_out.kept] == ["solved"]
    assert [(row["qa_id"], row["measured"]) for row in sorted_out.rejected] == [("not solved", 0)]
    assert all("Options:" in town.shown_to(request) for request in generator.requests)


def test_a_check_asks_only_about_what_the_checks_before_it_let_through(town):
    judge = town.ScriptedVLM(lambda request: {"score": 8})
    rows = [town.draft("Too short", qa_id="q1"), town.draft(qa_id="q2")]
    checks = [QACheck(name="question_too_short", threshold=4), QACheck(name="judged_unfit", threshold=7)]
    sorted_out = town.sort(rows, *checks, judge=judge)
    assert len(judge.requests) == 1
    assert [(step.check, step.num_in, step.num_rejected) for step in sorted_out.steps] == [
        ("read", 2, 0), ("question_too_short", 2, 1), ("judged_unfit", 1, 0),
    ]  # fmt: skip
    tally = sorted_out.steps[-1].tally
    assert (tally.num_calls, tally.input_tokens, tally.output_tokens, tally.cost_usd) == (1, 10, 3, 0.5)
    assert (tally.asked, tally.is_stand_in) == ("scripted-1", False)


def test_equal_requests_are_counted_as_calls_and_paid_once(town):
    judge = town.ScriptedVLM(lambda request: {"score": 8})
    rows = [town.draft(qa_id="q1"), town.draft(qa_id="q2"), town.draft("Who burned it then?", qa_id="q3")]
    tally = town.sort(rows, QACheck(name="judged_unfit", threshold=7), judge=judge).steps[-1].tally
    assert (tally.num_calls, tally.input_tokens, tally.cost_usd) == (3, 20, 1.0)


def test_a_judge_that_refuses_every_call_ends_the_step_with_its_first_words(town):
    judge = town.ScriptedVLM(lambda request: VLMError("HTTP 401: no such key"))
    rows = [town.draft(f"Who built bridge {i} there?", qa_id=f"q{i}") for i in range(GIVE_UP_AFTER * 40)]
    check = QACheck(name="judged_unfit", threshold=7)
    with pytest.raises(VLMError, match=f"not one of {GIVE_UP_AFTER} calls was answered; the first: HTTP 401"):
        town.sort(rows, check, judge=judge)
    assert len(judge.requests) < len(rows) / 2
    with pytest.raises(VLMError, match="not one of 3 calls"):
        town.sort(rows[:3], check, judge=judge)
    assert [row["rule"] for row in town.sort(rows[:2], check, judge=judge).rejected] == ["refused_call"] * 2


def test_kept_and_rejected_together_are_the_drafts_each_once_and_in_order(town):
    rows = [town.draft(f"Who finished bridge {i % 7} over the river?", qa_id=f"q{i:02}") for i in range(20)]
    rows[4]["problem"] = "no_pair: nothing"
    teacher = town.ScriptedVLM(lambda request: {"wrong_options": ["Ole", "Ada", "Bo"]})
    sorted_out = town.sort(rows, QACheck(name="repeated_pair", threshold=1), OPTIONS, teacher=teacher)
    kept, rejected = ([row["qa_id"] for row in part] for part in (sorted_out.kept, sorted_out.rejected))
    assert sorted([*kept, *rejected]) == [row["qa_id"] for row in rows]
    assert (kept, rejected) == (sorted(kept), sorted(rejected))
    assert len(kept) == 7


def test_a_kept_pair_has_options_split_and_modalities_and_rows_fit_their_tables(town):
    rows = [
        town.draft(Document.of("Who finished", town.red, "the stone bridge?")),
        town.draft("no", qa_id="q2", chunk_id="c2"),
        town.draft("Which tower burned in it?", "fire", qa_id="q3", chunk_id="c2"),
    ]
    teacher = town.ScriptedVLM(lambda request: {"wrong_options": ["Ole", "Ada", "Bo"]})
    sorted_out = town.sort(rows, QACheck(name="question_too_short", threshold=4), OPTIONS, teacher=teacher)
    first, second = sorted_out.kept
    assert (first["split"], second["split"]) == ("train", "test")
    assert (first["query_modality"], first["target_modality"]) == ("mixed", "mixed")
    assert (second["query_modality"], second["target_modality"]) == ("text", "text")
    for got, schema in ((sorted_out.kept, FILTERED_QA), (sorted_out.rejected, REJECTED_QA)):
        assert all(sorted(row) == sorted(schema.names) for row in got)
        assert pa.Table.from_pylist(got, schema=schema).num_rows == len(got)


def test_the_plan_knows_every_check_that_asks_and_whom(town):
    asked: dict[str, str] = {}
    for name in QA_CHECK_NAMES:
        for role in ("teacher", "generator", "judge"):
            vlm = town.ScriptedVLM(lambda request: {"answer": "Ole", "score": 5, "wrong_options": ["Ole", "Ada", "Bo"]})
            pair = town.draft(
                Document.of("Who of all of them built", town.red, "it?"), "the tall engineer Marta Olsen of Bergen"
            )
            town.sort([pair], QACheck(name=name, threshold=4), **{role: vlm})
            if vlm.requests:
                asked[name] = role
    assert asked == ROLE_BY_CHECK


def test_a_recipe_whose_pairs_would_lack_words_or_options_is_refused():
    paper = paper_qa()
    with pytest.raises(ConfigError, match="bad_options"):
        replace(paper, checks=tuple(check for check in paper.checks if check.name != "bad_options"))
    with pytest.raises(ConfigError, match="different ones"):
        replace(paper, checks=(*paper.checks, paper.checks[0]))
    with pytest.raises(ConfigError, match="unknown; known: empty"):
        QACheck(name="is_nice", threshold=1)
    with pytest.raises(ConfigError, match="cannot be kept"):
        QACheck(name="bad_options", threshold=4, on_failure="mark")


def test_our_recipe_has_the_papers_checks_in_the_papers_order():
    ours = [check.name for check in nyx_qa().checks]
    papers = [check.name for check in paper_qa().checks]
    assert [name for name in ours if name in papers] == papers
