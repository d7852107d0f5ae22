"""Public training sets, row by row, from the schemas that they are published in.

A folder of sets: each file (.parquet, .jsonl, .jsonl.gz, .json) belongs to the set of its sub-folder, or to one of its own
name. The schema is told by the fields of a row:

    MMEB, mmE5      qry, qry_image_path, pos_text, pos_image_path, neg_text, neg_image_path; the last four one text, a list,
                    or a list as JSON text
    HotpotQA, 2Wiki question, context, supporting_facts; as the authors' pairs or as the hub's columns
    MuSiQue         question, paragraphs with is_supporting
    gold passages   question, passages with an id, gold_ids

Of a question with several supporting passages each makes an example of its own; none is ever a negative of the others.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nyx_assets.training.placeholders import interleaved
from training_kernels.documents import Document, Segment
from training_kernels.errors import DataError

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RawDocument:
    """A document whose pictures are still paths, as the set writes them."""

    segments: tuple[tuple[Literal["text", "image"], str], ...]

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(value for kind, value in self.segments if kind == "image")

    def with_digests(self, digest_by_path: Mapping[str, str]) -> Document:
        """The document, its pictures named by their digests."""
        return Document(
            tuple(
                Segment(text=value) if kind == "text" else Segment(image=digest_by_path[value])
                for kind, value in self.segments
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RawExample:
    """One example as a set has it."""

    query: RawDocument
    positive: RawDocument
    negatives: tuple[RawDocument, ...]


def examples_of_row(row: Row) -> list[RawExample]:
    """The examples that a row of a published set makes; none where it has no positive.

    Raises DataError for a row of no known schema, or one that breaks its own, and MarksDisagree, with field and counts,
    where a text marks other than as many places as it has pictures.
    """
    fields = row.keys()
    if {"qry", "pos_text"} <= fields:
        return _of_mmeb(row)
    if {"question", "context", "supporting_facts"} <= fields:
        return _of_hotpot(row)
    if {"question", "paragraphs"} <= fields:
        return _of_musique(row)
    if {"question", "passages", "gold_ids"} <= fields:
        return _of_gold_passages(row)
    raise DataError(f"fields {sorted(fields)} are those of no known set: MMEB, HotpotQA, 2WikiMultiHopQA, MuSiQue")


def _of_mmeb(row: Row) -> list[RawExample]:
    """Source: the published rows of TIGER-Lab/MMEB-train and intfloat/mmE5-MMEB-hardneg, mmE5-synthetic."""
    query = interleaved(_text(row, "qry"), _flat(_listed(row, "qry_image_path")), field="qry")
    positives = _documents(row, "pos_text", "pos_image_path")
    negatives = tuple(document for document in _documents(row, "neg_text", "neg_image_path") if document)
    if not query:
        raise DataError("the query has neither text nor picture")
    if not positives or not positives[0]:
        return []  # published with an empty positive: there is nothing to learn from it
    return [
        RawExample(
            query=RawDocument(query),
            positive=RawDocument(positives[0]),
            negatives=tuple(RawDocument(one) for one in negatives if one != positives[0]),
        )
    ]


def _documents(row: Row, text_field: str, image_field: str) -> list[tuple[tuple[Literal["text", "image"], str], ...]]:
    """The candidates of a row, text and picture matched by place; a picture may itself be a list of pictures."""
    texts, images = _listed(row, text_field), _listed(row, image_field)
    if texts and images and len(texts) != len(images):
        if len(texts) > 1:
            raise DataError(f"{text_field} has {len(texts)} entries and {image_field} {len(images)}; they must match")
        images = [images]  # one candidate with several pictures
    places = max(len(texts), len(images))
    return [
        interleaved(
            str(texts[place]) if place < len(texts) else "",
            _flat(images[place]) if place < len(images) else [],
            field=text_field if places == 1 else f"{text_field}[{place}]",
        )
        for place in range(places)
    ]


def _listed(row: Row, name: str) -> list[Any]:
    """A field as a list: it may be missing, empty, one text, a list, or a list written as JSON."""
    value = row.get(name)
    if value is None or value == "":
        return []
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            return [value]
        try:
            parsed = json.loads(value)
        except json.JSONDecodeError:
            return [value]  # a text that happens to begin with a bracket
        return parsed if isinstance(parsed, list) else [value]
    if not isinstance(value, Sequence):
        raise DataError(f"{name} must be text or a list, got {type(value).__name__}")
    return list(value)


def _flat(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [str(one) for one in values if one]


def _of_hotpot(row: Row) -> list[RawExample]:
    """Source: hotpotqa.github.io and the 2WikiMultiHopQA repository: context [[title, sentences]], facts [[title, place]]."""
    context, facts = (
        json.loads(value) if isinstance(value, str) else value for value in (row["context"], row["supporting_facts"])
    )
    if isinstance(context, Mapping):  # the hub's columns
        sentences = context.get("sentences", context.get("content"))
        context = zip(context["title"], sentences, strict=True)
        titles = set(facts["title"])
    else:
        titles = {fact[0] for fact in facts}
    passages = [(title, _passage(title, "".join(_spaced(sentences)))) for title, sentences in context]
    return _of_passages(row, [(document, title in titles) for title, document in passages])


def _spaced(sentences: Iterable[str]) -> Iterator[str]:
    """Sentences as they stood in the paragraph: HotpotQA keeps the space before each, 2Wiki does not."""
    for place, sentence in enumerate(sentences):
        yield sentence if place == 0 or sentence.startswith(" ") else f" {sentence}"


def _of_musique(row: Row) -> list[RawExample]:
    """Source: the MuSiQue repository: paragraphs with title, paragraph_text, is_supporting."""
    return _of_passages(
        row,
        [
            (_passage(paragraph["title"], paragraph["paragraph_text"]), bool(paragraph["is_supporting"]))
            for paragraph in row["paragraphs"]
        ],
    )


def _of_gold_passages(row: Row) -> list[RawExample]:
    golds = set(row["gold_ids"])
    return _of_passages(row, [(_passage(one["title"], one["text"]), one["id"] in golds) for one in row["passages"]])


def _of_passages(row: Row, passages: Sequence[tuple[RawDocument, bool]]) -> list[RawExample]:
    supporting = [document for document, is_supporting in passages if is_supporting]
    # real sets hold the text of a supporting passage again, unmarked or under another title
    bodies = {_body(document) for document in supporting}
    others = tuple(dict.fromkeys(document for document, _ in passages if _body(document) not in bodies))
    query = RawDocument((("text", _text(row, "question")),))
    return [RawExample(query=query, positive=one, negatives=others) for one in dict.fromkeys(supporting)]


def _body(document: RawDocument) -> str:
    return document.segments[0][1].partition("\n")[2]


def _passage(title: str, text: str) -> RawDocument:
    return RawDocument((("text", f"{title}\n{text.strip()}"),))


def _text(row: Row, name: str) -> str:
    value = row.get(name)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{name} must be text, got {type(value).__name__}")
    return value or ""
