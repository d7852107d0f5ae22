"""What was paid for is never paid for again: at a cap, when a page changes, and in replay. Kills: test_vlm_courier.py."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from benchmarks.factory import make
from nyx_assets.__main__ import main
from nyx_assets.main_job_commands import STOPPED_BY_CAP
from resources.home import Home
from resources.vlm import STAND_IN_MODEL
from resources.vlm_server import OfflineService, serve_offline_vlm
from training_kernels.errors import BudgetReached


def ledger_rows(home: Path) -> list[dict]:
    files = sorted((home / "vlm" / "ledger").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def page(number: int, fact: str) -> dict:
    text = (
        f"The lighthouse number {number} stands on the cape of {fact} and was built in {1800 + number}. Its keeper "
        f"Marta Olsen of {fact} wrote every storm into a book. The lamp burned oil until {1900 + number}."
    )
    general = {"url": f"https://example.org/{number}", "title": f"Lighthouse {number}", "language": "en"}
    return {
        "texts": [text],
        "images": [None],
        "metadata": json.dumps([None]),
        "general_metadata": json.dumps(general),
    }


def write_crawl(folder: Path, pages: list[dict], *, name: str = "one") -> Path:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(pages), folder / f"{name}.parquet")
    return folder


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A home whose three roles are played by a loopback server, in the environment of this process."""
    with serve_offline_vlm(OfflineService()) as service:
        monkeypatch.setenv("NYX_HOME", str(tmp_path / "home"))
        for role in ("TEACHER", "GENERATOR", "JUDGE"):
            monkeypatch.setenv(f"NYX_{role}_BASE_URL", service.base_url)
            monkeypatch.setenv(f"NYX_{role}_MODEL", STAND_IN_MODEL)
        yield service


def paid(service: OfflineService) -> int:
    return sum(service.counts()["answers"].values())


def raw_qa(home: Path) -> pa.Table:
    return Home.at(home).tables.read("raw_qa", partition="one")


def test_changing_one_page_asks_only_about_it_and_adding_ten_only_about_those(tmp_path, served):
    pages = [page(number, f"Norvik {number}") for number in range(7)]
    crawl = write_crawl(tmp_path / "crawl", pages)
    assert make(crawl, until="raw_qa") == 0
    assert paid(served) == 7  # one chunk a page, asked about in one way
    assert make(crawl, until="raw_qa") == 0
    assert paid(served) == 7
    pages[4] = page(4, "Sandvig")
    write_crawl(crawl, pages)
    assert make(crawl, until="raw_qa") == 0
    assert paid(served) == 7 + 1
    write_crawl(crawl, [*pages, *(page(number, f"Utsira {number}") for number in range(20, 30))])
    assert make(crawl, until="raw_qa") == 0
    assert paid(served) == 7 + 1 + 10
    assert len(set(raw_qa(tmp_path / "home")["chunk_id"].to_pylist())) == 17


def test_a_cap_of_half_the_calls_stops_with_a_status_and_message_of_its_own_and_a_raised_one_gives_the_same_table(
    tmp_path, served, monkeypatch
):
    crawl = write_crawl(tmp_path / "crawl", [page(number, f"Norvik {number}") for number in range(8)])
    monkeypatch.setenv("NYX_HOME", str(tmp_path / "whole"))
    assert make(crawl, until="raw_qa") == 0
    assert paid(served) == 8

    monkeypatch.setenv("NYX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NYX_MAX_CALLS", "4")
    stopped = CliRunner().invoke(main, ["run", "--crawl", str(crawl)])
    assert stopped.exit_code == STOPPED_BY_CAP == 3
    assert paid(served) == 8 + 4
    assert Home.at(tmp_path / "home").commit("raw_qa", "one") is None  # no half table, no call that became a row
    assert "NYX_MAX_CALLS=4" in stopped.stderr
    assert "raise the cap" in stopped.stderr
    assert "raw_qa, teacher offline-extractive: 4 calls, 4 answered already" in stopped.stderr
    assert BudgetReached.__name__ in stopped.stdout  # the asset's failure in the report

    monkeypatch.setenv("NYX_MAX_CALLS", "8")
    assert make(crawl, until="raw_qa") == 0
    assert paid(served) == 8 + 8
    assert raw_qa(tmp_path / "home").equals(raw_qa(tmp_path / "whole"))


