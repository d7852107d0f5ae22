"""Our metrics against libraries that know nothing of ours, to nine digits, on rankings without ties."""

import random

import numpy as np
import pytest
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sklearn.metrics import average_precision_score, ndcg_score

from nyx_assets.evaluation.metrics import (
    average_precision,
    hit_at,
    judge,
    ndcg_at,
    precision_at,
    recall_at,
    reciprocal_rank,
)

KS = [1, 5, 10]


def drawn(seed: int) -> tuple[list[tuple[str, float]], dict[str, int]]:
    """A ranking of 30 candidates, and 1 to 6 golds of grade 1 to 3 among them."""
    rng = random.Random(seed)
    scores = rng.sample(range(1_000), 30)
    ranking = sorted(((f"c{place}", float(score)) for place, score in enumerate(scores)), key=lambda hit: -hit[1])
    golds = rng.sample([name for name, _ in ranking], rng.randint(1, 6))
    return ranking, {name: rng.randint(1, 3) for name in golds}


@pytest.mark.parametrize("seed", range(60))
def test_ndcg_and_average_precision_equal_scikit_learn(seed: int) -> None:
    ranking, grades = drawn(seed)
    judged = judge(ranking, grades)
    grade_C = np.array([grades.get(name, 0) for name, _ in ranking])
    score_C = np.array([score for _, score in ranking])
    for k in KS:
        assert ndcg_at(judged, k) == pytest.approx(ndcg_score([grade_C], [score_C], k=k), abs=1e-9)
    assert average_precision(judged) == pytest.approx(average_precision_score(grade_C > 0, score_C), abs=1e-9)


def test_means_equal_those_of_sentence_transformers() -> None:
    queries = {f"q{seed}": drawn(seed) for seed in range(60)}
    evaluator = InformationRetrievalEvaluator(
        dict.fromkeys(queries, ""),
        {f"c{place}": "" for place in range(30)},
        {name: set(grades) for name, (_, grades) in queries.items()},
        mrr_at_k=[30], ndcg_at_k=[10], accuracy_at_k=KS, precision_recall_at_k=KS, map_at_k=[30],
    )  # fmt: skip
    found = evaluator.compute_metrics(
        [[{"corpus_id": name, "score": score} for name, score in ranking] for ranking, _ in queries.values()]
    )
    judged = [judge(ranking, dict.fromkeys(grades, 1)) for ranking, grades in queries.values()]
    for k in KS:
        assert np.mean([hit_at(one, k) for one in judged]) == pytest.approx(found["accuracy@k"][k], abs=1e-9)
        assert np.mean([recall_at(one, k) for one in judged]) == pytest.approx(found["recall@k"][k], abs=1e-9)
        assert np.mean([precision_at(one, k) for one in judged]) == pytest.approx(found["precision@k"][k], abs=1e-9)
    assert np.mean([reciprocal_rank(one) for one in judged]) == pytest.approx(found["mrr@k"][30], abs=1e-9)
    assert np.mean([average_precision(one) for one in judged]) == pytest.approx(found["map@k"][30], abs=1e-9)
    assert np.mean([ndcg_at(one, 10) for one in judged]) == pytest.approx(found["ndcg@k"][10], abs=1e-9)
