"""The report says what the tables say, leaves out what is not made, and shows no text as anything but text."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from nyx_assets.__main__ import main
from nyx_assets.report.examples import NUM_HITS, examples_of
from nyx_assets.report.excerpts import PICTURE_PIXELS, plain
from nyx_assets.report.gathering import feedback_rounds
from nyx_assets.report.verdict import verdict_of
from nyx_assets.report.writing import write_report
from resources.home import Home
from resources.tables import Commit, Provenance
from tests.nyx_assets.report.hostile_home import HOSTILE, hostile_home, write, write_differences


class Page(HTMLParser):
    """Which elements and attributes a page has."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return hostile_home(tmp_path / "home")


def written(home: Home) -> str:
    write_report(home, home.report_file, recipe="tiny")
    return home.report_file.read_text(encoding="utf-8")


def test_hostile_text_becomes_no_element_and_no_attribute(home):
    html = written(home)
    page = Page(html)
    assert "script" not in page.tags
    assert page.tags.count("style") == 1
    assert {name for _, name, _ in page.attributes if name.startswith("on")} == set()
    assert "&lt;script&gt;" in html
    assert "{{ 7 * 7 }}" in html
    assert "\x00" not in html


def test_the_page_refers_to_nothing_outside_itself(home):
    page = Page(written(home))
    sources = [value for _, name, value in page.attributes if name in ("src", "href")]
    assert all(source.startswith(("data:image/jpeg;base64,", "data:image/svg+xml;base64,", "#")) for source in sources)
    policies = [value for _, name, value in page.attributes if name == "content" and "default-src" in value]
    assert policies
    assert "script-src" not in policies[0]
    assert "default-src 'none'" in policies[0]


def test_every_link_leads_to_a_section_and_every_picture_says_what_it_shows(home):
    page = Page(written(home))
    ids = {value for _, name, value in page.attributes if name == "id"}
    assert {value[1:] for tag, name, value in page.attributes if (tag, name) == ("a", "href")} <= ids
    alts = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert len(alts) == page.tags.count("img")
    assert all(alts)


def test_an_empty_home_has_a_page_that_says_what_is_missing(tmp_path):
    html = written(Home.at(tmp_path / "new"))
    assert "Nothing is evaluated yet." in html
    assert "Why answers are wrong (blame_split)" in html
    assert "<section" in html  # lineage stays


def test_sections_come_and_go_with_their_tables(home):
    shown = write_report(home, home.report_file, recipe="tiny")
    assert shown["Why answers are wrong"] is True
    assert shown["By modality"] is False
    row = {
        "suite": "nyxqa", "split": "test", "retriever": "finetuned", "query_modality": "text", "blanked": "nothing",
        "target_modality": "mixed", "hit_at_1": 0.123, "hit_at_10": 1.0, "ndcg_at_10": 0.5,
        "wrong_modality_share": 0.25, "num_queries": 8,
    }  # fmt: skip
    write(home, "modality_report", [row, row | {"blanked": "pictures"}])
    setting = {
        "dim": 64, "precision": "int8", "score": 0.654, "loss": 0.01, "bytes_per_vector": 64,
        "search_ms_per_query": 0.2, "is_recommended": True,
    }  # fmt: skip
    unscored = setting | {"dim": 32, "score": None, "loss": None, "search_ms_per_query": None, "is_recommended": False}
    write(home, "index_settings", [setting, unscored])
    html = written(home)
    assert "0.123" in html
    assert "0.654" in html
    assert "Not on this page yet" in html  # the training has no checkpoint here


def test_answers_of_each_generator_stand_with_their_intervals_and_every_gain_from_the_tuned_side(home):
    score = {
        "retriever": "finetuned", "split": "test", "metric": "token_f1", "value": 0.321, "interval_low": 0.222,
        "interval_high": 0.444, "num_queries": 9, "generator": HOSTILE, "is_stand_in": True,
    }  # fmt: skip
    write(home, "rag_scores", [score, score | {"metric": "option_accuracy", "value": 0.555}])
    gain = {
        "split": "test", "metric": "token_f1", "retriever": "finetuned", "against": "bm25", "difference": 0.125,
        "interval_low": 0.031, "interval_high": 0.271, "p_value": 0.0123, "generator": "small",
    }  # fmt: skip
    turned = gain | {"retriever": "none", "against": "finetuned", "difference": -0.25, "p_value": 0.5}
    write(home, "rag_differences", [gain, turned, gain | {"retriever": "golden"}])
    html = written(home)
    assert "0.321 (0.222 to 0.444)" in html
    assert "0.555" in html
    assert "+0.125</td><td>+0.031 to +0.271</td><td>0.0123" in html
    assert "+0.250</td><td>−0.271 to −0.031</td><td>0.5000" in html
    assert HOSTILE not in html


