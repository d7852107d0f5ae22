"""Scores beside each other."""

from nyx_assets.evaluation.side_by_side import side_by_side


def test_metrics_of_a_group_become_columns_of_one_row():
    rows = [
        {"retriever": "bm25", "dim": 0, "metric": "mrr", "value": 0.5, "split": "test"},
        {"retriever": "dense", "dim": 64, "metric": "mrr", "value": 0.7, "split": "test"},
        {"retriever": "dense", "dim": 32, "metric": "mrr", "value": 0.6, "split": "test"},
        {"retriever": "dense", "dim": 64, "metric": "map", "value": 0.4, "split": "test"},
    ]
    assert side_by_side(rows, ["retriever", "dim"]) == [
        {"retriever": "bm25", "dim": 0, "mrr": 0.5},
        {"retriever": "dense", "dim": 64, "mrr": 0.7, "map": 0.4},
        {"retriever": "dense", "dim": 32, "mrr": 0.6},
    ]
