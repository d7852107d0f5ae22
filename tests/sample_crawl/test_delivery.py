"""A crawl is whole or absent, the same for the same numbers, and in the form of OBELICS."""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from sample_crawl import CrawlPlan, expected_dirt, generate, questions
from sample_crawl.__main__ import main as command
from training_kernels.errors import ConfigError, IncompleteArtifact


@pytest.fixture(scope="module")
def crawl(tmp_path_factory) -> Path:
    return generate(tmp_path_factory.mktemp("sample") / "crawl")


def rows(folder: Path) -> dict[tuple[str, int], dict]:
    """Every row by partition key and row number, its JSON columns parsed."""
    found = {}
    for file in sorted(folder.glob("*.parquet")):
        for number, row in enumerate(pq.read_table(file).to_pylist()):
            row["metadata"], row["general_metadata"] = json.loads(row["metadata"]), json.loads(row["general_metadata"])
            found[file.stem, number] = row
    return found


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_equal_numbers_give_equal_bytes_and_another_seed_gives_others(crawl, tmp_path):
    again, other = generate(tmp_path / "again"), generate(tmp_path / "other", seed=1)
    assert fingerprint(again) == fingerprint(crawl)
    for key in ("2026-01-atlas", "2026-02-almanac", "2026-03-workshop"):
        assert (other / f"{key}.parquet").read_bytes() != (crawl / f"{key}.parquet").read_bytes()
    pictures = {
        value for name, value in fingerprint(crawl).items() if name.startswith("images/") and "icon" not in name
    }
    others = {value for name, value in fingerprint(other).items() if name.startswith("images/")}
    assert len(pictures & others) < len(pictures) / 4


def test_bytes_do_not_depend_on_the_process_that_writes_them(crawl, tmp_path):
    for hash_seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-m", "sample_crawl", str(tmp_path / hash_seed)],
            check=True,
            env={"PYTHONHASHSEED": hash_seed, "PATH": ""},
            cwd=Path(__file__).resolve().parents[2],
            capture_output=True,
        )
        assert fingerprint(tmp_path / hash_seed) == fingerprint(crawl)


def test_columns_are_those_of_obelics_and_lists_are_aligned(crawl):
    for file in crawl.glob("*.parquet"):
        columns = {field.name: str(field.type) for field in pq.read_schema(file)}
        assert columns == {
            "images": "list<element: string>",
            "texts": "list<element: string>",
            "metadata": "string",
            "general_metadata": "string",
        }
    for row in rows(crawl).values():
        assert len(row["images"]) == len(row["texts"]) == len(row["metadata"]) > 0
        for image, text, words in zip(row["images"], row["texts"], row["metadata"], strict=True):
            assert (image is None) != (text is None)
            assert (words is None) == (image is None)
        assert {"url", "title", "language", "licence"} <= set(row["general_metadata"])


def test_columns_are_those_of_the_shared_real_pages(crawl, shared_data):
    real = pq.read_schema(next((shared_data / "interleaved").glob("*.parquet")))
    assert all(pq.read_schema(file).equals(real) for file in crawl.glob("*.parquet"))


def test_every_delivery_has_its_marker_and_its_share_of_the_pages(crawl):
    files = sorted(crawl.glob("*.parquet"))
    assert [file.stem for file in files] == ["2026-01-atlas", "2026-02-almanac", "2026-03-workshop"]
    assert all((crawl / f"{file.stem}._SUCCESS").is_file() for file in files)
    assert [pq.read_metadata(file).num_rows for file in files] == [24, 24, 24]


def test_every_picture_but_the_planted_ones_opens_in_its_stated_size(crawl):
    bad = {fault.detail for fault in expected_dirt(CrawlPlan(num_pages=72, num_partitions=3, seed=0))}
    num_pictures = 0
    for row in rows(crawl).values():
        for reference, words in zip(row["images"], row["metadata"], strict=True):
            if reference is None or reference in bad:
                continue
            with Image.open(crawl / reference) as picture:
                picture.load()
                assert picture.size == (words["original_width"], words["original_height"])
            assert words["caption"]
            assert words["alt_text"]
            num_pictures += 1
    assert num_pictures >= 65


def test_captions_stand_in_the_text_below_their_picture(crawl):
    planted = {(fault.crawl, fault.row) for fault in expected_dirt(CrawlPlan(num_pages=72, num_partitions=3, seed=0))}
    for place, row in rows(crawl).items():
        if place not in planted:
            for position, words in enumerate(row["metadata"]):
                assert words is None or row["texts"][position + 1].startswith(words["caption"])