def line_of(asset: str, plan: str) -> dict:
    [line] = [line for line in json.loads(plan)["lines"] if line["asset"] == asset]
    return line


def test_a_plan_asks_nothing_writes_nothing_and_counts_what_a_run_then_asks(tmp_path, served):
    crawl = write_crawl(tmp_path / "crawl", [page(number, f"Norvik {number}") for number in range(9)])
    home = tmp_path / "home"
    before = CliRunner().invoke(main, ["plan", "--crawl", str(crawl), "--json"])
    assert before.exit_code == 0
    assert not home.exists()
    assert not served.counts()["attempts"]
    raw = line_of("raw_qa", before.stdout)
    assert (raw["role"], raw["basis"]) == ("teacher", "sampled")
    assert raw["calls"]["low"] <= 9 <= raw["calls"]["high"]

    assert make(crawl, until="sampled_chunks") == 0
    files = sorted(path for path in home.rglob("*") if path.is_file())
    counted = line_of("raw_qa", CliRunner().invoke(main, ["plan", "--json"]).stdout)
    assert (counted["basis"], counted["calls"]["low"], counted["calls"]["high"]) == ("counted", 9, 9)
    assert sorted(path for path in home.rglob("*") if path.is_file()) == files
    assert make(crawl, until="raw_qa") == 0
    assert paid(served) == 9
    rows = [row for row in ledger_rows(home) if row["asset"] == "raw_qa"]
    tokens = sum(row["input_tokens"] for row in rows)
    assert counted["input_tokens"]["low"] <= tokens <= counted["input_tokens"]["high"]


@pytest.mark.long
def test_what_checks_will_ask_is_sampled_from_a_partition_that_is_through(tmp_path, served):
    crawl = write_crawl(tmp_path / "crawl", [page(number, f"Norvik {number}") for number in range(6)])
    assert make(crawl, until="filtered_qa") == 0
    write_crawl(crawl, [page(number, f"Utsira {number}") for number in range(30, 43)], name="two")
    ahead = json.loads(CliRunner().invoke(main, ["plan", "--json"]).stdout)["lines"]
    lines = [line for line in ahead if line["asset"] == "filtered_qa"]
    assert {line["role"] for line in lines} == {"teacher", "generator", "judge"}
    assert {line["basis"] for line in lines} == {"sampled"}
    assert make(crawl, until="filtered_qa") == 0
    rows = [row for row in ledger_rows(tmp_path / "home") if row["asset"] == "filtered_qa"]
    rows = [row for row in rows if row["partition"] == "two"]
    assert sum(line["calls"]["low"] for line in lines) <= len(rows) <= sum(line["calls"]["high"] for line in lines)


def test_replay_makes_the_same_table_without_the_server_and_fails_on_what_was_never_asked(tmp_path, monkeypatch, capfd):
    pages = [page(number, f"Norvik {number}") for number in range(5)]
    crawl = write_crawl(tmp_path / "crawl", pages)
    home = tmp_path / "home"
    with serve_offline_vlm(OfflineService()) as service:
        monkeypatch.setenv("NYX_HOME", str(home))
        monkeypatch.setenv("NYX_TEACHER_BASE_URL", service.base_url)
        monkeypatch.setenv("NYX_TEACHER_MODEL", STAND_IN_MODEL)
        assert make(crawl, until="raw_qa") == 0
    table = raw_qa(home)
    monkeypatch.setenv("NYX_VLM", "replay")
    for file in (home / "tables" / "raw_qa").rglob("*.parquet"):
        file.unlink()
    assert make(crawl, until="raw_qa") == 0
    assert raw_qa(home).equals(table)
    write_crawl(crawl, [*pages, page(77, "Sandvig")])
    assert make(crawl, until="raw_qa") == 1
    assert "replay has no reply" in capfd.readouterr().err
    assert raw_qa(home).equals(table)
