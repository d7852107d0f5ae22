"""Which public examples are trained on, and what becomes of the others."""

import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nyx_assets.recipes import MixtureRecipe, PictureRecipe, SetShare
from nyx_assets.training.mixture import Objection, PublicExample, Refused, mixed
from resources.images import FolderImageStore
from resources.public_sets import PublicSets
from training_kernels.errors import ConfigError

LIMITS = PictureRecipe(max_bytes=10**6, max_pixels=10**6, min_side_pixels=8)


def write(folder: Path, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(json.dumps(row) for row in rows))


def text_row(number: int) -> dict[str, str]:
    return {"qry": f"question {number}", "pos_text": f"answer {number}", "neg_text": f"wrong {number}"}


def run(
    root: Path, *shares: SetShare, seed: int = 0, max_negatives: int = 5, leaks: Any = lambda examples: {}
) -> tuple[list[PublicExample], list[Refused]]:
    recipe = MixtureRecipe(name="test", shares=shares or (all_of(),), max_negatives=max_negatives)
    store = FolderImageStore(str(root.parent / "store"))
    made = list(mixed(PublicSets(root), store, recipe=recipe, limits=LIMITS, seed=seed, leak_guard=leaks))
    return [one for one in made if isinstance(one, PublicExample)], [one for one in made if isinstance(one, Refused)]


def all_of(match: str = "*", cap: int = 10_000, weight: float = 1.0) -> SetShare:
    return SetShare(match=match, cap=cap, weight=weight)


def queries(examples: Sequence[PublicExample]) -> set[str]:
    return {example.query.text for example in examples}


def test_a_cap_draws_by_seed_from_the_whole_set_whatever_the_order_of_its_rows(tmp_path: Path) -> None:
    root = tmp_path / "sets"
    rows = [text_row(number) for number in range(200)]
    write(root, "a.jsonl", rows)
    drawn = queries(run(root, all_of(cap=40))[0])
    assert len(drawn) == 40
    assert queries(run(root, all_of(cap=15))[0]) < drawn
    assert queries(run(root, all_of(cap=40), seed=1)[0]) != drawn
    places = sorted(int(query.split()[1]) for query in drawn)
    assert places[-1] > 150  # not the first of the file
    write(root, "a.jsonl", rows[::-1])
    assert queries(run(root, all_of(cap=40))[0]) == drawn


def test_the_first_share_that_fits_counts_and_a_set_without_one_is_named(tmp_path: Path) -> None:
    root = tmp_path / "sets"
    for name in ("mmeb_one", "mmeb_two", "hotpot"):
        write(root, f"{name}.jsonl", [text_row(number) for number in range(30)])
    made, refused = run(root, all_of("mmeb_two", cap=7), all_of("mmeb_*", cap=11))
    assert Counter(example.source for example in made) == {"mmeb_one": 11, "mmeb_two": 7}
    assert [(one.source, one.rule) for one in refused] == [("hotpot", "no_share")]


def test_a_weight_is_how_often_an_example_stands_on_average(tmp_path: Path) -> None:
    root = tmp_path / "sets"
    write(root, "a.jsonl", [text_row(number) for number in range(400)])
    made, _ = run(root, all_of(weight=2.25))
    assert {example.copies for example in made} == {2, 3}
    assert sum(example.copies for example in made) == pytest.approx(900, abs=45)
    fewer, refused = run(root, all_of(weight=0.25))
    assert {example.copies for example in fewer} == {1}
    assert (len(fewer), refused) == (pytest.approx(100, abs=45), [])


def test_an_example_that_stands_twice_in_a_set_is_taken_once_and_negatives_are_cut(tmp_path: Path) -> None:
    root = tmp_path / "sets"
    row = text_row(1) | {"neg_text": ["w1", "w2", "w2", "w3", "w4"]}
    write(root / "a", "1.jsonl", [row])
    write(root / "a", "2.jsonl", [row])
    made, _ = run(root, max_negatives=3)
    assert [[one.text for one in example.negatives] for example in made] == [["w1", "w2", "w3"]]


def test_pictures_go_into_the_store_and_a_missing_one_costs_only_what_needs_it(tmp_path: Path) -> None:
    root = tmp_path / "sets"
    picture = io.BytesIO()
    Image.new("RGB", (40, 30), (9, 90, 200)).save(picture, "PNG")
    (root / "images").mkdir(parents=True)
    (root / "images" / "blue.png").write_bytes(picture.getvalue())
    (root / "images" / "broken.png").write_bytes(picture.getvalue()[:40])
    good = {"qry": "<|image_1|> what?", "qry_image_path": "images/blue.png", "pos_text": "blue"}
    write(
        root,
        "a.jsonl",
        [
            good | {"neg_text": ["", "red"], "neg_image_path": [["images/gone.png"], []]},
            good | {"qry_image_path": "images/gone.png", "pos_text": "gone"},
            good | {"qry_image_path": "images/broken.png", "pos_text": "broken"},
        ],
    )
    (example,), refused = run(root)
    assert example.query.modality == "mixed"
    assert FolderImageStore(str(tmp_path / "store")).open(example.query.images[0]).size == (40, 30)
    assert [one.text for one in example.negatives] == ["red"]
    assert sorted(one.rule for one in refused) == ["picture", "picture"]
    assert any("gone.png" in one.reason for one in refused)


def test_broken_rows_and_rows_without_a_positive_are_named_by_file_and_row(tmp_path: Path) -> None:
    root = tmp_path / "sets"
    hotpot = {"question": "q", "supporting_facts": [["A", 0]], "context": [["A"]]}
    musique = {"question": "q", "paragraphs": [{"title": "A", "is_supporting": True}]}
    write(root, "a.jsonl", [text_row(0), {"odd": 1}, hotpot, musique, text_row(1) | {"pos_text": ""}])
    made, refused = run(root)
    assert queries(made) == {"question 0"}
    assert [(one.reference, one.rule) for one in refused] == [
        ("a.jsonl#1", "broken_row"),
        ("a.jsonl#2", "broken_row"),
        ("a.jsonl#3", "broken_row"),
        ("a.jsonl#4", "no_positive"),
    ]


def test_marks_and_pictures_that_disagree_are_refused_with_row_field_and_counts(tmp_path: Path) -> None:
    root = tmp_path / "sets"
    broken = {"qry": "<|image_1|> or <|image_2|>?", "qry_image_path": "images/1.jpg", "pos_text": "plums"}
    write(root, "a.jsonl", [text_row(0), broken])
    made, (refused,) = run(root)
    assert queries(made) == {"question 0"}
    assert (refused.source, refused.reference, refused.rule) == ("a", "a.jsonl#1", "marks_and_pictures")
    assert "qry marks 2 places for pictures, but the row names 1 pictures" in refused.reason


def test_what_leaks_is_refused_with_the_guards_reason(tmp_path: Path) -> None:
    root = tmp_path / "sets"
    write(root, "a.jsonl", [text_row(number) for number in range(3)])

    def guard(examples: Sequence[PublicExample]) -> dict[str, Objection]:
        return {
            example.example_id: Objection("leaks_a_suite", "held out")
            for example in examples
            if example.query.text == "question 2"
        }

    made, refused = run(root, leaks=guard)
    assert queries(made) == {"question 0", "question 1"}
    assert [(one.rule, one.reason) for one in refused] == [("leaks_a_suite", "held out")]


def test_a_share_that_takes_nothing_is_refused() -> None:
    for changes in ({"cap": 0}, {"weight": 0.0}, {"weight": -1.0}):
        with pytest.raises(ConfigError, match="cap of 1 or more and a weight above 0"):
            all_of(**changes)
