"""What README.md and CONTRIBUTING.md promise: queries that run, files that exist, an example that is taken."""

import re
from pathlib import Path

import duckdb
import pytest

from nyx_assets.corpus.deliveries import find_deliveries
from nyx_assets.corpus.obelics import WebPage, read_pages

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def test_the_three_queries_of_the_readme_give_rows(small_home: Path):
    queries = [query for block in code_blocks(README, "sql") for query in block.split(";") if query.strip()]
    assert len(queries) == 3
    with duckdb.connect(str(small_home / "catalog.duckdb"), read_only=True) as catalog:
        url = catalog.execute(
            "SELECT url FROM crawl_documents JOIN chunked_corpus USING (doc_id) JOIN raw_qa USING (chunk_id)"
        ).fetchone()
        answers = [catalog.execute(query.replace("%harbour%", url[0])).fetchall() for query in queries]
    assert all(answers)
    assert {row[2] for row in answers[0]} == {"offline-extractive"}


def test_the_page_of_the_readme_is_read_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "my_crawl").mkdir()
    monkeypatch.chdir(tmp_path)
    (example,) = code_blocks(README, "python")
    assert example.count("\n") <= 10
    exec(compile(example, "README.md", "exec"), {})
    (delivery,) = find_deliveries(Path("my_crawl")).deliveries
    (page,) = read_pages(delivery)
    assert delivery.key == "2026-11-harbours"
    assert isinstance(page, WebPage)
    assert page.title == "Our harbour"
    assert page.parts[0] == "Our harbour"


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README.md", "CONTRIBUTING.md"])
def test_every_file_that_is_named_exists(text: str):
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    named = [path for span in spans for path in expanded(span) if re.fullmatch(r"[\w./]+\.(py|md|toml|yaml|txt)", path)]
    assert len(named) > 20
    folders = [
        ROOT,
        ROOT / "nyx_assets",
        ROOT / "training_kernels",
        ROOT / "training_kernels/backbones",
        ROOT / "resources",
    ]
    stages = [path for path in (ROOT / "nyx_assets").iterdir() if path.is_dir()]
    missing = [path for path in named if not any((folder / path).exists() for folder in [*folders, *stages])]
    assert missing == []


def expanded(span: str) -> list[str]:
    """`a/{b,c}.py` as two paths; a test selector without its test; nothing where the name is a pattern."""
    if "<" in span:
        return []
    path = span.split("::")[0]
    if not (group := re.search(r"\{([^}]+)\}", path)):
        return [path]
    return [path[: group.start()] + choice + path[group.end() :] for choice in group.group(1).split(",")]
