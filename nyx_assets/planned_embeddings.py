"""How many calls to an embeddings server are ahead: a text that was embedded once is not asked again, whoever asks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Protocol

from nyx_assets.captioned import caption_by_image, caption_digests, in_text
from nyx_assets.captioned import text_digest as captioned_digest
from nyx_assets.planning import NOTHING, Basis, PlannedCalls, Range
from nyx_assets.recipes import PipelineRecipe
from resources.embedder_endpoint import TEXTS_PER_CALL
from resources.home import Home
from resources.vlm_embeddings import text_digest
from resources.vlm_tokens import likely_tokens
from training_kernels.documents import Document

EMBEDDER = "embedder"
"""The role of the server in a plan."""
ENDPOINT = "endpoint:"
ROUND_TRIP = "not_found_again"
"""The check of pairs that searches the corpus for each question."""
CAPTION_TOKENS = Range(15, 60, 200)
"""Choice: one to three sentences, and the text of a sign."""
TOKENS_A_QUESTION = Range(8, 20, 60)
"""Choice: a question of 15 words, a caption in some."""
ASKED_AGAIN = Range(1, 2, 4)
"""Choice: a held-out question is asked bare, with its options, with an altered picture, and with a part of it blanked."""
TEXT_ERROR = Range(0.8, 1.0, 1.3)
"""Choice: how far four characters a token may be from what a tokenizer makes of web text."""

Row = Mapping[str, Any]


class Delivery(Protocol):
    """What a plan has to know of a delivery of pages."""

    @property
    def key(self) -> str:
        """Of its crawl partition."""
        ...

    @property
    def num_rows(self) -> int:
        """Pages."""
        ...


@dataclass(slots=True)
class Texts:
    """Texts that somebody is going to ask for, by digest with the tokens of each; or, where they are not made, a range."""

    tokens_by_digest: dict[str, float] = field(default_factory=dict)
    number: Range = NOTHING
    """Beside those."""
    tokens: Range = NOTHING
    basis: Basis = "counted"


@dataclass(kw_only=True)
class EmbeddingPlanner:
    """Plans what is asked of one model; remembers what it has planned, so that it is planned once."""

    home: Home
    recipe: PipelineRecipe
    model: str
    kept: frozenset[str]
    """Digests of texts whose embedding is there."""
    needs: Callable[[str, str | None], bool]
    chunks_by_page: Callable[[Any], Iterator[Sequence[Row]]]
    """Chunks of a sample of pages, of a delivery that is not cut yet."""
    spread: Callable[..., Range]
    """The sum over a number of pages, from a sample."""
    _planned: set[str] = field(default_factory=set)
    _estimated: set[str] = field(default_factory=set)
    _has_asked: bool = False

    def is_asked_by(self, name: str) -> bool:
        """Whether a miner or embedder of this name is the server."""
        return name == f"{ENDPOINT}{self.model}"

    def filtered_qa(self, delivery: Delivery, drafts: Range) -> Iterator[PlannedCalls]:
        """The round trip of a partition: its chunks, and its drafts' questions."""
        checks = {check.name for check in self.recipe.qa.checks}
        if ROUND_TRIP in checks and self.is_asked_by(self.recipe.qa.round_trip.retriever):
            yield self._calls("filtered_qa", delivery.key, [self._chunks(delivery)], questions=drafts)

    def negatives(self, deliveries: Sequence[Delivery], questions: Range) -> Iterator[PlannedCalls]:
        """Mining: all chunks, and the training questions."""
        if self.is_asked_by(self.recipe.mining.miner) and self.needs("negatives", None):
            texts = [self._chunks(delivery) for delivery in deliveries]
            yield self._calls("negatives", None, texts, questions=questions)

    def caption_embeddings(self, delivery: Delivery) -> Iterator[PlannedCalls]:
        """The chunks of a partition with captions in the places of pictures."""
        wanted = self.is_asked_by(self.recipe.captions.embedder) and self.recipe.captions.max_pictures_per_crawl
        if wanted and self.needs("caption_embeddings", delivery.key):
            yield self._calls("caption_embeddings", delivery.key, [self._captioned(delivery)])

    def scores(self, questions: Range) -> Iterator[PlannedCalls]:
        """Held-out questions; those of the answers are among them, but for what is drawn otherwise."""
        if not self.is_asked_by(self.recipe.captions.embedder) or not self.recipe.captions.max_pictures_per_crawl:
            return
        if self.needs("retrieval_scores", None):
            yield self._calls("retrieval_scores", None, [], questions=questions * ASKED_AGAIN)
        if self.needs("rag_scores", None):
            most = min(questions.high, self.recipe.evaluation.max_rag_queries)
            yield self._calls("rag_scores", None, [], questions=Range(0, 0, most))

    def _chunks(self, delivery: Delivery) -> Texts:
        """What its chunks say, pictures left out; one that says nothing is not asked about."""
        if self.needs("chunked_corpus", delivery.key):
            return self._estimate(delivery, captioned=False)
        return self._count(Document.from_rows(row["segments"]).text for row in self._rows(delivery))

    def _captioned(self, delivery: Delivery) -> Texts:
        if self.needs("chunked_corpus", delivery.key):
            return self._estimate(delivery, captioned=True)
        documents = [Document.from_rows(row["segments"]) for row in self._rows(delivery)]
        if not self.needs("chunk_captions", delivery.key):
            captions = caption_by_image(self.home, delivery.key)
            read = (in_text(document, captions) for document in documents)
            made = caption_digests(self.home, delivery.key, self.recipe.captions.embedder)
            return self._count(document.text for document in read if captioned_digest(document) not in made)
        texts = self._count(document.text for document in documents if not document.images)
        shown = [len(document.images) for document in documents if document.images]
        texts.number = Range.exactly(len(shown))
        written = sum(likely_tokens(document.text) for document in documents if document.images)
        texts.tokens = TEXT_ERROR * written + CAPTION_TOKENS * sum(shown)
        texts.basis = "sampled"
        return texts

    def _rows(self, delivery: Delivery) -> list[dict[str, Any]]:
        return self.home.tables.read("chunked_corpus", partition=delivery.key, columns=["segments"]).to_pylist()

    def _count(self, texts: Iterator[str]) -> Texts:
        found = {text_digest(text): text for text in texts if text.strip()}
        return Texts({digest: likely_tokens(text) for digest, text in found.items()})

    def _estimate(self, delivery: Delivery, *, captioned: bool) -> Texts:
        """From a sample of pages; chunks without a picture only where their texts were planned for somebody else before."""
        was_estimated = delivery.key in self._estimated
        self._estimated.add(delivery.key)
        numbers, tokens, pictures = [], [], []
        for chunks in self.chunks_by_page(delivery):
            documents = [Document.from_rows(chunk["segments"]) for chunk in chunks]
            asked = [one for one in documents if (one.text.strip() and not was_estimated) or (one.images and captioned)]
            numbers.append(len(asked))
            tokens.append(sum(likely_tokens(one.text) for one in asked))
            pictures.append(sum(len(one.images) for one in asked) if captioned else 0)
        number = delivery.num_rows
        return Texts(
            number=self.spread(numbers, number=number),
            tokens=self.spread(tokens, number=number) * TEXT_ERROR
            + self.spread(pictures, number=number) * CAPTION_TOKENS,
            basis="sampled",
        )

    def _calls(
        self, asset: str, partition: str | None, asked: Sequence[Texts], *, questions: Range = NOTHING
    ) -> PlannedCalls:
        """Calls for the texts that nobody was planned to ask for before; a call holds texts of one sort."""
        new: dict[str, float] = {}
        num_kept = 0
        number, tokens = NOTHING, NOTHING
        basis: Basis = "counted"
        for texts in asked:
            num_kept += len(self.kept & texts.tokens_by_digest.keys())
            new |= {
                digest: num_tokens
                for digest, num_tokens in texts.tokens_by_digest.items()
                if digest not in self.kept and digest not in self._planned
            }
            number, tokens = number + texts.number, tokens + texts.tokens
            basis = "sampled" if texts.basis == "sampled" else basis
        self._planned |= new.keys()
        calls = _in_calls(Range.exactly(len(new)) + number) + _in_calls(questions)
        if not self.kept and not self._has_asked:
            calls += Range.exactly(1)  # for the width of an embedding
        self._has_asked = True
        return PlannedCalls(
            asset=asset,
            partition=partition,
            role=EMBEDDER,
            calls=calls,
            kept=ceil(num_kept / TEXTS_PER_CALL),
            input_tokens=TEXT_ERROR * sum(new.values()) + tokens + questions * TOKENS_A_QUESTION,
            output_tokens=NOTHING,
            basis="assumed" if questions.high else basis,
        )


def _in_calls(texts: Range) -> Range:
    return Range(*(float(ceil(value / TEXTS_PER_CALL)) for value in (texts.low, texts.likely, texts.high)))
