"""Plots show what rows of the tables say, and none is drawn of nothing."""

from collections import Counter

from nyx_assets import figures


def score(retriever, dim, metric, value):
    return {"retriever": retriever, "dim": dim, "metric": metric, "value": value}


def test_recall_by_k_shows_the_full_width_and_every_k():
    rows = [score("bm25", 0, "recall@1", 0.4), score("bm25", 0, "recall@10", 0.8)]
    rows += [score("tuned", dim, f"recall@{k}", dim / 100) for dim in (16, 64) for k in (10, 1)]
    plot = figures.recall_by_k([*rows, score("tuned", 64, "mrr", 1.0)])
    assert "bm25: from 0.4 to 0.8; tuned: from 0.64 to 0.64" in plot.alt
    assert ">10<" in plot.svg


def test_score_by_dim_says_the_bytes_and_draws_words_as_a_level_line():
    rows = [score("bm25", 0, "ndcg@10", 0.5), score("tuned", 16, "ndcg@10", 0.2), score("tuned", 64, "ndcg@10", 0.6)]
    plot = figures.score_by_dim(rows, metric="ndcg@10")
    assert "bm25: from 0.5 to 0.5; tuned: from 0.2 to 0.6" in plot.alt
    assert ">64 B<" in plot.svg
    assert ">256 B<" in plot.svg


def test_a_training_becomes_six_plots():
    point = {
        "step": 1, "loss": 3.0, "loss_by_dim": {"32": 2.0, "16": 1.0}, "gradient_norm": 1.0, "learning_rate": 1e-3,
        "queries_per_second": 7.0, "memory_bytes": 2**30,
    }  # fmt: skip
    report = {
        "curve": [point, point | {"step": 2, "loss": 2.0}],
        "dev": [{"step": 2, "ndcg@10": 0.5, "recall@10": 0.75}],
    }
    plots = figures.training_plots(report)
    assert [plot.title for plot in plots] == [
        "Loss", "Dev score", "Gradient norm", "Learning rate", "Throughput", "Memory",
    ]  # fmt: skip
    assert "weighted sum: from 3 to 2; 32 dims: from 2 to 2" in plots[0].alt
    assert sum(len(plot.markdown) for plot in plots) < 40_000


def test_the_dev_score_of_another_run_stands_in_the_same_plot():
    point = {"step": 1, "loss": 3.0, "loss_by_dim": {}, "gradient_norm": 1, "learning_rate": 1, "queries_per_second": 1}
    run = {"curve": [point | {"memory_bytes": 1}], "dev": [{"step": 1, "ndcg@10": 0.6, "recall@10": 0.7}]}
    before = {"dev": [{"step": 1, "ndcg@10": 0.4, "recall@10": 0.5}]}
    assert "nDCG@10: 0.6; Recall@10: 0.7; before nDCG@10: 0.4" in figures.training_plots(run, {"before": before})[1].alt
    assert [plot.title for plot in figures.training_plots(run | {"dev": []})][1] == "Gradient norm"


def test_a_golden_chunk_counts_once_however_many_negatives_stand_beside_it():
    rows = [{"qa_id": "a", "positive_score": 0.9, "score": score, "miner": "bm25"} for score in (0.1, 0.2)]
    assert "golden chunk: 1 with median 0.9; hard negative: 2" in figures.mined_similarities(rows).alt


def test_windows_of_the_feedback_are_split_by_their_role():
    rows = [
        {"role": role, "similarity": similarity}
        for role, similarity in (("positive", 0.9), ("negative", 0.1), ("unused", 0.5), ("negative", None))
    ]
    assert "answered from it: 1 with median 0.9; failed: 1 with median 0.1" in figures.preference_similarities(rows).alt


def test_the_funnel_leaves_out_steps_between_that_rejected_nothing():
    totals = [
        {"check": check, "unit": unit, "num_out": kept, "num_rejected": rejected}
        for check, unit, kept, rejected in (
            ("write", "chunk", 9, 1), ("read", "pair", 30, 0), ("idle", "pair", 30, 0), ("short", "pair", 20, 10),
            ("last", "pair", 20, 0),
        )
    ]  # fmt: skip
    plot = figures.funnel_plot(totals)
    assert "write (chunks) 9 −1; read 30; short 20 −10; last 20" in plot.alt


def test_link_rot_counts_what_was_had_and_lost_by_host():
    rows = [
        {"host": host, "rule": rule, "num_references": number}
        for host, rule, number in (("a", "taken", 3), ("a", "not_found", 1), ("b", "timeout", 2))
    ]
    assert figures.link_rot_plot(rows).alt.endswith("b 100% lost; a 25% lost.")


def test_blame_stacks_the_outcomes_of_each_retriever():
    rows = [
        {"retriever": "bm25", "outcome": outcome, "share": share, "generator": "small"}
        for outcome, share in (("right", 0.6), ("not_retrieved", 0.4))
    ]
    assert "bm25 60 % right" in figures.blame_plot(rows).alt
    of_another = [{"retriever": "bm25", "outcome": "right", "share": 0.9, "generator": "large"}]
    drawn = figures.blame_plot(rows + of_another).alt
    assert "bm25, small 60 % right" in drawn
    assert "bm25, large 90 % right" in drawn


def test_nothing_is_drawn_of_nothing():
    assert figures.recall_by_k([]) is None
    assert figures.score_by_dim([score("bm25", 0, "ndcg@10", 0.5)], metric="ndcg@10") is None
    assert figures.mined_similarities([]) is None
    assert figures.preference_similarities([{"role": "positive", "similarity": 0.5}]) is None
    assert figures.funnel_plot([]) is None
    assert figures.rejections_plot("x", Counter(), unit="pairs") is None
    assert figures.link_rot_plot([]) is None
    assert figures.blame_plot([]) is None
