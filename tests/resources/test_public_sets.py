"""A folder of downloaded sets, in every file format."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resources.public_sets import PublicSets
from training_kernels.errors import ConfigError, DataError

ROWS = [{"question": "one", "n": 1}, {"question": "zwei – 二", "n": 2}]


@pytest.fixture
def sets(tmp_path: Path) -> PublicSets:
    (tmp_path / "flat.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n")
    with gzip.open(tmp_path / "packed.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS))
    (tmp_path / "array.json").write_text(json.dumps(ROWS))
    (tmp_path / "mmeb" / "COCO").mkdir(parents=True)
    for number in range(2):
        pq.write_table(
            pa.Table.from_pylist(ROWS[number : number + 1]), tmp_path / "mmeb" / "COCO" / f"{number}.parquet"
        )
    (tmp_path / "mmeb" / "COCO" / "notes.txt").write_text("no set")
    return PublicSets(tmp_path)


def test_every_format_yields_the_same_rows_under_the_sets_name(sets: PublicSets) -> None:
    files = sets.files_by_set()
    assert list(files) == ["array", "flat", "mmeb/COCO", "packed"]
    for name, paths in files.items():
        assert [dict(row) for file in paths for row in sets.rows(file)] == ROWS, name


def test_pictures_are_found_beside_the_file_and_above_it_but_never_outside(sets: PublicSets, tmp_path: Path) -> None:
    file = tmp_path / "mmeb" / "COCO" / "0.parquet"
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "far.jpg").write_bytes(b"far")
    (file.parent / "near.jpg").write_bytes(b"near")
    secret = tmp_path.parent / "secret.jpg"
    secret.write_bytes(b"secret")
    assert sets.picture(file, "near.jpg") == b"near"
    assert sets.picture(file, "images/far.jpg") == b"far"
    for path in ("missing.jpg", "../../../secret.jpg", str(secret)):
        with pytest.raises(DataError, match="neither beside 0.parquet nor in a folder above"):
            sets.picture(file, path)


def test_the_fingerprint_changes_with_the_content_only(sets: PublicSets, tmp_path: Path) -> None:
    before = sets.fingerprint()
    assert PublicSets(tmp_path).fingerprint() == before
    with (tmp_path / "flat.jsonl").open("a") as file:
        file.write("{}\n")
    assert sets.fingerprint() != before


def test_what_is_no_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n{"x": \n')
    (tmp_path / "b.json").write_text('{"x": 1}')
    (tmp_path / "c.json").write_text("[[1]]")
    sets = PublicSets(tmp_path)
    for name, message in (
        ("a.jsonl", "line 2: not JSON"),
        ("b.json", "one array"),
        ("c.json", "row 0: a row is an object"),
    ):
        with pytest.raises(DataError, match=message):
            list(sets.rows(tmp_path / name))


def test_without_a_folder_there_are_no_sets_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    assert PublicSets(None).files_by_set() == {}
    with pytest.raises(ConfigError, match=r"NYX_PUBLIC_SETS must be a folder, got .*nowhere"):
        PublicSets(tmp_path / "nowhere")


def test_a_set_of_the_hub_is_streamed_through_datasets(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="the library datasets is not installed")
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS))
    (tmp_path / "hub").mkdir()
    file = tmp_path / "hub" / "mine.hub.json"
    file.write_text(json.dumps({"path": "json", "data_files": str(tmp_path / "rows.jsonl"), "split": "train"}))
    assert [dict(row) for row in PublicSets(tmp_path / "hub").rows(file)] == ROWS


def test_a_set_of_the_hub_without_path_or_library_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.hub.json"
    file.write_text('{"path": "hotpotqa/hotpot_qa"}')
    with pytest.raises((DataError, ConfigError), match="mine.hub.json"):
        list(PublicSets(tmp_path).rows(file))
