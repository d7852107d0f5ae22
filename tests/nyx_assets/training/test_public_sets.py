"""Rows of public sets in their published schemas."""

import json
from pathlib import Path
from typing import Any

import pytest

from nyx_assets.training.placeholders import MarksDisagree, interleaved
from nyx_assets.training.public_sets import RawDocument, examples_of_row
from resources.public_sets import PublicSets
from training_kernels.errors import DataError


def parts(document: RawDocument) -> list[str]:
    """Texts as they are, pictures in brackets."""
    return [value if kind == "text" else f"[{value}]" for kind, value in document.segments]


def read(row: dict[str, Any]) -> list[tuple[Any, Any, Any]]:
    return [
        (parts(one.query), parts(one.positive), [parts(negative) for negative in one.negatives])
        for one in examples_of_row(row)
    ]


def test_an_mmeb_row_of_plain_texts() -> None:
    row = {
        "qry": "<|image_1|>\nWhat is on the plate?\n",
        "qry_image_path": "images/A/1.jpg",
        "pos_text": "plums",
        "pos_image_path": "",
        "neg_text": "a lamp",
        "neg_image_path": "",
    }
    assert read(row) == [(["[images/A/1.jpg]", "What is on the plate?"], ["plums"], [["a lamp"]])]


def test_an_mmeb_row_with_lists_as_json_text_is_parsed_not_evaluated() -> None:
    row = {
        "qry": "Find a harbour.",
        "qry_image_path": "[]",
        "pos_text": "<|image_1|>\nRepresent the given image.",
        "pos_image_path": '["h.jpg"]',
        "neg_text": json.dumps(["<|image_1|> a dock", 'it\'s null and "void"', ""]),
        "neg_image_path": json.dumps([["d.jpg"], [], ["only.jpg"]]),
    }
    assert read(row) == [
        (
            ["Find a harbour."],
            ["[h.jpg]", "Represent the given image."],
            [["[d.jpg]", "a dock"], ['it\'s null and "void"'], ["[only.jpg]"]],
        )
    ]
    # a Python expression is a text like any other
    assert read(row | {"neg_text": "[print('run')]", "neg_image_path": ""})[0][2] == [["[print('run')]"]]


def test_an_mmeb_row_from_parquet_has_real_lists_and_one_candidate_may_have_several_pictures() -> None:
    row = {
        "qry": "first <|image_1|> then <|image_2|> end",
        "qry_image_path": ["1.jpg", "2.jpg"],
        "pos_text": "both: <|image_1|><|image_2|>",
        "pos_image_path": ["3.jpg", "4.jpg"],
        "neg_text": [],
        "neg_image_path": [],
    }
    assert read(row) == [(["first", "[1.jpg]", "then", "[2.jpg]", "end"], ["both:", "[3.jpg]", "[4.jpg]"], [])]


def test_an_empty_positive_makes_no_example_and_an_equal_negative_is_none() -> None:
    row = {"qry": "q", "qry_image_path": "", "pos_text": "p", "pos_image_path": "", "neg_text": ["p", "n"]}
    assert read(row) == [(["q"], ["p"], [["n"]])]
    assert read(row | {"pos_text": ""}) == []
    with pytest.raises(DataError, match="neither text nor picture"):
        read(row | {"qry": ""})
    with pytest.raises(DataError, match="neg_text has 2 entries and neg_image_path 3"):
        read(row | {"neg_image_path": ["a", "b", "c"]})


