"""A real model of sentence-transformers, small and with random weights, loaded from its folder."""

from pathlib import Path

import numpy as np
import pytest

from resources.embedder_sentence_transformers import SentenceTransformersEmbedder
from training_kernels.documents import Document, Segment
from training_kernels.errors import ConfigError
from training_kernels.tokenizer import TINY_TOKENIZER

sentence_transformers = pytest.importorskip("sentence_transformers", reason="the extra nyx[bench] is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    torch.set_num_threads(1)
    torch.manual_seed(4)
    words = StaticEmbedding(Tokenizer.from_file(str(TINY_TOKENIZER)), embedding_dim=24)
    model = sentence_transformers.SentenceTransformer(
        modules=[words], prompts={"query": "Find this: ", "document": ""}, device="cpu"
    )
    folder = tmp_path_factory.mktemp("models") / "static"
    model.save(str(folder))
    return folder


def test_embeddings_are_the_models_own_at_unit_length_with_its_prompt_for_queries(folder: Path) -> None:
    embedder = SentenceTransformersEmbedder.load(str(folder))
    documents = [Document.of("the moon of Jupiter"), Document.of("a lighthouse", Segment(image="aa"), "at night")]
    own = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    for side, texts in (
        ("candidate", ["the moon of Jupiter", "a lighthouse\nat night"]),
        ("query", ["Find this: the moon of Jupiter", "Find this: a lighthouse\nat night"]),
    ):
        expected = np.stack([own.encode(text, prompt="") for text in texts])
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(embedder.embed(documents, side=side), expected, atol=1e-6)
    assert (embedder.dim, embedder.dims, embedder.reads_pictures) == (24, (24,), False)
    assert embedder.embed([], side="query").shape == (0, 24)


def test_a_folder_that_holds_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot load"):
        SentenceTransformersEmbedder.load(str(tmp_path / "nothing"))
