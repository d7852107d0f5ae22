"""A chunk is embedded once for a checkpoint, whichever retriever's name the checkpoint goes by."""

from collections.abc import Sequence

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from nyx_assets.index.assets import embeddings_asset
from nyx_assets.index.embedding import embedded_rows, known_embeddings
from nyx_assets.partitions import CRAWL
from nyx_assets.records import CHUNKED_CORPUS, chunk_embeddings_schema, embedding_matrix
from nyx_assets.retrievers import FINETUNED, PRETRAINED, PROMOTED, UNTRAINED, RetrieverSpec
from resources.artifacts import MANIFEST
from resources.embedder import Side
from resources.home import Home
from resources.tables import Commit, Provenance
from training_kernels.documents import Document
from training_kernels.errors import CheckpointMoved


class NumberEmbedder:
    """Embeds a text that is a number n as (cos n, sin n, 0), and remembers what it was asked."""

    dim, dims = 3, (3,)

    def __init__(self) -> None:
        self.asked: list[tuple[str, Side]] = []

    def embed(self, documents: Sequence[Document], *, side: Side) -> np.ndarray:
        self.asked += [(document.text, side) for document in documents]
        return np.stack([direction(float(document.text)) for document in documents])


def direction(number: float) -> np.ndarray:
    return np.array([np.cos(number), np.sin(number), 0], np.float32)


def chunk(number: int) -> dict:
    return {"chunk_id": f"c{number}", "segments": Document.of(str(number)).to_rows()}


def publish(home: Home, asset: str, version: str) -> None:
    folder = home.artifacts.folder(asset, version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).write_text("{}")
    commit = Commit(data_version=version, num_rows=1, provenance=Provenance(code_version="1"), written_at="")
    home.artifacts.publish(asset, folder, commit)


def store(home: Home, retriever: str, numbers: Sequence[float], *, made_with: str, dim: int = 3) -> None:
    provenance = Provenance(code_version="1", inputs={f"{retriever}_checkpoint": made_with, "chunked_corpus": "x"})
    schema = chunk_embeddings_schema(dim)
    with home.tables.write(f"{retriever}/chunk_embeddings", schema, partition="p", provenance=provenance) as table:
        table.append(
            {"chunk_id": f"c{number:.0f}", "embedding": [*map(float, direction(number)[:dim])]} for number in numbers
        )


def known(home: Home, retriever: RetrieverSpec, version: str, partition: str = "p", dim: int = 3) -> dict:
    inputs = {retriever.checkpoint: version} if retriever.checkpoint else {}
    return known_embeddings(home, retriever, Provenance(code_version="1", inputs=inputs), partition, dim)


def test_every_chunk_is_embedded_as_a_candidate_in_its_place() -> None:
    embedder = NumberEmbedder()
    table, reused = embedded_rows([chunk(5), chunk(2), chunk(9)], embedder, {})
    assert reused == 0
    assert table["chunk_id"].to_pylist() == ["c5", "c2", "c9"]
    np.testing.assert_array_equal(embedding_matrix(table), np.stack([direction(5), direction(2), direction(9)]))
    assert embedder.asked == [("5", "candidate"), ("2", "candidate"), ("9", "candidate")]


def test_what_is_known_is_not_embedded_again_and_keeps_its_place() -> None:
    embedder = NumberEmbedder()
    known = {"c2": direction(0.2), "c7": direction(0.7)}  # not what the embedder would say
    table, reused = embedded_rows([chunk(5), chunk(2), chunk(9)], embedder, known)
    assert (reused, [text for text, _ in embedder.asked]) == (1, ["5", "9"])
    np.testing.assert_array_equal(embedding_matrix(table), np.stack([direction(5), direction(0.2), direction(9)]))


def test_nothing_is_asked_where_everything_is_known_and_no_chunk_is_a_table() -> None:
    embedder = NumberEmbedder()
    table, reused = embedded_rows([chunk(1)], embedder, {"c1": direction(1)})
    assert (reused, embedder.asked) == (1, [])
    empty, _ = embedded_rows([], embedder, {})
    assert empty.schema == table.schema == pa.schema(chunk_embeddings_schema(3))