@pytest.mark.parametrize(
    ("text", "paths", "expected"),
    [
        ("a <image> b", ["1"], ["a", "[1]", "b"]),
        ("<|image_pad|>", ["1"], ["[1]"]),
        ("no mark", ["1", "2"], ["[1]", "[2]", "no mark"]),
        ("<image> and <image>", ["1", "2"], ["[1]", "and", "[2]"]),
        ("  ", [], []),
    ],
)
def test_a_mark_becomes_the_next_picture(text: str, paths: list[str], expected: list[str]) -> None:
    assert parts(RawDocument(interleaved(text, paths, field="qry"))) == expected


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"qry": "<image> or <image>", "qry_image_path": "1.jpg"},
            "qry marks 2 places for pictures, .* names 1 pictures",
        ),
        ({"qry": "one <image>", "qry_image_path": ["1.jpg", "2.jpg"]}, "qry marks 1 places .* names 2 pictures"),
        ({"qry": "orphan <|image_1|> mark"}, "qry marks 1 places .* names 0 pictures"),
        ({"pos_text": "<image><image>", "pos_image_path": ["1.jpg"]}, "pos_text marks 2 places .* names 1 pictures"),
        (
            {"neg_text": ["a", "<image>"], "neg_image_path": [["1.jpg"], ["2.jpg", "3.jpg"]]},
            r"neg_text\[1\] marks 1 places .* names 2 pictures",
        ),
    ],
)
def test_marks_that_are_not_as_many_as_the_pictures_are_told_with_field_and_counts(
    changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(MarksDisagree, match=told):
        examples_of_row({"qry": "q", "pos_text": "p"} | changes)


HOTPOT = {
    "_id": "5a8b",
    "question": "Which moon is yellow?",
    "answer": "Io",
    "supporting_facts": [["Io", 0], ["Jupiter", 1], ["Io", 1]],
    "context": [
        ["Io", ["Io is a moon.", " It is yellow."]],
        ["Mars", ["Mars is red."]],
        ["Jupiter", ["Jupiter is big.", "It has moons."]],
    ],
}
FROM_HOTPOT = [
    (
        ["Which moon is yellow?"],
        ["Io\nIo is a moon. It is yellow."],
        [["Mars\nMars is red."]],
    ),
    (
        ["Which moon is yellow?"],
        ["Jupiter\nJupiter is big. It has moons."],
        [["Mars\nMars is red."]],
    ),
]


def test_hotpotqa_and_2wiki_as_their_authors_publish_them_as_columns_and_as_json_text() -> None:
    columns = HOTPOT | {
        "supporting_facts": {"title": ["Io", "Jupiter", "Io"], "sent_id": [0, 1, 1]},
        "context": {
            "title": [title for title, _ in HOTPOT["context"]],
            "sentences": [sentences for _, sentences in HOTPOT["context"]],
        },
    }
    content = columns | {"context": {"title": columns["context"]["title"], "content": columns["context"]["sentences"]}}
    as_text = {name: json.dumps(value) if isinstance(value, list) else value for name, value in HOTPOT.items()}
    for row in (HOTPOT, columns, content, as_text):
        assert read(row) == FROM_HOTPOT


def test_musique_by_its_supporting_paragraphs() -> None:
    row = {
        "id": "2hop__1_2",
        "question": "Which moon is yellow?",
        "paragraphs": [
            {"idx": 0, "title": "Mars", "paragraph_text": "Mars is red.", "is_supporting": False},
            {"idx": 1, "title": "Io", "paragraph_text": "Io is a moon. It is yellow.", "is_supporting": True},
        ],
    }
    assert read(row) == FROM_HOTPOT[:1]


@pytest.mark.parametrize("row", [{"text": "a"}, {"question": "q", "answer": "a"}])
def test_a_row_of_no_known_set_is_named_by_its_fields(row: dict[str, str]) -> None:
    with pytest.raises(DataError, match=f"fields {sorted(row)!r} are those of no known set".replace("[", r"\[")):
        examples_of_row(row)


def test_real_questions_have_their_gold_passages_as_positives_and_no_other_gold_as_negative(shared_data: Path) -> None:
    sets = PublicSets(shared_data / "qa")
    counts = {}
    for name in ("hotpotqa_dev", "2wikimultihopqa_dev", "musique_ans"):
        rows = [row for file in sets.files_by_set()[name] for row in sets.rows(file)]
        made = 0
        for row in rows:
            gold_texts = {one["text"].strip() for one in row["passages"] if one["id"] in row["gold_ids"]}
            for example in examples_of_row(row):
                made += 1
                assert example.query.segments == (("text", row["question"]),)
                assert example.positive.segments[0][1].split("\n", 1)[1] in gold_texts
                assert len(example.negatives) > 0 or len(row["passages"]) == len(row["gold_ids"])
                assert all(one.segments[0][1].split("\n", 1)[1] not in gold_texts for one in example.negatives)
        assert made == sum(len(set(row["gold_ids"])) for row in rows)
        counts[name] = len(rows)
    assert counts == {"hotpotqa_dev": 497, "2wikimultihopqa_dev": 122, "musique_ans": 216}
