"""Every miner behind the one seam: exact, by id, with the positive's score wherever it ranks."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from nyx_assets.miners import Bm25Miner, EmbeddingMiner, Miner, open_miner, ranked
from resources.embedder import Side
from resources.embedder_checkpoint import CheckpointEmbedders
from resources.home import Home
from training_kernels.documents import Document, Segment
from training_kernels.errors import ConfigError, DataError, IncompleteArtifact

CHUNKS = {
    "z": Document.of("the moon of Jupiter is yellow"),
    "m": Document.of("the moon Europa is white, the moon Io is yellow"),
    "b": Document.of("lighthouse keepers at sea"),
    "a": Document.of("lighthouse keepers at sea"),
    "p": Document.of(Segment(image="aa")),
}


class Letters:
    """Embeds a text by its counts of six letters: an embedder that anybody can check by hand."""

    reads_pictures = False
    dim = 6
    dims = (6,)

    def embed(self, documents: Sequence[Document], *, side: Side) -> np.ndarray:
        counts = np.array([[document.text.count(letter) for letter in "aeilmo"] for document in documents], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def letter_cosine(one: str, other: str) -> float:
    x, y = ([text.count(letter) for letter in "aeilmo"] for text in (one, other))
    return sum(a * b for a, b in zip(x, y)) / (sum(a * a for a in x) * sum(b * b for b in y)) ** 0.5


@pytest.mark.parametrize("miner", [Bm25Miner(CHUNKS), EmbeddingMiner(Letters(), CHUNKS)])
def test_the_positives_score_is_that_of_its_hit_and_is_known_beyond_the_last_rank(miner: Miner) -> None:
    query = [Document.of("yellow moon of Jupiter, keepers")]
    everything = miner.mine(query, ["b"], top_k=9)[0]
    score_by_id = dict(everything.hits)
    assert everything.positive_score == pytest.approx(score_by_id["b"])
    best = miner.mine(query, ["b"], top_k=1)[0]
    assert best.hits == everything.hits[:1]
    assert best.hits[0][0] != "b"
    assert best.positive_score == pytest.approx(score_by_id["b"])


def test_an_embedding_miner_gives_cosines_in_order_ties_by_id_and_leaves_out_what_it_cannot_read() -> None:
    question = "a lighthouse at sea"
    mined = EmbeddingMiner(Letters(), CHUNKS).mine([Document.of(question)], ["p"], top_k=9)[0]
    expected = {name: letter_cosine(question, chunk.text) for name, chunk in CHUNKS.items() if name != "p"}
    assert [name for name, _ in mined.hits] == sorted(expected, key=lambda name: (-round(expected[name], 6), name))
    assert [name for name, _ in mined.hits][:2] == ["a", "b"]
    assert [score for _, score in mined.hits] == pytest.approx([expected[name] for name, _ in mined.hits], abs=1e-6)
    assert mined.positive_score is None


def test_a_query_that_an_embedder_cannot_read_finds_nothing_and_the_others_keep_their_places() -> None:
    queries = [Document.of("moon"), Document.of(Segment(image="aa")), Document.of("keepers at sea")]
    found = EmbeddingMiner(Letters(), CHUNKS).mine(queries, ["z", "z", "a"], top_k=1)
    alone = EmbeddingMiner(Letters(), CHUNKS).mine([queries[2]], ["a"], top_k=1)
    assert (found[1].hits, found[1].positive_score) == ([], None)
    assert found[2] == alone[0]


def test_a_golden_chunk_outside_the_corpus_is_named() -> None:
    query = {"qa_id": "q7", "chunk_id": "gone", "question": Document.of("moon").to_rows()}
    with pytest.raises(DataError, match="query q7: its golden chunk gone"):
        ranked(Bm25Miner(CHUNKS), [query], CHUNKS, top_k=3)


def test_a_miner_is_opened_by_its_name(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    embedders = CheckpointEmbedders(str(tmp_path / "backbones"), "tiny-qwen2.5-vl", home.images.root)
    chunks = {name: chunk for name, chunk in CHUNKS.items() if name != "p"}
    opened: list[tuple[str, str, str | None]] = []

    def letters(model: str, /, *, asset: str, partition: str | None) -> Letters:
        opened.append((model, asset, partition))
        return Letters()

    opener = partial(
        open_miner, home=home, embedders=embedders, foreign_embedders={"letters": letters}, asset="a", partition="p"
    )
    assert isinstance(opener("bm25", chunks), Bm25Miner)
    untrained = opener("untrained", chunks)
    by_folder = opener(f"checkpoint:{embedders.untrained()}", chunks)
    query = [Document.of("the moon")]
    assert untrained.mine(query, ["z"], top_k=3) == by_folder.mine(query, ["z"], top_k=3)
    assert opener("letters:any/thing:at all", chunks).mine(query, ["z"], top_k=1)
    assert opened == [("any/thing:at all", "a", "p")]
    with pytest.raises(ConfigError, match="'pretrained' would be its own input.*pretrained/<folder name under"):
        opener("pretrained", chunks)
    with pytest.raises(IncompleteArtifact, match="checkpoints/pretrained_checkpoint/3fa9"):
        opener("pretrained/3fa9", chunks)
    with pytest.raises(ConfigError, match="'colbert' is unknown"):
        opener("colbert", chunks)