def test_the_same_checkpoint_under_another_name_is_known(home: Home) -> None:
    store(home, "pretrained", [1], made_with="weights-1")
    store(home, "finetuned", [2, 3], made_with="weights-2")
    store(home, "promoted", [4], made_with="weights-0")
    found = known(home, PROMOTED, "weights-2")
    assert sorted(found) == ["c2", "c3"]
    np.testing.assert_array_equal(found["c3"], direction(3))
    assert known(home, PROMOTED, "weights-2", "another partition") == {}


def test_another_checkpoint_of_the_same_name_is_not_known(home: Home) -> None:
    store(home, "finetuned", [2], made_with="weights-1")
    assert known(home, FINETUNED, "weights-2") == {}


def test_embeddings_of_another_width_are_not_known(home: Home) -> None:
    store(home, "pretrained", [2], made_with="weights-1", dim=2)
    assert known(home, PRETRAINED, "weights-1") == {}
    assert sorted(known(home, PRETRAINED, "weights-1", dim=2)) == ["c2"]


def test_quarantined_embeddings_are_not_known(home: Home) -> None:
    store(home, "pretrained", [2], made_with="weights-1")
    home.tables.quarantine("pretrained/chunk_embeddings", "p", "an embedding of length 3")
    assert known(home, PRETRAINED, "weights-1") == {}


def test_the_untrained_backbone_knows_nothing(home: Home) -> None:
    store(home, "untrained", [2], made_with="weights-1")
    assert known(home, UNTRAINED, "") == {}


class PromotingEmbedders:
    """Opens the embedder of a folder; it turns by the number in its name, and one is promoted while the first embeds."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def open(self, folder: str) -> NumberEmbedder:
        embedders, turn = self, float(folder.rpartition("-")[2])

        class Turning(NumberEmbedder):
            def embed(self, documents: Sequence[Document], *, side: Side) -> np.ndarray:
                publish(embedders.home, "promoted_checkpoint", "weights-2")
                return np.stack([direction(float(document.text) + turn) for document in documents])

        return Turning()


def test_a_checkpoint_that_is_promoted_during_a_run_of_many_embeds_what_says_so(home: Home) -> None:
    publish(home, "promoted_checkpoint", "weights-1")
    for number, partition in enumerate("ab"):
        with home.tables.write(
            "chunked_corpus", CHUNKED_CORPUS, partition=partition, provenance=Provenance(code_version="1")
        ) as table:
            table.append([dict.fromkeys(CHUNKED_CORPUS.names) | chunk(number)])
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(CRAWL.name), ["a", "b"])
        made = dg.materialize(
            [embeddings_asset(PROMOTED)],
            instance=instance,
            resources={"home": home, "embedders": PromotingEmbedders(home)},
            tags={"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "b"},
        )
    assert made.success
    for number, (partition, weights) in enumerate({"a": 1, "b": 2}.items()):
        commit = home.tables.commit("promoted/chunk_embeddings", partition)
        assert commit is not None
        assert commit.provenance.inputs["promoted_checkpoint"] == f"weights-{weights}"
        vectors = embedding_matrix(home.tables.read("promoted/chunk_embeddings", partition=partition))
        np.testing.assert_array_equal(vectors, [direction(number + weights)])


def test_a_checkpoint_that_is_promoted_between_the_inputs_and_the_vectors_is_not_taken_for_the_one_before(
    home: Home,
) -> None:
    publish(home, "promoted_checkpoint", "weights-2")
    made_from = Provenance(code_version="1", inputs={"promoted_checkpoint": "weights-1"})
    with pytest.raises(
        CheckpointMoved, match=r"was weights-1 when .* is weights-2 now; materialize promoted/chunk_emb"
    ):
        PROMOTED.folder_of(home, PromotingEmbedders(home), made_from)  # type: ignore[arg-type]
