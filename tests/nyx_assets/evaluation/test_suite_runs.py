"""A retriever measured on a suite folder, by name."""

import io
from pathlib import Path

import pytest
from PIL import Image

from nyx_assets.evaluation.suite_runs import evaluate_suite, scores_text
from nyx_assets.evaluation.suites import write_suite
from nyx_assets.recipes import tiny
from resources.images import FolderImageStore
from training_kernels.errors import ConfigError, DataError, IncompleteArtifact

STORE = FolderImageStore("memory://suite-runs")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Twelve chunks at the hours of a clock; queries 0 to 2, where query 2 has the chunk at hour 5 as a second gold."""

    def row(name: str, number: int, **more: object) -> dict:
        return {"id": f"{name}{number}", "segments": [{"type": "text", "text": f"{name} {number}"}], **more}

    write_suite(
        tmp_path / "hours",
        corpus=[row("c", number) for number in range(12)],
        queries=[row("q", 0, exclude=["c1"]), row("q", 1), row("q", 2)],
        golds=[("q0", "c0", 1), ("q1", "c1", 1), ("q2", "c2", 1), ("q2", "c5", 1)],
    )
    return tmp_path / "hours"


def test_a_retriever_is_measured_with_its_own_checkpoint(home, publish, clock_embedders, suite):
    publish(home, "finetuned_checkpoint", "new")
    embedders = clock_embedders(new=0.9, untrained=0.2)
    rows = evaluate_suite(home, embedders, STORE, suite, "finetuned", tiny()).rows
    value = {row["metric"]: row["value"] for row in rows if row["modality"] == "all"}
    # queries are 0.9 hours late: of q0 the nearest, c1, is excluded, of the others the nearest is the next hour's
    assert value["recall@1"] == pytest.approx(1 / 3)
    assert value["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    assert {(row["retriever"], row["suite"], row["dim"], row["num_candidates"]) for row in rows} == {
        ("finetuned", "hours", 2, 12)
    }
    untrained = evaluate_suite(home, embedders, STORE, suite, "untrained", tiny()).rows
    assert {row["value"] for row in untrained if row["metric"] in ("mrr", "hit@1")} == {1.0}


def test_words_need_no_checkpoint(home, clock_embedders, suite):
    embedders = clock_embedders()
    rows = evaluate_suite(home, embedders, STORE, suite, "bm25", tiny()).rows
    assert {row["dim"] for row in rows} == {0}
    assert not home.root.exists()


def test_scores_are_printed_widest_dim_first_with_the_four_headline_metrics(home, publish, clock_embedders, suite):
    rows = [
        {
            "retriever": "dense",
            "suite": "hours",
            "dim": dim,
            "modality": modality,
            "metric": metric,
            "value": dim / 1000 + place / 10,
            "num_queries": 7,
            "num_candidates": 1234,
            "num_left_out": 0,
            "num_given_away": 0,
        }
        for dim in (0, 64, 256)
        for modality in ("text", "all")
        for place, metric in enumerate(("map", "recall@1", "recall@10", "mrr", "ndcg@10"))
    ]
    lines = scores_text(rows).splitlines()
    assert lines[0] == "dense on hours: 1,234 candidates"
    given = [row | {"num_given_away": 3, "num_left_out": 2} for row in rows]
    assert scores_text(given).splitlines()[0].endswith(", 2 queries left out, 3 queries hold their answer")
    assert lines[1].split() == ["dim", "query", "queries", "recall@1", "recall@10", "mrr", "ndcg@10"]
    assert [line.split()[:2] for line in lines[2:]] == [
        [dim, modality] for dim in ("256", "64", "-") for modality in ("all", "text")
    ]
    assert lines[2].split()[2:] == ["7", "0.3560", "0.4560", "0.5560", "0.6560"]


def test_what_is_unknown_missing_or_broken_is_named(home, clock_embedders, suite):
    embedders = clock_embedders()
    with pytest.raises(ConfigError, match="known: bm25, untrained"):
        evaluate_suite(home, embedders, STORE, suite, "bm24", tiny())
    with pytest.raises(IncompleteArtifact, match="pretrained_checkpoint"):
        evaluate_suite(home, embedders, STORE, suite, "pretrained", tiny())
    (suite / "qrels.tsv").unlink()
    with pytest.raises(DataError, match=r"qrels\.tsv"):
        evaluate_suite(home, embedders, STORE, suite, "bm25", tiny())


def test_a_model_of_somebody_else_is_a_baseline_that_reads_texts_only(home, clock_embedders, suite, tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(picture, "PNG")
    (suite / "a.png").write_bytes(picture.getvalue())
    with (suite / "corpus.jsonl").open("a") as file:
        file.write('{"id": "p", "segments": [{"type": "image", "path": "a.png"}]}\n')
    opened = []

    def open_model(model: str):
        opened.append(model)
        embedder = clock_embedders(any=0.2).by_name["any"]
        embedder.reads_pictures = False
        return embedder

    foreign = {"sentence-transformers": open_model}
    rows = evaluate_suite(
        home, clock_embedders(), STORE, suite, "sentence-transformers:e5", tiny(), foreign=foreign
    ).rows
    assert opened == ["e5"]
    assert {row["retriever"] for row in rows} == {"sentence-transformers:e5"}
    assert {row["value"] for row in rows if row["metric"] in ("mrr", "hit@1")} == {1.0}


def test_ranking_and_golds_are_written_for_other_tools(home, clock_embedders, suite, tmp_path):
    embedder = clock_embedders(any=0.2).by_name["any"]
    embedder.reads_pictures = True
    foreign = {"sentence-transformers": lambda model: embedder}
    folder = tmp_path / "of" / "mine"
    name = "sentence-transformers:/models/e5 base"
    evaluate_suite(home, clock_embedders(), STORE, suite, name, tiny(), foreign=foreign, trec=folder)
    written = {file.name: file.read_text().splitlines() for file in folder.iterdir()}
    run = "sentence-transformers_models_e5_base"
    assert set(written) == {"hours.test.qrels", f"hours.test.{run}.run"}
    assert written["hours.test.qrels"] == ["q0 0 c0 1", "q1 0 c1 1", "q2 0 c2 1", "q2 0 c5 1"]
    ranked = [line.split() for line in written[f"hours.test.{run}.run"]]
    first = [(query, candidate) for query, _, candidate, rank, _, _ in ranked if rank == "1"]
    assert first == [("q0", "c0"), ("q1", "c1"), ("q2", "c2")]
    assert {(line[1], line[5]) for line in ranked} == {("Q0", run)}
    assert len(ranked) == 11 + 12 + 12  # q0 excludes one
