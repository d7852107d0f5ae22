"""The barrier lists what a training run is made of, and notices when that changes."""

from pathlib import Path

import pyarrow as pa
import pytest

from nyx_assets.records import TRAINING_MANIFEST
from nyx_assets.training.manifest import manifest_rows, require_unchanged
from resources.home import Home
from resources.tables import Provenance
from training_kernels.errors import IncompleteArtifact

ROWS = pa.schema([("x", pa.int64())])
ORIGIN = Provenance(code_version="1")


def write(home: Home, asset: str, partition: str | None, *values: int) -> None:
    with home.tables.write(asset, ROWS, partition=partition, provenance=ORIGIN) as table:
        table.append({"x": value} for value in values)


def write_manifest(home: Home) -> None:
    with home.tables.write("training_manifest", TRAINING_MANIFEST, partition=None, provenance=ORIGIN) as table:
        table.append(manifest_rows(home))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.at(tmp_path)
    write(home, "chunked_corpus", "b", 1, 2)
    write(home, "chunked_corpus", "a", 3)
    write(home, "filtered_qa", "a", 4, 5, 6)
    write(home, "negatives", None, 7)
    write(home, "near_duplicates", None, 8, 9)
    write(home, "public_examples", None)
    return home


def test_it_lists_every_table_with_rows_and_version(home: Home) -> None:
    rows = [(row["input"], row["crawl"], row["num_rows"]) for row in manifest_rows(home)]
    assert rows == [
        ("chunked_corpus", "a", 1),
        ("chunked_corpus", "b", 2),
        ("filtered_qa", "a", 3),
        ("negatives", None, 1),
        ("near_duplicates", None, 2),
        ("public_examples", None, 0),
    ]
    versions = {(row["input"], row["crawl"]): row["data_version"] for row in manifest_rows(home)}
    assert versions["filtered_qa", "a"] == home.tables.commit("filtered_qa", "a").data_version  # type: ignore[union-attr]


def test_its_content_changes_only_when_content_does(home: Home) -> None:
    write_manifest(home)
    first = home.commit("training_manifest", None)
    write(home, "filtered_qa", "a", 4, 5, 6)
    write_manifest(home)
    second = home.commit("training_manifest", None)
    write(home, "filtered_qa", "a", 4, 5, 9)
    write_manifest(home)
    third = home.commit("training_manifest", None)
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.data_version == second.data_version != third.data_version


def test_training_on_other_tables_than_listed_is_refused(home: Home) -> None:
    write_manifest(home)
    require_unchanged(home)
    write(home, "filtered_qa", "a", 4, 5, 6)
    require_unchanged(home)
    write(home, "filtered_qa", "a", 4)
    with pytest.raises(
        IncompleteArtifact, match="^1 tables have changed .* e.g. filtered_qa a; materialize training_manifest again"
    ):
        require_unchanged(home)


def test_what_lands_while_training_is_at_work_is_no_change(home: Home) -> None:
    write_manifest(home)
    write(home, "chunked_corpus", "c", 1)
    require_unchanged(home)
    write(home, "chunked_corpus", "b", 1)
    with pytest.raises(IncompleteArtifact, match="chunked_corpus b"):
        require_unchanged(home)


def test_pairs_of_a_partition_more_or_fewer_are_a_change(home: Home) -> None:
    write_manifest(home)
    write(home, "filtered_qa", "b", 1)
    with pytest.raises(IncompleteArtifact, match="filtered_qa b"):
        require_unchanged(home)
    write_manifest(home)
    home.tables.quarantine("chunked_corpus", "b", "why")
    with pytest.raises(IncompleteArtifact, match="chunked_corpus b"):
        require_unchanged(home)


def test_quarantined_partitions_are_left_out_and_quarantined_negatives_stop_it(home: Home) -> None:
    home.tables.quarantine("chunked_corpus", "b", "why")
    assert ("chunked_corpus", "b") not in {(row["input"], row["crawl"]) for row in manifest_rows(home)}
    home.tables.quarantine("negatives", None, "one is golden")
    with pytest.raises(IncompleteArtifact, match=r"table negatives is quarantined \(one is golden\)"):
        manifest_rows(home)


def test_without_negatives_there_is_nothing_to_list(tmp_path: Path) -> None:
    with pytest.raises(IncompleteArtifact, match="table negatives has not been made; materialize negatives"):
        manifest_rows(Home.at(tmp_path))
