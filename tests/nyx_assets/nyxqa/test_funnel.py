"""The funnel counts every chunk and pair at every step, adds partitions up, and shows what was refused."""

import pyarrow as pa
import pytest
from PIL import Image

from nyx_assets.funnels import summed
from nyx_assets.nyxqa.funnel import (
    funnel_markdown,
    funnel_rows,
    funnel_text,
    step_of_sampling,
    step_of_writing,
)
from nyx_assets.qa_recipes import QACheck
from nyx_assets.records import QA_FUNNEL
from resources.home import Home
from resources.tables import Provenance
from training_kernels.documents import Document, Segment


def sampled(chunk_id: str, reason: str | None) -> dict:
    return {"chunk_id": chunk_id, "reason": reason}


def raw(chunk_id: str, problem: str | None = None, variant="text_only", cost=0.25) -> dict:
    return {
        "chunk_id": chunk_id, "variant": variant, "problem": problem, "teacher": "t", "is_stand_in": False,
        "input_tokens": 5, "output_tokens": 2, "cost_usd": cost,
    }  # fmt: skip


def test_chunks_that_were_not_drawn_are_counted_by_reason():
    step = step_of_sampling([sampled("a", None), sampled("b", "not_drawn: 0.7"), sampled("c", "no_variant: 9")])
    assert (step.num_in, step.num_rejected) == (3, 2)
    assert dict(step.rejected_by_rule) == {"not_drawn": 1, "no_variant": 1}
    assert step.examples == ["b", "c"]


def test_a_chunk_is_lost_in_writing_only_if_no_call_about_it_gave_a_pair():
    rows = [
        raw("whole"), raw("whole", "beyond_limit: 6"),
        raw("half", "refused_call: 500"), raw("half", None, "single_image"),
        raw("lost", "unreadable_reply: ?"), raw("lost", "refused_call: 500", "multi_image", cost=0.0),
    ]  # fmt: skip
    step = step_of_writing(rows, num_chunks=3)
    assert dict(step.rejected_by_rule) == {"unreadable_reply": 1}
    assert (step.tally.num_calls, step.tally.num_refused) == (5, 2)
    assert (step.tally.input_tokens, step.tally.cost_usd) == (30, 1.25)


def funnel_of(town, rows) -> tuple[list[dict], list[dict]]:
    teacher = town.ScriptedVLM(lambda request: {"wrong_options": ["Ole", "Ada", "Bo"]})
    checks = [QACheck(name="question_too_short", threshold=4), QACheck(name="bad_options", threshold=4)]
    sorted_out = town.sort(rows, *checks, teacher=teacher)
    sampling = step_of_sampling([sampled("c1", None), sampled("c2", None), sampled("c3", "not_drawn: 1")])
    return funnel_rows([sampling, *sorted_out.steps]), sorted_out.rejected


@pytest.fixture
def rows(town) -> list[dict]:
    shown = Document.of("Which", Segment(image="a" * 64), "?")
    return [town.draft(qa_id="q1"), town.draft(shown, qa_id="q2"), town.draft("", qa_id="q3", problem="no_pair: -")]


def test_every_step_takes_in_what_the_one_before_let_out(town, rows):
    funnel, _ = funnel_of(town, rows)
    counts = [(row["step"], row["check"], row["num_in"], row["num_out"], row["num_rejected"]) for row in funnel]
    assert counts == [
        (1, "sample", 3, 2, 1), (2, "read", 3, 2, 1), (3, "question_too_short", 2, 1, 1), (4, "bad_options", 1, 1, 0),
    ]  # fmt: skip
    assert pa.Table.from_pylist(funnel, schema=QA_FUNNEL).num_rows == 4
    assert all(sorted(row) == sorted(QA_FUNNEL.names) for row in funnel)


def test_partitions_are_added_up_step_by_step(town, rows):
    (sample, read, short, options) = summed([*funnel_of(town, rows)[0], *funnel_of(town, rows[:2])[0]])
    assert (sample["num_in"], read["num_in"], short["num_rejected"], options["num_calls"]) == (6, 5, 2, 2)
    assert dict(read["rules"]) == {"no_pair": 1}
    assert options["cost_usd"] == 1.0


def test_the_command_line_shows_each_step_and_nothing_before_there_is_one(tmp_path, town, rows):
    home = Home.at(tmp_path)
    assert funnel_text(home) == ""
    for partition in ("one", "two"):
        with home.tables.write(
            "qa_funnel", QA_FUNNEL, partition=partition, provenance=Provenance(code_version="1")
        ) as table:
            table.append(funnel_of(town, rows)[0])
    cells = [line.split() for line in funnel_text(home).splitlines()]
    assert ["read", "6", "4", "2", "no_pair", "2"] in cells
    assert ["bad_options", "(4)", "2", "2", "2", "26", "1.0000"] in cells


class OnePicture:
    """A picture source with one red picture under every name."""

    def open(self, digest: str) -> Image.Image:
        return Image.new("RGB", (8, 8), "red")


def test_the_ui_shows_examples_of_what_was_refused_with_their_pictures(town, rows):
    text = funnel_markdown(*funnel_of(town, rows), OnePicture())
    assert "| question_too_short (4) | 2 | 1 | 1 |" in text
    (example,) = [line for line in text.splitlines() if "words; at least 4 allowed" in line]
    assert "data:image/jpeg;base64," in example


def test_checks_for_safety_stand_in_the_funnel_with_examples(town, tmp_path):
    rows = [
        town.draft("Whose mailbox is marta@fjordmail.no then?", qa_id="mail"),
        town.draft("Which tower burned in the fire?", qa_id="blocked", chunk_id="c2"),
        town.draft(qa_id="good"),
    ]
    checks = [QACheck(name="unsafe_source", threshold=0), QACheck(name="personal_data", threshold=0)]
    sorted_out = town.sort(rows, *checks, url_by_doc={"d1": "https://town.example", "d2": "https://a.xxx/tower"})
    shown = funnel_markdown(funnel_rows(sorted_out.steps), sorted_out.rejected, Home.at(tmp_path).images)
    lines = shown.splitlines()
    assert any(line.startswith("| unsafe_source (0) | 3 | 2 | 1 |") for line in lines)
    assert any(line.startswith("| personal_data (0) | 2 | 1 | 1 |") for line in lines)
    (blocked,) = (line for line in lines if "'a.xxx' is in the blocked domain(s) xxx" in line)
    assert "Which tower burned in the fire?" in blocked
    assert any("hold an e-mail address" in line for line in lines)
