"""Each export is read back by what it is for: our own suite reader, our reader of MMEB rows, Parquet, the swift rules."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from nyx_assets.__main__ import main
from nyx_assets.evaluation.suites import read_suite
from nyx_assets.export.exporting import export
from nyx_assets.query_pictures import query_picture_store
from nyx_assets.recipes import tiny
from nyx_assets.training.public_sets import RawDocument, examples_of_row
from resources.home import Home
from training_kernels.documents import Document
from training_kernels.errors import ConfigError, DataError, IncompleteArtifact


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def size_of(file: Path) -> tuple[int, int]:
    with Image.open(file) as picture:
        return picture.size


def test_a_suite_comes_back_as_it_was_with_its_pictures_and_equal_chunks_as_golds(
    home: Home, pictures: dict[str, str], tmp_path: Path
) -> None:
    report = export(home, tmp_path / "out", "beir", None)
    suite = read_suite(tmp_path / "out", query_picture_store(), limits=tiny().pictures)
    stored = home.tables.read("chunked_corpus").to_pylist()
    assert dict(suite.candidates) == {row["chunk_id"]: Document.from_rows(row["segments"]) for row in stored}
    (query,) = suite.queries
    assert (query.query_id, query.document) == ("q2", Document.of("What is literal?"))
    assert dict(query.grade_by_id) == {"c2": 1, "c4": 1}
    assert report.rows == {"corpus": 5, "queries": 1, "qrels": 2}
    assert report.pictures == 3


def test_beir_and_trec_files_say_the_same_in_their_own_words(home: Home, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(home, out, "beir", "train")
    corpus = {row["_id"]: row for row in rows_of(out / "corpus.jsonl")}
    assert corpus["c1"]["text"] == "A red door\n<|image_1|>\nand a green one\n<|image_2|>"
    assert corpus["c1"]["title"] == "Page p1"
    assert corpus["c1"]["metadata"] == {"url": "https://one.example/a", "licence": "CC BY 4.0", "doc_id": "p1"}
    assert [row["_id"] for row in rows_of(out / "queries.jsonl")] == ["q1"]
    assert (out / "qrels" / "train.tsv").read_text() == "query-id\tcorpus-id\tscore\nq1\tc1\t1\n"
    assert (out / "trec" / "train.qrels").read_text() == "q1 0 c1 1\n"


def test_mmeb_rows_are_texts_only_and_come_back_through_our_reader(home: Home, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(home, out, "mmeb", None)
    (row,) = rows_of(out / "train.jsonl")
    assert set(map(type, row.values())) == {str}
    (example,) = examples_of_row(row)

    def parts(document: RawDocument) -> list[Any]:
        return [value if kind == "text" else size_of(out / value) for kind, value in document.segments]

    assert parts(example.query) == ["Which door is this?", (61, 40)]
    assert parts(example.positive) == ["A red door", (60, 40), "and a green one", (61, 40)]
    assert [parts(one) for one in example.negatives] == [["[1] a footnote"], [(62, 40)]]


def test_swift_rows_have_as_many_paths_as_marks_in_every_group(home: Home, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(home, out, "swift", "test")
    (row,) = rows_of(out / "test.jsonl")
    assert row["positive_messages"][0][0]["content"] == "Plain text with a literal < image> mark | and a pipe"
    export(home, tmp_path / "train", "swift", None)
    (row,) = rows_of(tmp_path / "train" / "train.jsonl")
    assert row["messages"] == [{"role": "user", "content": "Which door is this?\n<image>"}]
    assert row["positive_messages"] == [[{"role": "user", "content": "A red door\n<image>\nand a green one\n<image>"}]]
    assert [one[0]["content"] for one in row["negative_messages"]] == ["[1] a footnote", "<image>"]
    groups = [(row["messages"], row["images"])]
    for side in ("positive", "negative"):
        groups += zip(row[f"{side}_messages"], row[f"{side}_images"], strict=True)
    for messages, paths in groups:
        assert len(re.findall("<image>", messages[0]["content"])) == len(paths)
    assert [size_of(tmp_path / "train" / path) for path in row["positive_images"][0]] == [(60, 40), (61, 40)]


def test_a_hugging_face_folder_holds_every_split_and_chunk_with_the_pictures_inside(
    home: Home, pictures: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    report = export(home, out, "hf", None)
    assert report.rows == {"train": 1, "dev": 1, "test": 1, "corpus": 5}
    (row,) = pq.read_table(out / "qa" / "train.parquet").to_pylist()
    assert row["question"][1] == {"kind": "image", "text": None, "image": pictures["green"]}
    assert Image.open(io.BytesIO(row["question_pictures"][0]["bytes"])).size == (61, 40)
    assert (row["chunk_id"], row["hard_negatives"], row["hard_negative_scores"]) == ("c1", ["c5", "c3"], [0.7, 0.6])
    assert row["options"][row["right_option"]] == row["answer"] == "the green one"
    corpus = {row["chunk_id"]: row for row in pq.read_table(out / "corpus" / "corpus.parquet").to_pylist()}
    assert [Image.open(io.BytesIO(one["bytes"])).size for one in corpus["c1"]["pictures"]] == [(60, 40), (61, 40)]
    assert (corpus["c3"]["url"], corpus["c3"]["licence"]) == ("https://two.example/b", None)
    footer = json.loads(pq.read_schema(out / "qa" / "train.parquet").metadata[b"huggingface"])
    assert footer["info"]["features"]["question_pictures"] == [{"_type": "Image"}]
    assert footer["info"]["features"].keys() == row.keys()


def test_the_library_datasets_loads_the_folder(home: Home, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the library datasets is not installed")
    export(home, tmp_path / "out", "hf", None)
    loaded = datasets.load_dataset(str(tmp_path / "out"), "qa", cache_dir=str(tmp_path / "cache"))
    assert {name: split.num_rows for name, split in loaded.items()} == {"train": 1, "dev": 1, "test": 1}
    assert loaded["train"][0]["question_pictures"][0].size == (61, 40)


def write_ledger(home: Home) -> None:
    """Calls of this data set, of others, and such that cost nothing."""
    call = {"asset": "raw_qa", "model": "some-vlm", "input_tokens": 900, "output_tokens": 50, "is_cached": False}
    rows = [
        call | {"request_digest": "w1", "cost_usd": 1.25},
        call | {"request_digest": "w1", "cost_usd": 9.0, "is_cached": True},
        call | {"request_digest": "w2", "cost_usd": 0.5},
        call | {"request_digest": "j1", "cost_usd": 0.25, "asset": "filtered_qa", "model": "a-judge"},
        call | {"request_digest": "j2", "cost_usd": 9.0, "asset": "filtered_qa", "error": "refused"},
        call | {"request_digest": "an older prompt", "cost_usd": 9.0},
        call | {"request_digest": "an older check", "cost_usd": 9.0, "asset": "filtered_qa"},
        call | {"request_digest": "a window", "cost_usd": 9.0, "asset": "feedback_preferences"},
        call | {"request_digest": "n1", "cost_usd": 0.125, "asset": "negatives", "model": "a-judge"},
    ]
    ledger = home.root / "vlm" / "ledger"
    ledger.mkdir(parents=True)
    (ledger / "host-1-a.jsonl").write_text("\n".join(json.dumps({"error": None} | row) for row in rows))


@pytest.mark.parametrize("export_format", ["hf", "beir", "mmeb", "swift"])
def test_the_card_of_every_format_says_where_it_comes_from_what_it_cost_and_who_wrote_it(
    home: Home, tmp_path: Path, export_format: Any
) -> None:
    write_ledger(home)
    export(home, tmp_path / "out", export_format, None)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    header, body = card.split("---\n", 2)[1:]
    fields = dict(line.split(": ", 1) for line in header.splitlines())
    if export_format == "hf":
        assert [one["config_name"] for one in json.loads(fields["configs"])] == ["qa", "corpus"]
    lines = body.splitlines()
    for line in (
        "| CC BY 4.0 | 1 | 2 |",
        "| not stated by the source | 1 | 3 |",
        "| write [chunks] | 11 | 11 |  |  |  |  |",
        "| empty (1) | 11 | 9 | 2 |  |  |  |",
        "| judged_unfit (7) | 11 | 9 | 2 |  |  | refused_call 2 |",
        "| in another crawl already | 1 |",
        "| pairs | 3 |",
        "| – refused: contains_answer | 1 |",
        "| write | some-vlm | 2 | 1,800 | 100 | 1.75 |",
        "| judged_unfit | a-judge | 1 | 900 | 50 | 0.25 |",
        "| negatives | a-judge | 1 | 900 | 50 | 0.12 |",
        "| all |  | 4 | 3,600 | 200 | 2.12 |",
        f"| filtered_qa | {home.input_version('filtered_qa', None)} |",
    ):
        assert line in lines, line
    assert "The 4 different requests that this data set was made of" in body
    assert "1 of them are not in this home's ledger" in body
    assert "1 of 3 pairs were written by the offline stand-in" in body


def test_without_a_ledger_the_card_says_that_the_cost_is_not_known(home: Home, tmp_path: Path) -> None:
    export(home, tmp_path / "out", "mmeb", None)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "4 of them are not in this home's ledger, so what they cost is not known here." in card


def test_nothing_is_written_over_and_a_failed_export_leaves_nothing(home: Home, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(home, out, "mmeb", None)
    before = sorted(out.rglob("*"))
    with pytest.raises(ConfigError, match="out exists already"):
        export(home, out, "swift", None)
    assert sorted(out.rglob("*")) == before
    for picture in (tmp_path / "home" / "images").rglob("*.png"):
        picture.unlink()
    with pytest.raises(DataError, match="picture"):
        export(home, tmp_path / "other", "mmeb", None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "out"]


def test_a_home_without_nyxqa_is_named(tmp_path: Path) -> None:
    with pytest.raises(IncompleteArtifact, match="materialize"):
        export(Home.at(tmp_path / "empty"), tmp_path / "out", "hf", None)


def test_the_command_reports_as_json_and_fails_with_a_status(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NYX_HOME", str(home.root))
    arguments = ["export", str(tmp_path / "out"), "--format", "beir", "--split", "dev", "--json"]
    made = CliRunner().invoke(main, arguments)
    assert made.exit_code == 0, made.output
    report = json.loads(made.output)
    assert (report["format"], report["rows"]["queries"], report["has_stand_ins"]) == ("beir", 1, True)
    again = CliRunner().invoke(main, arguments)
    assert (again.exit_code, "exists already" in again.output) == (1, True)
    for wrong in (["--format", "csv"], []):
        assert CliRunner().invoke(main, ["export", str(tmp_path / "new"), *wrong]).exit_code == 2
