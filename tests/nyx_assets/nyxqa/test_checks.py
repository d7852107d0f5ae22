"""Each blocking check finds the fault that it is there for, and none in a table that is right."""

import pytest

from nyx_assets.nyxqa import checks
from nyx_assets.nyxqa.funnel import funnel_rows
from nyx_assets.qa_recipes import QACheck
from nyx_assets.records import FILTERED_QA, QA_FUNNEL, RAW_QA, REJECTED_QA
from resources.home import Home
from resources.tables import Provenance
from training_kernels.documents import Document
from training_kernels.errors import VLMError

PARTITION = "one"
RAW_DEFAULTS = {
    "prompt_version": "p", "request_digest": "d", "input_tokens": 1, "output_tokens": 1, "cost_usd": 0.0,
}  # fmt: skip


def write(home: Home, name: str, schema, rows: list[dict]) -> None:
    with home.tables.write(name, schema, partition=PARTITION, provenance=Provenance(code_version="1")) as table:
        table.append(rows)


@pytest.fixture
def made(town) -> dict[str, list[dict]]:
    """The tables of one partition, as they should be."""
    raw = [
        town.draft(qa_id="q1"), town.draft("no", qa_id="q2"), town.draft("", qa_id="q3", problem="no_pair: -"),
        town.draft("Which bridge is it then?", qa_id="q4"),
    ]  # fmt: skip
    teacher = town.ScriptedVLM(lambda request: {"wrong_options": ["Ole", "Ada", "Bo"]})
    judge = town.ScriptedVLM(
        lambda request: VLMError("HTTP 500") if "Which" in town.shown_to(request) else {"score": 9}
    )
    sorted_out = town.sort(
        raw, QACheck(name="question_too_short", threshold=4), QACheck(name="judged_unfit", threshold=7),
        QACheck(name="bad_options", threshold=4), teacher=teacher, judge=judge,
    )  # fmt: skip
    return {
        "raw_qa": [row | RAW_DEFAULTS for row in raw],
        "filtered_qa": sorted_out.kept,
        "rejected_qa": sorted_out.rejected,
        "qa_funnel": funnel_rows(sorted_out.steps),
    }


def faults(find, home: Home, made: dict[str, list[dict]]) -> list[str]:
    for name, schema in (
        ("raw_qa", RAW_QA), ("filtered_qa", FILTERED_QA), ("rejected_qa", REJECTED_QA), ("qa_funnel", QA_FUNNEL),
    ):  # fmt: skip
        write(home, name, schema, made[name])
    return find(home, PARTITION)


ALL = (
    checks.most_checks_were_answered,
    checks.kept_and_rejected_add_up_at_every_step,
    checks.every_draft_is_kept_or_rejected,
    checks.the_right_option_is_the_answer,
    checks.most_calls_were_answered,
)


@pytest.mark.parametrize("find", ALL)
def test_a_right_table_has_no_fault(tmp_path, made, find):
    assert faults(find, Home.at(tmp_path), made) == []


def test_a_step_that_loses_or_invents_a_pair_is_found(tmp_path, made):
    home, find = Home.at(tmp_path), checks.kept_and_rejected_add_up_at_every_step
    whole = [dict(row) for row in made["qa_funnel"]]
    for wrong in (
        [(1, "num_in")],
        [(1, "num_out")],
        [(1, "num_in"), (1, "num_out")],  # adds up in itself, and is not what the step before let through
        [(1, "num_out"), (2, "num_in")],  # hands over what it never had
        [(3, "num_out")],
    ):
        made["qa_funnel"] = [dict(row) for row in whole]
        for step, field in wrong:
            made["qa_funnel"][step][field] += 1
        assert any(whole[wrong[0][0]]["check"] in fault for fault in faults(find, home, made)), wrong
    made["qa_funnel"] = whole
    made["rejected_qa"] = made["rejected_qa"][:-1]
    assert faults(find, home, made)
    assert faults(checks.every_draft_is_kept_or_rejected, home, made)


def test_a_kept_pair_that_the_funnel_never_saw_is_found(tmp_path, made):
    made["filtered_qa"] = [*made["filtered_qa"], made["filtered_qa"][0] | {"qa_id": "planted"}]
    assert faults(checks.kept_and_rejected_add_up_at_every_step, Home.at(tmp_path), made)


def test_calls_and_not_rows_are_counted_and_a_fifth_may_be_refused(tmp_path, town, made):
    def table(num_answered: int, num_refused: int) -> list[dict]:
        answered = [town.draft(qa_id=f"a{i}-{j}", chunk_id=f"a{i}") for i in range(num_answered) for j in range(9)]
        refused = [
            town.draft("", qa_id=f"r{i}", chunk_id=f"r{i}", problem="refused_call: HTTP 401: bad key")
            for i in range(num_refused)
        ]
        return [row | RAW_DEFAULTS for row in [*answered, *refused]]

    home = Home.at(tmp_path)
    made["raw_qa"] = table(8, 2)
    assert faults(checks.most_calls_were_answered, home, made) == []
    made["raw_qa"] = table(7, 2)
    (fault,) = faults(checks.most_calls_were_answered, home, made)
    assert fault.startswith("2 of 9 calls were refused")
    assert "HTTP 401: bad key" in fault


def test_a_check_whose_calls_were_refused_is_found_by_name(tmp_path, made):
    made["qa_funnel"][2] |= {"num_calls": 10, "num_refused_calls": 3}
    (fault,) = faults(checks.most_checks_were_answered, Home.at(tmp_path), made)
    assert fault.startswith("check judged_unfit by scripted-1: 3 of 10 calls")


def test_options_without_the_answer_in_its_place_are_found(tmp_path, made):
    made["filtered_qa"][0]["right_option"] = (made["filtered_qa"][0]["right_option"] + 1) % 4
    assert faults(checks.the_right_option_is_the_answer, Home.at(tmp_path), made)
    assert Document.from_rows(made["filtered_qa"][0]["question"]).text.startswith("Who")
