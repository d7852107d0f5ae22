"""A chunk is embedded once for a checkpoint, whichever retriever's name the checkpoint goes by."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from nyx_assets.index.embedding import embedded_rows, known_embeddings
from nyx_assets.records import chunk_embeddings_schema, embedding_matrix
from nyx_assets.retrievers import FINETUNED, PRETRAINED, PROMOTED, UNTRAINED
from resources.artifacts import MANIFEST
from resources.embedder import Side
from resources.home import Home
from resources.tables import Commit, Provenance
from training_kernels.documents import Document


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
    folder.mkdir(parents=True)
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
    publish(home, "promoted_checkpoint", "weights-2")
    store(home, "pretrained", [1], made_with="weights-1")
    store(home, "finetuned", [2, 3], made_with="weights-2")
    store(home, "promoted", [4], made_with="weights-0")
    known = known_embeddings(home, PROMOTED, "p", 3)
    assert sorted(known) == ["c2", "c3"]
    np.testing.assert_array_equal(known["c3"], direction(3))
    assert known_embeddings(home, PROMOTED, "another partition", 3) == {}


def test_another_checkpoint_of_the_same_name_is_not_known(home: Home) -> None:
    publish(home, "finetuned_checkpoint", "weights-2")
    store(home, "finetuned", [2], made_with="weights-1")
    assert known_embeddings(home, FINETUNED, "p", 3) == {}


def test_embeddings_of_another_width_are_not_known(home: Home) -> None:
    publish(home, "pretrained_checkpoint", "weights-1")
    store(home, "pretrained", [2], made_with="weights-1", dim=2)
    assert known_embeddings(home, PRETRAINED, "p", 3) == {}
    assert sorted(known_embeddings(home, PRETRAINED, "p", 2)) == ["c2"]


def test_quarantined_embeddings_are_not_known(home: Home) -> None:
    publish(home, "pretrained_checkpoint", "weights-1")
    store(home, "pretrained", [2], made_with="weights-1")
    home.tables.quarantine("pretrained/chunk_embeddings", "p", "an embedding of length 3")
    assert known_embeddings(home, PRETRAINED, "p", 3) == {}


def test_the_untrained_backbone_knows_nothing(home: Home) -> None:
    store(home, "untrained", [2], made_with="weights-1")
    assert known_embeddings(home, UNTRAINED, "p", 3) == {}
