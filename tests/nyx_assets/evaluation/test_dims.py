"""The table that the index's dim is chosen from."""

import numpy as np
import pytest

from nyx_assets.evaluation.dims import PRECISIONS, index_settings, int8_of, recommended
from nyx_assets.evaluation.suites import Suite, SuiteQuery
from nyx_assets.index.building import recommended_dims
from nyx_assets.recipes import tiny
from nyx_assets.records import INDEX_SETTINGS
from resources.tables import Provenance
from training_kernels.documents import Document
from training_kernels.errors import DataError


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    """200 candidates of 64 numbers; queries are near their gold in the first 32, and apart in the first 4."""
    rng = np.random.default_rng(4)
    candidate_CD = unit(rng.normal(size=(200, 64)))
    noise = rng.normal(scale=0.03, size=(40, 64))
    noise[:, :4] *= 4
    queries = tuple(SuiteQuery(f"q{n}", Document.of("q"), {f"c{n:03d}": 1}) for n in range(40))
    suite = Suite("s", {f"c{n:03d}": Document.of(str(n)) for n in range(200)}, queries)
    found = index_settings(
        suite, unit(candidate_CD[:40] + noise), candidate_CD, dims=(64, 32, 4), ndcg_depth=10, max_loss=0.01
    )
    assert set(found[0]) == set(INDEX_SETTINGS.names)
    with pytest.raises(DataError, match="got 40 and 199"):
        index_settings(suite, candidate_CD[:40], candidate_CD[1:], dims=(64,), ndcg_depth=10, max_loss=0.01)
    return found


def test_each_dim_stands_at_each_precision_with_what_a_vector_takes(rows):
    assert [(row["dim"], row["precision"], row["bytes_per_vector"]) for row in rows] == [
        (64, "float32", 256), (64, "float16", 128), (64, "int8", 68),
        (32, "float32", 128), (32, "float16", 64), (32, "int8", 36),
        (4, "float32", 16), (4, "float16", 8), (4, "int8", 8),
    ]  # fmt: skip
    assert all(row["search_ms_per_query"] > 0 for row in rows)


def test_of_each_precision_the_narrowest_dim_within_the_loss_is_recommended(rows):
    score = {(row["dim"], row["precision"]): row["score"] for row in rows}
    assert score[64, "float32"] == score[32, "float32"] == 1
    assert score[4, "float32"] < 0.9
    assert [(row["dim"], row["precision"]) for row in rows if row["is_recommended"]] == [
        (32, precision) for precision in PRECISIONS
    ]


def test_a_loss_of_exactly_the_recipes_share_is_still_within_it():
    table = [
        {"dim": dim, "precision": "float32", "score": score} for dim, score in ((64, 0.5), (32, 0.25), (16, 0.125))
    ]
    assert [row["is_recommended"] for row in recommended(table, max_loss=0.5)] == [False, True, False]
    assert [row["loss"] for row in recommended(table, max_loss=0.5)] == [0, 0.5, 0.75]
    unscored = recommended([{"dim": 64, "precision": "float32", "score": None}], max_loss=1)
    assert (unscored[0]["is_recommended"], unscored[0]["loss"]) == (False, None)


def test_int8_is_within_half_a_step_of_what_was_stored():
    embedding_CD = np.concatenate([unit(np.random.default_rng(1).normal(size=(5, 16))), np.zeros((1, 16), np.float32)])
    decoded, _ = int8_of(embedding_CD)
    step_C = np.abs(embedding_CD).max(axis=1) / 127
    assert (np.abs(decoded - embedding_CD).max(axis=1) <= step_C / 2 + 1e-7).all()
    assert np.abs(decoded - embedding_CD)[:5].max() > 1e-4


def test_the_index_takes_the_recommended_dim_of_its_own_precision(home, rows):
    with home.tables.write(
        "index_settings", INDEX_SETTINGS, partition=None, provenance=Provenance(code_version="1")
    ) as table:
        table.append(rows)
    assert recommended_dims(home, (64, 32, 4), tiny().index) == (32, 4)
    none = [row | {"is_recommended": False} for row in rows]
    with home.tables.write(
        "index_settings", INDEX_SETTINGS, partition=None, provenance=Provenance(code_version="1")
    ) as table:
        table.append(none)
    assert recommended_dims(home, (64, 32, 4), tiny().index) == (64, 32, 4)
