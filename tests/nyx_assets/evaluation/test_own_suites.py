"""Which questions stand in which of the project's own suites, and what is searched for them."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from nyx_assets.evaluation.assets import measured_index_settings, own_suites, suites_of_the_gate
from nyx_assets.recipes import tiny
from nyx_assets.records import ALTERED_QUERIES, CHUNKED_CORPUS, FILTERED_QA, NEAR_DUPLICATES
from resources.home import Home
from resources.tables import Provenance
from training_kernels.documents import Document

SPLITS = ("train", "dev", "test", "dev")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """One pair a split and one more for dev; six chunks, the last two of which nothing is asked about."""
    home = Home.at(tmp_path)

    def write(name: str, schema: Any, rows: list[dict[str, Any]], partition: str | None) -> None:
        made = Provenance(code_version="1")
        with home.tables.write(name, schema, partition=partition, provenance=made) as table:
            table.append([dict.fromkeys(schema.names) | row for row in rows])

    chunks = [
        {"chunk_id": f"c{number}", "doc_id": f"d{number}", "segments": Document.of(f"text {number}").to_rows()}
        for number in range(6)
    ]
    pairs = [
        chunk | {"qa_id": f"q{number}", "question": Document.of(f"what {number}").to_rows(), "split": split}
        for number, (chunk, split) in enumerate(zip(chunks, SPLITS, strict=False))
    ]
    for pair in pairs:
        del pair["segments"]
    write("chunked_corpus", CHUNKED_CORPUS, chunks, "a")
    write("filtered_qa", FILTERED_QA, pairs, "a")
    write("near_duplicates", NEAR_DUPLICATES, [], None)
    write("altered_queries", ALTERED_QUERIES, [], None)
    return home


def test_the_gate_compares_on_the_bare_dev_questions_and_is_vetoed_on_the_bare_test_questions(home: Home) -> None:
    suites = suites_of_the_gate(home, tiny())
    asked = {split: [query.query_id for query in suite.queries] for split, suite in suites.items()}
    assert asked == {"dev": ["q1", "q3"], "test": ["q2"]}


def test_each_suite_searches_every_chunk_whether_or_not_it_is_asked_about(home: Home) -> None:
    suites = list(own_suites(home, tiny()))
    assert [(split, len(suite.queries)) for split, suite in suites] == [
        ("dev", 2),
        ("test", 1),
        ("test", 0),
        ("test", 0),
        ("test", 0),
    ]
    for _, suite in suites:
        assert sorted(suite.candidates) == [f"c{number}" for number in range(6)]


def test_index_settings_are_measured_though_the_embeddings_of_a_partition_are_of_another_checkpoint(
    home: Home, publish: Any, store_embeddings: Any, clock_embedders: Any
) -> None:
    publish(home, "promoted_checkpoint", "live")
    embedders = clock_embedders(live=0.0)
    right, wrong = (
        dict(
            zip(
                ids,
                embedders.by_name["live"].embed([Document.of(f"text {n}") for n in at], side="candidate"),
                strict=True,
            )
        )
        for ids, at in ((("c0", "c1", "c2", "c3"), (0, 1, 2, 3)), (("c4", "c5"), (1, 3)))
    )
    embedders.by_name["live"].asked.clear()
    store_embeddings(home, "promoted", "a", right, made_with="live")
    store_embeddings(home, "promoted", "b", wrong, made_with="the one before")
    resources = {"home": home, "recipe": tiny(), "embedders": embedders}
    assert dg.materialize([measured_index_settings], resources=resources).success
    asked = [text for side, text in embedders.by_name["live"].asked if side == "candidate"]
    assert asked == ["text 4", "text 5"]
    rows = home.tables.read("index_settings").to_pylist()
    assert max(row["score"] for row in rows if row["precision"] == "float32") == 1.0
