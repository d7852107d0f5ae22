"""The check of embeddings: silent on good tables, and naming each planted fault."""

from pathlib import Path

import pyarrow as pa
import pytest

from nyx_assets.index.checks import INDEX_CHECKS, faults_of_embeddings
from nyx_assets.records import chunk_embeddings_schema
from nyx_assets.retrievers import DENSE_RETRIEVERS
from resources.home import Home
from resources.tables import Provenance

ORIGIN = Provenance(code_version="1")
GOOD = {"c2": [0.6, 0.8], "c1": [0.0, 1.0]}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.at(tmp_path)
    with home.tables.write(
        "chunked_corpus", pa.schema([("chunk_id", pa.string())]), partition="p", provenance=ORIGIN
    ) as table:
        table.append({"chunk_id": chunk_id} for chunk_id in GOOD)
    return home


@pytest.mark.parametrize(
    ("embedding_by_id", "faults"),
    [
        (GOOD, []),
        ({"c2": [0.6, 0.8005], "c1": [0.0, 1.0]}, []),
        ({"c2": [0.6, 0.9], "c1": [0.0, 1.0]}, ["chunk c2: embedding of length 1.0817"]),
        ({"c2": [0.6, 0.8], "c1": [0.0, 0.0]}, ["chunk c1: embedding of length 0.0000"]),
        ({"c2": [0.6, float("nan")], "c1": [0.0, 1.0]}, ["chunk c2: embedding of length nan"]),
        ({"c2": [0.6, 0.8]}, ["1 embeddings for 2 chunks, or in another order"]),
        ({"c1": [0.0, 1.0], "c2": [0.6, 0.8]}, ["2 embeddings for 2 chunks, or in another order"]),
        ({}, ["0 embeddings for 2 chunks, or in another order"]),
    ],
    ids=["good", "rounded", "long", "zero", "not a number", "one lacks", "order", "none"],
)
def test_an_embedding_that_is_missing_misplaced_or_no_unit_vector_is_found(
    home: Home, embedding_by_id: dict[str, list[float]], faults: list[str]
) -> None:
    name = "finetuned/chunk_embeddings"
    with home.tables.write(name, chunk_embeddings_schema(2), partition="p", provenance=ORIGIN) as table:
        table.append({"chunk_id": chunk_id, "embedding": row} for chunk_id, row in embedding_by_id.items())
    assert faults_of_embeddings(home, name, "p") == faults


def test_every_retriever_has_the_check_of_its_own_table() -> None:
    assert [key.asset_key.path for check in INDEX_CHECKS for key in check.check_keys] == [
        [retriever.name, "chunk_embeddings"] for retriever in DENSE_RETRIEVERS
    ]
