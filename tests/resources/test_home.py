"""The storage root: versions of inputs, the crawl it belongs to, one main job at a time."""

import multiprocessing
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from resources.artifacts import MANIFEST
from resources.home import Home
from resources.tables import Commit, Provenance
from training_kernels.errors import ConfigError

NUMBERS = pa.schema([("x", pa.int64())])


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.at(tmp_path / "home")


def write(home: Home, asset: str, partition: str | None, *values: int) -> None:
    with home.tables.write(asset, NUMBERS, partition=partition, provenance=Provenance(code_version="1")) as table:
        table.append({"x": value} for value in values)


def publish(home: Home, asset: str, version: str) -> Path:
    folder = home.artifacts.folder(asset, version)
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text("{}")
    provenance = Provenance(code_version="1")
    home.artifacts.publish(
        asset, folder, Commit(data_version=version, num_rows=1, provenance=provenance, written_at="")
    )
    return folder


def test_looking_at_a_home_writes_nothing(home: Home) -> None:
    assert home.input_version("pages", None) == home.input_version("pages", "a") == ""
    assert home.commit("pages", None) is None
    assert home.crawl is None
    assert not home.root.exists()


def test_a_whole_input_changes_exactly_when_a_partition_comes_goes_or_changes(home: Home) -> None:
    write(home, "pages", "a", 1, 2)
    write(home, "pages", "b", 3)
    whole = home.input_version("pages", None)
    write(home, "pages", "a", 1, 2)
    assert home.input_version("pages", None) == whole
    seen = {whole}
    for partition, values in (("c", (4,)), ("a", (1, 9)), ("b", (3, 3))):
        write(home, "pages", partition, *values)
        seen.add(home.input_version("pages", None))
    assert len(seen) == 4
    home.tables.quarantine("pages", "c", "why")
    seen.add(home.input_version("pages", None))
    assert len(seen) == 5


def test_a_partition_of_another_name_makes_another_input(home: Home) -> None:
    write(home, "pages", "a", 1)
    write(home, "pages", "b", 2)
    before = home.input_version("pages", None)
    (home.root / "tables" / "pages" / "crawl=b").rename(home.root / "tables" / "pages" / "crawl=c")
    assert home.input_version("pages", None) != before


def test_an_input_of_a_partition_is_that_partition(home: Home) -> None:
    write(home, "pages", "a", 1)
    write(home, "pages", "b", 2)
    assert home.input_version("pages", "a") == home.tables.commit("pages", "a").data_version  # type: ignore[union-attr]
    assert home.input_version("pages", "a") != home.input_version("pages", "b")
    assert home.input_version("pages", "c") == ""


def test_a_partition_reads_an_unpartitioned_table_or_folder_whole(home: Home) -> None:
    write(home, "clusters", None, 5)
    publish(home, "finetuned_checkpoint", "weights-1")
    assert home.input_version("clusters", "a") == home.input_version("clusters", None) != ""
    assert home.input_version("finetuned_checkpoint", "a") == "weights-1"
    assert home.input_version("finetuned_checkpoint", None) == "weights-1"


def test_a_quarantined_input_is_missing(home: Home) -> None:
    write(home, "pages", "a", 1)
    write(home, "negatives", None, 1)
    home.tables.quarantine("pages", "a", "why")
    home.tables.quarantine("negatives", None, "why")
    assert home.input_version("pages", "a") == ""
    assert home.input_version("pages", None) == ""
    assert home.input_version("negatives", None) == home.input_version("negatives", "a") == ""
    assert home.commit("negatives", None) is not None


def test_a_damaged_folder_counts_as_never_made(home: Home) -> None:
    folder = publish(home, "finetuned_checkpoint", "weights-1")
    (folder / MANIFEST).unlink()
    assert home.commit("finetuned_checkpoint", None) is None
    assert home.input_version("finetuned_checkpoint", None) == ""


def test_a_home_belongs_to_one_crawl(home: Home, tmp_path: Path) -> None:
    home.claim(tmp_path / "crawl")
    home.claim(tmp_path / "crawl")
    assert Home.at(home.root).crawl == tmp_path / "crawl"
    with pytest.raises(ConfigError, match=r"is made from the crawl .*/crawl, asked for was .*/other; set NYX_HOME"):
        home.claim(tmp_path / "other")
    assert home.crawl == tmp_path / "crawl"


def hold(home: Home, entered: Any, left: Any) -> None:
    with home.alone("main_job", log=lambda line: None):
        entered.set()
        time.sleep(0.4)
        left.set()


def test_one_process_waits_for_another_and_says_so(home: Home) -> None:
    context = multiprocessing.get_context("fork")
    entered, left = context.Event(), context.Event()
    other = context.Process(target=hold, args=(home, entered, left))
    other.start()
    assert entered.wait(20)
    said: list[str] = []
    with home.alone("something_else", log=said.append):
        assert said == []
    with home.alone("main_job", log=said.append):
        assert left.is_set()
    assert said == [f"waiting: another process holds the main_job of {home.root}"]
    other.join()
    with home.alone("main_job", log=said.append):
        assert len(said) == 1
