"""Dev queries are searched as one would by hand, the best weights are the ones that are kept, and test is never asked."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.training_kernels.running import write_task
from training_kernels.dev import Best, DevRetrieval
from training_kernels.dev_examples import NO_DEV, read_dev_examples, write_dev_examples
from training_kernels.encoder import Encoder
from training_kernels.errors import DataError
from training_kernels.examples import ExampleSet, read_examples
from training_kernels.images import PictureFolder
from training_kernels.recipes import tiny
from training_kernels.trainer import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_task(tmp_path_factory.mktemp("task"), num_examples=40, num_dev=12)


@pytest.fixture(scope="module")
def training(folder):
    return read_examples(folder)


@pytest.fixture(scope="module")
def dev(folder, training):
    return read_dev_examples(folder, training)


def trained(folder, training, examples, start_from, out, **changes):
    config = replace(tiny(), batch_size=16, epochs=100, **{"max_steps": 6} | changes)
    lines = []
    report = train(
        config, training, PictureFolder(str(folder)), dev=examples, start_from=start_from, out=out, log=lines.append
    )
    return report, lines


def test_the_score_is_ndcg_and_recall_by_hand(folder, training, dev, tiny_folder):
    encoder = Encoder.load(tiny_folder)
    config = replace(tiny().dev, max_queries=5, num_candidates=20)
    retrieval = DevRetrieval(encoder, dev, training, PictureFolder(str(folder)), config, token_budget=64)
    got = retrieval.score()
    assert encoder.backbone.model.training
    assert (retrieval.num_queries, retrieval.num_candidates) == (5, 20)
    chosen = dev.examples[:5]
    own = list(dict.fromkeys(one for example in chosen for one in (example.positive, *example.negatives)))
    corpus = own + [example.positive for example in training.examples if example.positive not in own][: 20 - len(own)]
    ndcg, recall = 0.0, 0.0
    for example in chosen:
        query = encoder.encode([dev.documents[example.query]], retrieval.pictures, side="query")[0]
        score = {
            one: float(encoder.encode([training.documents[one]], retrieval.pictures, side="candidate")[0] @ query)
            for one in corpus
        }
        rank = sum(value > score[example.positive] for value in score.values())
        ndcg += 1 / math.log2(rank + 2) if rank < 10 else 0.0
        recall += rank < 10
    assert got == pytest.approx({"ndcg@10": ndcg / 5, "recall@10": recall / 5}, abs=1e-9)
    assert 0 < got["ndcg@10"] < 1


def test_scoring_changes_neither_the_random_state_nor_the_weights(folder, training, dev, tiny_folder, tmp_path):
    often = replace(tiny().dev, every_steps=1)
    trained(folder, training, NO_DEV, tiny_folder, tmp_path / "without")
    report, _ = trained(folder, training, dev, tiny_folder, tmp_path / "with", dev=often)
    last = report["dev"][-1]["ndcg@10"] > max(point["ndcg@10"] for point in report["dev"][:-1])
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("without", "with"))
    assert all(torch.equal(one[name], other[name]) for name in one) == last
    reports = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("without", "with")]
    assert [point["loss"] for point in reports[0]["curve"]] == [point["loss"] for point in reports[1]["curve"]]
    assert reports[0]["dev"] == []


def test_the_weights_of_the_best_score_are_written_not_the_last(folder, training, dev, tiny_folder, tmp_path):
    wild = replace(tiny().optimizer, learning_rate=0.02, warmup_share=0.0)
    often = replace(tiny().dev, every_steps=1)
    report, lines = trained(folder, training, dev, tiny_folder, tmp_path / "out", optimizer=wild, dev=often)
    scores = [point["ndcg@10"] for point in report["dev"]]
    assert report["best_step"] == 1 + int(np.argmax(scores)) < 6, "the wild rate must make later weights worse"
    assert report["best_dev_ndcg@10"] == max(scores)
    retrieval = DevRetrieval(
        Encoder.load(tmp_path / "out"), dev, training, PictureFolder(str(folder)), tiny().dev, token_budget=4096
    )
    assert retrieval.score()["ndcg@10"] == pytest.approx(max(scores), abs=1e-9)
    assert sum("the best so far" in line for line in lines) >= 1


def test_training_ends_early_after_as_many_worse_scores_as_the_recipe_says(
    folder, training, dev, tiny_folder, tmp_path
):
    wild = replace(tiny().optimizer, learning_rate=0.05, warmup_share=0.0)
    soon = replace(tiny().dev, every_steps=1, patience=2)
    report, lines = trained(
        folder, training, dev, tiny_folder, tmp_path / "out", optimizer=wild, dev=soon, max_steps=30
    )
    assert report["steps"] == report["best_step"] + 2 < 30
    assert any("no better dev score in 2 scores" in line for line in lines)


def test_of_equal_scores_the_first_is_kept():
    best = Best()
    for step, score in ((1, 0.25), (2, 0.5), (3, 0.5), (4, 0.375)):
        best.take(score, step, {"w": torch.tensor(float(step))})
    assert (best.step, best.score, best.scores_since, float(best.weights["w"])) == (2, 0.5, 2, 2.0)


def test_a_dev_example_that_is_trained_on_is_refused(training, tmp_path):
    leaking = ExampleSet(training.documents, training.examples[3:4])
    write_dev_examples(tmp_path, leaking)
    with pytest.raises(DataError, match=r"dev example 'e3' \(row 0\) is trained on as well"):
        read_dev_examples(tmp_path, training)
    assert read_dev_examples(tmp_path / "nowhere", training) is NO_DEV
