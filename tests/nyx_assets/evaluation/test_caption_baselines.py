"""Baselines that read captions: which there are, by which embedder, and what they find."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nyx_assets.captioned import text_digest
from nyx_assets.evaluation.caption_baselines import caption_baselines
from nyx_assets.evaluation.remembering import RememberingEmbedder
from nyx_assets.recipes import tiny
from nyx_assets.records import CHUNK_CAPTIONS
from resources.home import Home
from resources.tables import Provenance
from training_kernels.documents import Document, Segment
from training_kernels.errors import ConfigError, IncompleteArtifact

NOON, THREE = "1" * 64, "2" * 64


@pytest.fixture
def captions(home: Home) -> Callable[[dict[str, str | None]], None]:
    """Write the captions of one crawl, by picture."""

    def write(caption_by_image: dict[str, str | None]) -> None:
        provenance = Provenance(code_version="1")
        with home.tables.write("chunk_captions", CHUNK_CAPTIONS, partition="p", provenance=provenance) as table:
            table.append(
                dict.fromkeys(CHUNK_CAPTIONS.names) | {"image": image, "caption": caption}
                for image, caption in caption_by_image.items()
            )

    return write


def recipe(embedder: str) -> Any:
    return type(tiny().captions)(max_pictures_per_crawl=9, max_output_tokens=9, embedder=embedder)


def test_a_picture_is_found_by_its_caption_and_a_document_without_a_word_by_nothing(
    home: Home, captions: Any, clock_embedders: Any
) -> None:
    captions({NOON: "clock 0", THREE: "clock 9", "3" * 64: None})
    words = clock_embedders(any=0.2).by_name["any"]
    foreign = {"sentence-transformers": lambda model, **asking: {"folder:of:mine": words}[model]}
    by_words, by_embedding = caption_baselines(
        home, clock_embedders(), foreign, recipe("sentence-transformers:folder:of:mine"), asset="retrieval_scores"
    )
    assert (by_words.name, by_embedding.name) == ("bm25+captions", "embedder+captions")
    candidates = {
        "noon": Document.of(Segment(image=NOON)),
        "three": Document.of(Segment(image=THREE)),
        "no word": Document.of(Segment(image="3" * 64)),
    }
    queries = [Document.of(Segment(image=THREE)), Document.of("hour 0")]
    found = by_embedding.rank(queries, candidates, top_k=3)[2]
    assert [ranking[0][0] for ranking in found] == ["three", "noon"]
    assert dict(found[0])["no word"] == 0
    assert by_words.rank(queries, candidates, top_k=1)[0][0][0][0] == "three"
    # each document is embedded once, however many suites show it
    num_asked = len(words.asked)
    by_embedding.rank(queries, candidates, top_k=3)
    assert len(words.asked) == num_asked


def test_the_embedder_may_be_a_checkpoint_and_has_to_be_there(
    home: Home, captions: Any, clock_embedders: Any, publish: Any
) -> None:
    captions({NOON: "clock 0"})
    with pytest.raises(IncompleteArtifact, match="pretrained_checkpoint has not been made"):
        caption_baselines(home, clock_embedders(), {}, recipe("pretrained"), asset="a")
    publish(home, "pretrained_checkpoint", "old")
    embedders = clock_embedders(old=0.0)
    _, by_embedding = caption_baselines(home, embedders, {}, recipe("pretrained"), asset="a")
    by_embedding.rank([Document.of("hour 1")], {"noon": Document.of(Segment(image=NOON))}, top_k=1)
    assert ("candidate", "clock 0") in embedders.by_name["old"].asked
    with pytest.raises(ConfigError, match="known: bm25, untrained"):
        caption_baselines(home, embedders, {}, recipe("e5"), asset="a")


def test_a_query_does_not_get_the_embedding_of_a_candidate_that_says_the_same(clock_embedders: Any) -> None:
    inner = clock_embedders(any=6.0).by_name["any"]
    stored = np.array([0.6, 0.8], np.float32)
    remembering = RememberingEmbedder(inner, candidates={text_digest(Document.of("hour 3")): stored})
    same = [Document.of("hour 3"), Document.of("hour 3")]
    as_candidates = remembering.embed(same, side="candidate")
    assert (as_candidates == stored).all()
    assert inner.asked == []
    as_queries = remembering.embed(same, side="query")
    assert inner.asked == [("query", "hour 3")]
    assert np.abs(as_queries - as_candidates).max() > 0.1


def test_without_a_caption_there_is_no_such_baseline(home: Home, captions: Any, clock_embedders: Any) -> None:
    captions({NOON: None})
    assert caption_baselines(home, clock_embedders(), {}, recipe("pretrained"), asset="a") == []
