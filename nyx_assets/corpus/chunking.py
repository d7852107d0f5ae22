"""Cuts documents into chunks: small enough to embed, pictures in place, nothing dropped.

Paragraphs and the sentences of long ones are counted in large batches, each character once; a chunk's count is their
sum wherever a tokenizer allows it (cuts.py). Only what has to be cut again is counted again.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nyx_assets.corpus.cuts import (
    TokenCounter,
    cut_anywhere,
    cut_at_sentence,
    paragraphs_of,
    seams_are_additive,
    sentences_of,
)
from nyx_assets.recipes import ChunkingRecipe
from nyx_assets.records import content_id, document_key
from training_kernels.documents import Document, Segment

CHARACTERS_PER_BATCH = 1_000_000
"""Choice: enough to keep every core counting, little enough to stay a few megabytes."""

LONG_PARAGRAPH_CHARACTERS = 400
"""Choice: from about 100 tokens on a paragraph is likely to be divided, so its sentences are counted in its place."""

WELL_FILLED = 0.6
"""Choice: above this share of the tokens a chunk ends with its paragraph rather than cut the next one in two."""

FILLED_BEFORE_PICTURE = 0.3
"""Choice: the same where the next paragraph stands behind pictures, as their caption: those stay together sooner."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A run of text out of one segment of a page."""

    text: str
    tokens: int
    source: int
    """Position of the segment in the page: pieces of one segment that meet in a chunk become one text again."""
    sentences: tuple["_Piece", ...] = ()
    """What the piece can be divided into, where that was counted already."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """A paragraph with the pictures that stand right before it; at the end of a page, pictures alone."""

    images: tuple[str, ...]
    paragraph: _Piece | None


def split_into_chunks(
    documents: Iterable[Mapping[str, Any]], *, tokenizer: TokenCounter, recipe: ChunkingRecipe
) -> Iterator[dict[str, Any]]:
    """Rows of `chunked_corpus` from rows of `crawl_documents`, page after page, in reading order.

    A page's chunks put together are the page: its texts byte for byte, its pictures in order. `text_tokens` is the
    exact count of the stored texts, each as it stands.

    Choice: a run of whitespace about as long as a chunk is the one exception: what would be a chunk of nothing else is
    left out.
    """
    is_additive = seams_are_additive(tokenizer)
    for batch in _batches(documents):
        for row, units in zip(batch, _units_of_pages(batch, tokenizer, is_additive=is_additive), strict=True):
            packer = _Packer(row["doc_id"], tokenizer=tokenizer, recipe=recipe, is_additive=is_additive)
            for unit in units:
                packer.take(unit)
            yield from packer.finish()


def _batches(documents: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    batch: list[Mapping[str, Any]] = []
    num_characters = 0
    for row in documents:
        batch.append(row)
        num_characters += 1 + sum(len(segment["text"] or "") for segment in row["segments"])
        if num_characters >= CHARACTERS_PER_BATCH:
            yield batch
            batch, num_characters = [], 0
    if batch:
        yield batch


def _units_of_pages(
    rows: list[Mapping[str, Any]], tokenizer: TokenCounter, *, is_additive: bool
) -> Iterator[list[_Unit]]:
    """The units of each page, all counted in one call."""
    pages = [
        [None if segment["text"] is None else _to_count(segment["text"], is_additive) for segment in row["segments"]]
        for row in rows
    ]
    texts = [text for page in pages for paragraphs in page for paragraph in paragraphs or () for text in paragraph]
    counts = iter(tokenizer.count(texts))
    for row, page in zip(rows, pages, strict=True):
        units: list[_Unit] = []
        images: list[str] = []
        for source, (segment, paragraphs) in enumerate(zip(row["segments"], page, strict=True)):
            if paragraphs is None:
                images.append(segment["image"])
                continue
            for paragraph in paragraphs:
                units.append(_Unit(tuple(images), _counted(paragraph, counts, source)))
                images = []
        if images:
            units.append(_Unit(tuple(images), None))
        yield units


def _to_count(text: str, is_additive: bool) -> list[list[str]]:
    """The paragraphs of a text, each as what is counted of it: the whole, or the sentences of one that may be divided."""
    return [
        sentences_of(paragraph) if is_additive and len(paragraph) >= LONG_PARAGRAPH_CHARACTERS else [paragraph]
        for paragraph in paragraphs_of(text)
    ]


def _counted(texts: list[str], counts: Iterator[int], source: int) -> _Piece:
    pieces = tuple(_Piece(text, next(counts), source) for text in texts)
    if len(pieces) == 1:
        return pieces[0]
    return _Piece("".join(texts), sum(piece.tokens for piece in pieces), source, pieces)


class _Packer:
    """Fills the chunks of one page, one after the other."""

    def __init__(self, doc_id: str, *, tokenizer: TokenCounter, recipe: ChunkingRecipe, is_additive: bool) -> None:
        self._doc_id = doc_id
        self._tokenizer = tokenizer
        self._recipe = recipe
        self._is_additive = is_additive
        self._rows: list[dict[str, Any]] = []
        self._begin_chunk()

    def _begin_chunk(self) -> None:
        self._segments: list[Segment] = []
        self._closed_tokens = 0
        self._num_images = 0
        self._open: list[str] = []
        self._open_tokens = 0
        self._open_source = -1

    @property
    def _tokens(self) -> int:
        return self._closed_tokens + self._open_tokens

    def take(self, unit: _Unit) -> None:
        """Add a unit to the chunk in hand, or to new chunks where it does not fit."""
        if self._is_better_apart(unit):
            self._close_chunk()
        for image in unit.images:
            if self._num_images == self._recipe.max_images:
                self._close_chunk()
            self._add_image(image)
        if unit.paragraph is not None and not self._add_if_it_fits(unit.paragraph):
            for sentence in self._sentences(unit.paragraph):
                self._pour(sentence)

    def finish(self) -> list[dict[str, Any]]:
        """The rows of all chunks of the page."""
        self._close_chunk()
        return self._rows

    def _is_better_apart(self, unit: _Unit) -> bool:
        """True if the unit should start a new chunk rather than be divided between this chunk and the next."""
        paragraph, limit = unit.paragraph, self._recipe.max_text_tokens
        if 0 < len(unit.images) <= self._recipe.max_images < self._num_images + len(unit.images):
            return True
        if paragraph is None or self._tokens + self._cost(paragraph) <= limit:
            return False
        if self._tokens >= (FILLED_BEFORE_PICTURE if unit.images else WELL_FILLED) * limit:
            return True
        # A picture is not left behind alone: what follows it comes along at least up to its first full stop.
        return bool(unit.images) and self._tokens + self._cost(self._sentences(paragraph)[0]) > limit

    def _sentences(self, paragraph: _Piece) -> tuple[_Piece, ...]:
        if paragraph.sentences:
            return paragraph.sentences
        texts = sentences_of(paragraph.text)
        if len(texts) == 1:
            return (paragraph,)
        counts = self._tokenizer.count(texts)
        return tuple(_Piece(text, tokens, paragraph.source) for text, tokens in zip(texts, counts, strict=True))

    def _pour(self, sentence: _Piece) -> None:
        """Add a sentence; divide it only if it is too long for any chunk, or holds sentences without a gap."""
        limit = self._recipe.max_text_tokens
        while not self._add_if_it_fits(sentence):
            lead, lead_tokens = self._lead(sentence.source)
            cut: tuple[str, int] | None
            if self._tokens == 0:
                cut = cut_anywhere(sentence.text, self._tokenizer, budget=limit)
            else:
                budget = limit - self._tokens + lead_tokens
                cut = cut_at_sentence(sentence.text, self._tokenizer, budget=budget, lead=lead)
            if cut is not None:
                start, tokens = cut
                self._add(_Piece(start, tokens - lead_tokens, sentence.source), tokens - lead_tokens)
                rest = sentence.text[len(start) :]
                if not rest:
                    return
                sentence = _Piece(rest, self._count_if_short(rest), sentence.source)
            self._close_chunk()

    def _count_if_short(self, text: str) -> int:
        """Exact count of a text that may fit a chunk; for one that is far too long, a count that says so.

        Counting the whole rest after every cut would make the work on a huge word grow with its square.
        """
        limit = self._recipe.max_text_tokens
        window = text[: 64 * limit]
        return self._tokenizer.count([window])[0] if len(window) == len(text) else limit + 1

    def _lead(self, source: int) -> tuple[str, int]:
        """Text and tokens that a piece of this segment has to be counted together with: none where counts add up."""
        if self._is_additive or source != self._open_source:
            return "", 0
        return "".join(self._open), self._open_tokens

    def _cost(self, piece: _Piece) -> int:
        """Tokens that the chunk in hand would grow by."""
        lead, lead_tokens = self._lead(piece.source)
        return self._tokenizer.count([lead + piece.text])[0] - lead_tokens if lead else piece.tokens

    def _add_if_it_fits(self, piece: _Piece) -> bool:
        cost = self._cost(piece)
        if self._tokens + cost > self._recipe.max_text_tokens:
            return False
        self._add(piece, cost)
        return True

    def _add(self, piece: _Piece, cost: int) -> None:
        if piece.source != self._open_source:
            self._close_text()
            self._open_source = piece.source
        self._open.append(piece.text)
        self._open_tokens += cost

    def _add_image(self, image: str) -> None:
        self._close_text()
        self._segments.append(Segment(image=image))
        self._num_images += 1

    def _close_text(self) -> None:
        if self._open:
            self._segments.append(Segment(text="".join(self._open)))
            self._closed_tokens += self._open_tokens
            self._open, self._open_tokens = [], 0
        self._open_source = -1

    def _close_chunk(self) -> None:
        self._close_text()
        document = Document(tuple(self._segments))
        if self._num_images or document.text.strip():
            position = len(self._rows)
            self._rows.append(
                {
                    "chunk_id": content_id(self._doc_id, str(position), document_key(document)),
                    "doc_id": self._doc_id,
                    "position": position,
                    "segments": document.to_rows(),
                    "text_tokens": self._closed_tokens,
                    "num_images": self._num_images,
                    "modality": document.modality,
                }
            )
        self._begin_chunk()