def test_the_default_crawl_is_small(crawl):
    assert sum(path.stat().st_size for path in crawl.rglob("*") if path.is_file()) < 3_000_000


def test_a_crawl_that_is_there_is_left_as_it_is(crawl):
    before = {path: path.stat().st_mtime_ns for path in crawl.rglob("*")}
    assert generate(crawl) == crawl
    assert {path: path.stat().st_mtime_ns for path in crawl.rglob("*")} == before


def test_a_crawl_of_other_numbers_is_not_overwritten(crawl):
    with pytest.raises(ConfigError, match="'seed': 0.*asked for .*'seed': 5.*name another folder"):
        generate(crawl, seed=5)


def test_a_folder_of_other_things_is_not_touched(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(IncompleteArtifact, match="name another folder"):
        generate(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_an_empty_folder_is_filled(tmp_path):
    generate(tmp_path / "new", num_pages=3, num_partitions=1)
    (tmp_path / "empty").mkdir()
    generate(tmp_path / "empty", num_pages=3, num_partitions=1)
    assert fingerprint(tmp_path / "new") == fingerprint(tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "new"], "nothing stays beside"


def test_a_writer_that_is_killed_leaves_no_crawl_folder(tmp_path):
    writer = subprocess.Popen(
        [sys.executable, "-m", "sample_crawl", str(tmp_path / "crawl"), "--pages", "20000"],
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while not list(tmp_path.glob(".crawl.*.partial/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    writer.kill()
    writer.wait()
    assert list(tmp_path.glob(".crawl.*.partial/*.parquet")), "the writer was killed before it wrote anything"
    assert not (tmp_path / "crawl").exists()


@pytest.mark.parametrize(("num_pages", "num_partitions"), [(0, 1), (5, 0), (2, 3), (10**9, 3)])
def test_impossible_numbers_are_refused(tmp_path, num_pages, num_partitions):
    with pytest.raises(ConfigError, match=f"got num_pages={num_pages}, num_partitions={num_partitions}"):
        generate(tmp_path / "crawl", num_pages=num_pages, num_partitions=num_partitions)
    assert not (tmp_path / "crawl").exists()


@pytest.mark.long
def test_two_thousand_pages_take_bounded_memory_time_and_pictures(tmp_path):
    measure = (
        "import resource, sys; from pathlib import Path; from sample_crawl import generate; "
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
        "generate(Path(sys.argv[1]), num_pages=2000, num_partitions=5); "
        "used = resource.getrusage(resource.RUSAGE_SELF); print(used.ru_maxrss - before, used.ru_utime)"
    )
    done = subprocess.run(
        [sys.executable, "-c", measure, str(tmp_path / "big")],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    grown_kib, cpu_seconds = done.stdout.split()
    assert float(cpu_seconds) < 60
    assert int(grown_kib) * 1024 < 150_000_000
    files = sorted((tmp_path / "big").glob("*.parquet"))
    assert [file.stem for file in files] == [
        "2026-01-atlas",
        "2026-02-almanac",
        "2026-03-workshop",
        "batch-0003",
        "batch-0004",
    ]
    assert sum(pq.read_metadata(file).num_rows for file in files) == 2_000


def test_the_command_reports_its_rate_and_writes_questions(tmp_path, capsys):
    assert (
        command([str(tmp_path / "crawl"), "--pages", "9", "--seed", "2", "--questions", str(tmp_path / "q.jsonl")]) == 0
    )
    assert "9 pages in 3 deliveries" in capsys.readouterr().out
    written = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(written) > 27
    urls = {row["general_metadata"]["url"] for row in rows(tmp_path / "crawl").values()}
    assert {question["url"] for question in written} == urls


def test_the_command_fails_with_a_message(tmp_path, capsys):
    assert command([str(tmp_path / "crawl"), "--pages", "2"]) == 1
    assert "num_pages=2" in capsys.readouterr().err


def test_questions_of_text_facts_are_answered_by_the_delivered_row(crawl):
    delivered, asked = rows(crawl), set()
    for question in questions(CrawlPlan(num_pages=72, num_partitions=3, seed=0)):
        row = delivered[question.crawl, question.row]
        assert row["general_metadata"]["url"] == question.url
        if question.source == "picture":
            assert any(row["images"])
        else:
            assert any(row["texts"])
        asked.add((question.crawl, question.row))
    assert len(asked) >= 60


def test_nothing_of_it_loads_torch_or_dagster():
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, sample_crawl; print([m for m in ('torch', 'dagster', 'numpy') if m in sys.modules])",
        ],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert "torch" not in loaded.stdout
    assert "dagster" not in loaded.stdout