def test_feedback_rounds_stand_on_the_page_while_the_checkpoint_is_one_of_theirs(home):
    row = {
        "round": 1, "checkpoint": "v1", "num_preferences": 12, "dev_score": 0.4321, "gain": 0.0171, "interval_low": -0.01,
        "interval_high": 0.04, "calls": 345, "cached_calls": 67, "cost_usd": 1.5, "reason": HOSTILE, "is_chosen": True,
        "input_tokens": 1, "output_tokens": 1, "is_stand_in": True,
    }  # fmt: skip
    write(home, "feedback_rounds", [row, row | {"round": 2, "is_chosen": False}])
    assert feedback_rounds(home) == []
    folder = home.artifacts.folder("finetuned_checkpoint", "v1")
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    commit = Commit(data_version="v1", num_rows=1, provenance=Provenance(code_version="1"), written_at="now")
    home.artifacts.publish("finetuned_checkpoint", folder, commit)
    assert [one["round"] for one in feedback_rounds(home)] == [1, 2]


@pytest.mark.parametrize(
    ("low", "high", "outcome", "headline"),
    [
        (0.1, 0.7, "better", "is better than"),
        (-0.7, -0.1, "worse", "is worse than"),
        (-0.1, 0.9, "not told apart", "is not shown to be better"),
        (0.0, 0.9, "not told apart", "is not shown to be better"),
    ],
)
def test_the_headline_follows_the_interval_alone(home, low, high, outcome, headline):
    write_differences(home, low=low, high=high)
    verdict = verdict_of(home)
    assert verdict.outcome == outcome
    assert headline in verdict.headline
    assert headline in written(home)


def test_without_intervals_the_headline_claims_nothing(tmp_path):
    home = Home.at(tmp_path / "home")
    rows = [
        {
            "retriever": name, "suite": "nyxqa", "split": "test", "dim": 0, "modality": "all", "metric": "ndcg@10",
            "value": value, "num_queries": 4,
        }
        for name, value in (("untrained", 0.2), ("finetuned", 0.9))
    ]  # fmt: skip
    write(home, "retrieval_scores", rows)
    verdict = verdict_of(home)
    assert verdict.outcome == "no interval"
    assert "whether by chance is not computed" in verdict.headline
    assert [one.against for one in verdict.comparisons] == ["untrained"]


def test_stand_ins_are_warned_of(home):
    html = written(home)
    assert "3 of 3 questions and answers were written by it" in html


def test_golden_chunks_are_marked_at_their_rank(home):
    examples = {example.qa_id: example for example in examples_of(home)}
    assert set(examples) == {"q0", "q1", "q2"}
    for found in examples["q1"].found:
        assert found.golden_rank == 1
        assert [hit.is_golden for hit in found.hits] == [True] + [False] * (NUM_HITS - 1)
    assert {found.retriever for found in examples["q0"].found} == {"bm25", "untrained", "pretrained", "finetuned"}
    assert written(home).count('<li class="golden">') == 3 * 4


def test_a_picture_is_made_small(home):
    html = written(home)
    sizes = {(int(width), int(height)) for width, height in re.findall(r'width="(\d+)" height="(\d+)"', html)}
    assert sizes == {(PICTURE_PIXELS, round(PICTURE_PIXELS * 400 / 600))}


def test_a_picture_that_was_taken_down_is_named_as_gone(home):
    for digest in [path.stem for path in Path(home.images.root).rglob("*") if path.is_file()]:
        home.images.remove(digest)
    assert "picture not in the store any more" in written(home)


def test_text_is_cut_and_loses_what_no_page_may_hold():
    assert plain("a\x00\n\tb\u202ec", 10) == "a b c"
    assert plain("abcdef", 4) == "abc…"


def test_the_same_home_gives_the_same_page(home):
    assert written(home) == written(home)


def test_the_command_writes_where_it_is_told_and_says_where(home, tmp_path, monkeypatch):
    monkeypatch.setenv("NYX_HOME", str(home.root))
    result = CliRunner().invoke(main, ["report", "--out", str(tmp_path / "elsewhere" / "page.html")])
    assert result.exit_code == 0, result.output
    assert Path(result.output.strip()).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert HOSTILE not in (tmp_path / "elsewhere" / "page.html").read_text(encoding="utf-8")


def test_the_command_refuses_a_home_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("NYX_HOME", str(tmp_path / "no"))
    result = CliRunner().invoke(main, ["report"])
    assert result.exit_code == 1
    assert "start with `nyx run`" in result.output
