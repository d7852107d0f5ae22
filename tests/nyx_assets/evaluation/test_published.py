"""Published benchmarks in their authors' formats, on small files of the same form."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from nyx_assets.evaluation.published.registry import PUBLISHED, open_suite
from nyx_assets.evaluation.remembering import RememberingEmbedder
from nyx_assets.evaluation.retrieval import measure, rank_suite
from nyx_assets.evaluation.retrievers import Bm25Retriever, DenseRetriever
from nyx_assets.evaluation.suite_runs import evaluate_suite, scores_text
from nyx_assets.evaluation.suites import Suite
from nyx_assets.recipes import tiny
from resources.images import FolderImageStore
from training_kernels.errors import ConfigError, DataError

STORE = FolderImageStore("memory://published")
LIMITS = tiny().pictures


def lines(path: Path, *rows: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def picture(path: Path, colour: str) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(file, "PNG")
    path.write_bytes(file.getvalue())
    return file.getvalue()


def opened(asked: str, root: Path) -> Suite:
    return open_suite(asked, root, STORE, limits=LIMITS)


def golds(suite: Suite) -> dict[str, list[str]]:
    """Texts of the golds of each query."""
    return {
        query.query_id: sorted(suite.candidates[gold].text for gold in query.grade_by_id) for query in suite.queries
    }


def hotpot(name: str, question: str, gold: str, context: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "_id": name,
        "question": question,
        "answer": "x",
        "supporting_facts": [[gold, 0]],
        "context": [[title, sentences] for title, sentences in context.items()],
    }


@pytest.mark.parametrize(
    ("name", "file"), [("hotpotqa", "hotpot_dev_distractor_v1.json"), ("2wikimultihopqa", "dev.json")]
)
def test_passages_of_all_questions_are_one_pool_and_equal_ones_one_candidate(tmp_path, name, file):
    shared = {"Harlow": ["Harlow has a bridge.", " It is old."]}
    rows = [
        hotpot("q1", "Which bridge?", "Harlow", {**shared, "Morren": ["A clock."]}),
        hotpot("q2", "Which clock?", "Morren", {**shared, "Morren": ["A clock."], "Tarn": ["A lake."]}),
        hotpot("q3", "Which lake?", "Nowhere", {"Tarn": ["A lake."]}),
    ]
    (tmp_path / name).mkdir()
    (tmp_path / name / file).write_text(json.dumps(rows))
    suite = opened(name, tmp_path)
    assert sorted(one.text for one in suite.candidates.values()) == [
        "Harlow\nHarlow has a bridge. It is old.",
        "Morren\nA clock.",
        "Tarn\nA lake.",
    ]
    assert golds(suite) == {"q1": ["Harlow\nHarlow has a bridge. It is old."], "q2": ["Morren\nA clock."]}
    assert [query.answers for query in suite.queries] == [("x",), ("x",)]
    assert suite.left_out == (("q3", "none of its passages is marked as gold"),)


def test_musique_names_its_supporting_paragraphs(tmp_path):
    paragraphs = [
        {"idx": 0, "title": "A", "paragraph_text": "one", "is_supporting": True},
        {"idx": 1, "title": "B", "paragraph_text": "two", "is_supporting": False},
        {"idx": 2, "title": "C", "paragraph_text": "three", "is_supporting": True},
    ]
    lines(
        tmp_path / "musique" / "musique_ans_v1.0_dev.jsonl",
        {"id": "2hop__1", "question": "q?", "answer": "1", "answer_aliases": ["one"], "paragraphs": paragraphs},
    )
    suite = opened("musique", tmp_path)
    assert suite.queries[0].answers == ("1", "one")
    assert golds(suite) == {"2hop__1": ["A\none", "C\nthree"]}


def test_bamboogle_takes_passages_that_hold_the_answer_as_golds_and_says_what_it_leaves_out(tmp_path):
    folder = tmp_path / "bamboogle"
    lines(
        folder / "passages.jsonl",
        {"title": "Citibank", "text": "Founded in 1812."},
        {"title": "1812", "text": "James Madison was president."},
        {"title": "Jam", "text": "James Madisonville."},
    )
    (folder / "bamboogle.csv").write_text(
        'Question,Answer\n"Who was president?",james madison\nHow many?,2\nWhere?,Ostibeck\n'
    )
    suite = opened("bamboogle", tmp_path)
    assert suite.queries[0].answers == ("james madison",)
    assert golds(suite) == {"bamboogle-001": ["1812\nJames Madison was president."]}
    assert [(name, why.split()[0]) for name, why in suite.left_out] == [
        ("bamboogle-002", "its"),
        ("bamboogle-003", "no"),
    ]


def test_mmqa_pools_passages_tables_and_pictures_and_leaves_out_what_has_lost_its_gold(tmp_path):
    folder = tmp_path / "mmqa"
    lines(folder / "MMQA_texts.jsonl", {"id": "t1", "title": "Harlow", "text": "A town.", "url": "u"})
    table = {
        "table_name": "Results",
        "header": [{"column_name": "Year"}],
        "table_rows": [[{"text": "1904", "links": []}]],
    }
    lines(folder / "MMQA_tables.jsonl", {"id": "b1", "title": "Games", "table": table})
    lines(
        folder / "MMQA_images.jsonl",
        {"id": "i1", "title": "Clock", "path": "c.png"},
        {"id": "i2", "title": "X", "path": "x.png"},
    )
    picture(folder / "final_dataset_images" / "c.png", "red")
    (folder / "final_dataset_images" / "x.png").write_bytes(b"no picture")

    def asked(name: str, *docs: str) -> dict[str, Any]:
        answers = [{"answer": "Lund", "type": "string"}, {"answer": 1904, "type": "string"}]
        context = [{"doc_id": doc} for doc in docs]
        return {"qid": name, "question": f"{name}?", "answers": answers, "supporting_context": context}

    lines(folder / "MMQA_dev.jsonl", asked("q1", "t1", "i1"), asked("q2", "b1"), asked("q3", "i2"), asked("q4", "zz"))
    suite = opened("mmqa", tmp_path)
    assert golds(suite) == {"q1": ["Clock", "Harlow\nA town."], "q2": ["Games, Results\nYear\n1904"]}
    assert suite.queries[0].answers == ("Lund", "1904")
    assert {one.modality for one in suite.candidates.values()} == {"text", "mixed"}
    assert [name for name, _ in suite.left_out] == ["q3", "q4"]
    assert "x.png" in suite.left_out[0][1]


@pytest.fixture
def scienceqa(tmp_path: Path) -> Path:
    problem = {"choices": ["a", "b"], "answer": 0, "hint": "", "split": "test", "image": None}
    problems = {
        "7": problem | {"question": "Which is magnetic?", "lecture": "Magnets pull.", "image": "image.png"},
        "8": problem | {"question": "Which is older?", "lecture": "Rocks lie in layers."},
        "9": problem | {"question": "Which word?", "lecture": " "},
        "3": problem | {"question": "train", "lecture": "Only in training.", "split": "train"},
    }
    picture(tmp_path / "scienceqa" / "test" / "7" / "image.png", "blue")
    (tmp_path / "scienceqa" / "problems.json").write_text(json.dumps(problems))
    return tmp_path


def test_scienceqa_questions_keep_their_pictures_and_show_no_choices(scienceqa):
    suite = opened("scienceqa", scienceqa)
    by_id = {query.query_id: query.document for query in suite.queries}
    assert by_id["7"].modality == "mixed"
    assert STORE.open(by_id["7"].images[0]).size == (64, 48)
    assert (by_id["7"].text, by_id["8"].images) == ("Which is magnetic?", ())
    assert golds(suite) == {"7": ["Magnets pull."], "8": ["Rocks lie in layers."]}
    assert [(one.options, one.right_option, one.answers) for one in suite.queries] == [(("a", "b"), 0, ("a",))] * 2
    assert len(suite.candidates) == 3
    assert suite.left_out == (("9", "it names no lecture"),)


def test_a_scienceqa_picture_that_is_missing_is_an_error_and_no_text_question(scienceqa):
    (scienceqa / "scienceqa" / "test" / "7" / "image.png").unlink()
    with pytest.raises(DataError, match=r"problem 7: picture .*image\.png is missing"):
        opened("scienceqa", scienceqa)


def mmeb_rows() -> list[dict[str, Any]]:
    return [
        {
            "qry_text": "<|image_1|>\nName the colour",
            "qry_img_path": "imgs/red.png",
            "tgt_text": ["red", "blue", "green"],
            "tgt_img_path": ["", "", ""],
        },
        {"qry_text": "a sea", "qry_img_path": "", "tgt_text": ["blue", "red"], "tgt_img_path": ["", ""]},
        {
            "qry_text": "find it",
            "qry_img_path": "",
            "tgt_text": ["<|image_1|>", "green"],
            "tgt_img_path": ["imgs/red.png", ""],
        },
    ]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_an_mmeb_row_ranks_its_own_candidates_and_the_first_is_its_gold(tmp_path, kind):
    folder = tmp_path / "mmeb"
    picture(folder / "imgs" / "red.png", "red")
    if kind == "jsonl":
        lines(folder / "Colours.jsonl", *mmeb_rows())
    else:
        (folder / "Colours").mkdir()
        pq.write_table(pa.Table.from_pylist(mmeb_rows()), folder / "Colours" / "test-0.parquet")
    suite = opened("mmeb:Colours", tmp_path)
    assert suite.name == "mmeb_Colours"
    assert [sorted(suite.candidates[one].text for one in query.among) for query in suite.queries] == [
        ["blue", "green", "red"],
        ["blue", "red"],
        ["", "green"],
    ]
    assert [list(texts) for texts in golds(suite).values()] == [["red"], ["blue"], [""]]
    first = suite.queries[0].document
    assert [segment.kind for segment in first.segments] == ["image", "text"]
    assert first.text == "Name the colour"


class Constant:
    """Gives every document one embedding, and counts what it embeds."""

    dim, dims, reads_pictures = 2, (2,), True

    def __init__(self) -> None:
        self.num_embedded = 0

    def embed(self, documents, *, side):
        self.num_embedded += len(documents)
        return np.tile(np.array([[1.0, 0.0]], dtype=np.float32), (len(documents), 1))


def test_a_model_that_gives_every_mmeb_candidate_one_score_is_never_right(tmp_path):
    folder = tmp_path / "mmeb"
    picture(folder / "imgs" / "red.png", "red")
    lines(folder / "Colours.jsonl", *mmeb_rows())
    embedder = Constant()
    retriever = DenseRetriever("constant", RememberingEmbedder(embedder))
    rows = measure(retriever, opened("mmeb:Colours", tmp_path), split="test", recipe=tiny().evaluation).rows
    value = {row["metric"]: row["value"] for row in rows if row["modality"] == "all"}
    assert value["precision@1"] == 0
    assert value["mrr"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3)
    assert embedder.num_embedded == 3 + 4  # each query and each candidate once, whichever rows it stands in


def test_candidates_of_other_rows_are_not_ranked(tmp_path):
    lines(
        tmp_path / "mmeb" / "S.jsonl",
        {"qry_text": "red boat", "qry_img_path": "", "tgt_text": ["boat", "tower"], "tgt_img_path": ["", ""]},
        {"qry_text": "boat", "qry_img_path": "", "tgt_text": ["red boat", "sea"], "tgt_img_path": ["", ""]},
    )
    suite = opened("mmeb:S", tmp_path)
    rankings = rank_suite(Bm25Retriever(), suite)[0]
    assert [[suite.candidates[hit].text for hit, _ in ranking] for ranking in rankings] == [["boat"], ["red boat"]]


def test_one_line_form_pools_as_well_and_a_suite_runs_by_name(tmp_path, home, clock_embedders):
    rows = [
        {
            "id": f"q{number}",
            "question": f"where is town {number}",
            "passages": [
                {"id": "p0", "title": f"town {number}", "text": "here"},
                {"id": "p1", "title": "", "text": "no"},
            ],
            "gold_ids": ["p0"] if number else [],
        }
        for number in range(3)
    ]
    lines(tmp_path / "mine.jsonl", *rows)
    made = evaluate_suite(home, clock_embedders(), STORE, "qa_lines:mine", "bm25", tiny(), published=tmp_path).rows
    assert {(row["suite"], row["num_candidates"], row["num_left_out"]) for row in made} == {("mine", 4, 1)}
    assert {row["value"] for row in made if row["metric"] == "recall@1"} == {1.0}
    assert "4 candidates, 1 queries left out" in scores_text(made)


def test_what_is_unknown_missing_or_without_golds_is_named(tmp_path):
    with pytest.raises(ConfigError, match="known: 2wikimultihopqa, bamboogle, hotpotqa, mmeb, mmqa, musique"):
        opened("hotpot", tmp_path)
    with pytest.raises(ConfigError, match="NYX_SUITES"):
        open_suite("hotpotqa", None, STORE, limits=LIMITS)
    for name in PUBLISHED:
        with pytest.raises(DataError, match=r"holds (none|neither)"):
            opened(f"{name}:x", tmp_path)
    lines(tmp_path / "mine.jsonl", {"id": "q", "question": "?", "passages": [{"id": "p", "text": "t"}], "gold_ids": []})
    with pytest.raises(DataError, match="no query with a gold candidate is left of 1; query q: none of its passages"):
        opened("qa_lines:mine", tmp_path)
    lines(
        tmp_path / "outside.jsonl",
        {"qry_text": "", "qry_img_path": "../../x.png", "tgt_text": ["a"], "tgt_img_path": [""]},
    )
    with pytest.raises(DataError, match="leaves the folder"):
        opened("mmeb:outside", tmp_path)
    lines(tmp_path / "musique_ans_v1.0_dev.jsonl", {"id": "x", "question": "q?"})
    with pytest.raises(DataError, match="line 1: field 'paragraphs' is missing"):
        opened("musique", tmp_path)
