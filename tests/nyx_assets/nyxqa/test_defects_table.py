"""The table of defects claims nothing that no test shows, and what it says of every file of ours holds."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TABLE = ROOT / "docs" / "nyxqa_defects.md"
PACKAGES = ("training_kernels", "resources", "nyx_assets", "sensors", "sample_crawl", "benchmarks", "tests")
NAMED_TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
MACHINE_PATH = re.compile(r"[\"' ](?:/home|/root|/work|/Users|/fs|/mnt)/\w")


def test_every_line_names_tests_that_exist():
    lines = [line for line in TABLE.read_text().splitlines() if re.match(r"\| \d+ \|", line)]
    numbers = {int(line.split("|")[1]) for line in lines}
    assert numbers == {*range(1, 16), *range(16, 23), *range(46, 51)}  # data validity, feedback, engineering
    missing = []
    for line in lines:
        named = NAMED_TEST.findall(line)
        assert named, line
        for file, test in named:
            path = ROOT / "tests" / file
            if not path.is_file() or f"def {test}(" not in path.read_text():
                missing.append(f"{file}::{test}")
    assert missing == []


def test_every_file_of_ours_parses_names_no_machine_and_has_no_conflict():
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    assert len(files) > 100
    for file in files:
        text = file.read_text()
        ast.parse(text, str(file))
        if file != Path(__file__):
            assert not MACHINE_PATH.search(text), f"{file}: {MACHINE_PATH.search(text)}"
        assert not re.search(r"^(<{7}|>{7}|={7})( |$)", text, re.MULTILINE), file
