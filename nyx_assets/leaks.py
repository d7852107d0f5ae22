"""Whether what a retriever is measured on stands in what it is trained on: the same questions, answers, pages or pictures."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nyx_assets.near_copies import (
    SHINGLE_TERMS,
    near_pictures_between,
    near_texts_between,
    text_digest,
    text_signatures,
)
from nyx_assets.rag.bm25 import terms
from training_kernels.documents import Document

MIN_SIMILARITY = 0.8
"""Choice: estimated Jaccard similarity of word runs from which a text is a copy, edited. Stricter than for the pages of
one crawl, since questions made by one template share most of their words and ask for different things."""

MAX_PICTURE_DISTANCE = 8
"""Choice: as for the pages of a crawl (DeduplicationRecipe.max_picture_distance)."""

MAX_SHOWINGS = 10
"""Choice: a picture in more training documents (a logo, a placeholder) gives no question away."""

PictureHash = Callable[[str], str | None]
"""The perceptual hash of a picture by its digest (near_copies.picture_hash); None for a plain area."""

Matches = Mapping[tuple[str, str], float]
"""Similarity by pair of names, the suite's first."""


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """What is asked and what answers it, by name: the side that is trained on, or the side that is measured."""

    queries: Mapping[str, Document]
    answers: Mapping[str, Document]
    """Positives of training examples, golds of a suite."""


@dataclass(frozen=True, slots=True)
class Leak:
    """Something of a suite that stands in training data."""

    kind: Literal["query", "answer"]
    suite_id: str
    training_id: str
    sign: Literal["text", "picture"]
    similarity: float
    """1 for an equal one."""

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.suite_id} stands in training as {self.training_id}: {self.similarity:.0%} the same "
            f"{self.sign}"
        )


def leaks(training: QuestionSet, suite: QuestionSet, *, hash_of: PictureHash) -> list[Leak]:
    """Every query of the suite that is a copy or near copy of a training query, and every answer of an answer.

    A query that shows pictures beside text leaks if both its text and one of its pictures are there: "What is this?"
    alone gives nothing away. An answer leaks by its text or by any of its pictures.
    """
    texts = _text_matches(training.queries, suite.queries)
    pictures = _picture_matches(training.queries, suite.queries, hash_of)
    found = []
    for (suite_id, training_id), similarity in {**pictures, **texts}.items():
        asked = suite.queries[suite_id]
        has_text = bool(terms(asked.text))
        is_whole = ((suite_id, training_id) in texts or not has_text) and (
            (suite_id, training_id) in pictures or not asked.images
        )
        if is_whole:
            found.append(Leak("query", suite_id, training_id, "text" if has_text else "picture", similarity))
    texts = _text_matches(training.answers, suite.answers)
    pictures = _picture_matches(training.answers, suite.answers, hash_of)
    found += [Leak("answer", *pair, "text", similarity) for pair, similarity in texts.items()]
    found += [
        Leak("answer", *pair, "picture", similarity) for pair, similarity in pictures.items() if pair not in texts
    ]
    return sorted(found, key=lambda leak: (leak.kind, leak.suite_id, leak.training_id))


def _text_matches(training: Mapping[str, Document], suite: Mapping[str, Document]) -> Matches:
    """Pairs whose texts are equal in their terms, or near copies. Each different text is compared once."""
    ours, theirs = _by_text(suite), _by_text(training)
    matches = {pair: 1.0 for digest in ours.keys() & theirs.keys() for pair in _pairs(ours[digest], theirs[digest])}
    long_enough = [
        [digest for digest, names in sorted(side.items()) if len(terms(documents[names[0]].text)) >= SHINGLE_TERMS]
        for side, documents in ((ours, suite), (theirs, training))
    ]
    in_suite, in_training = long_enough
    if in_suite and in_training:
        near = near_texts_between(
            text_signatures([suite[ours[digest][0]].text for digest in in_suite]),
            text_signatures([training[theirs[digest][0]].text for digest in in_training]),
            min_similarity=MIN_SIMILARITY,
        )
        for left, right, similarity in near:
            for pair in _pairs(ours[in_suite[left]], theirs[in_training[right]]):
                matches.setdefault(pair, similarity)
    return matches


def _by_text(documents: Mapping[str, Document]) -> dict[str, list[str]]:
    """Names by digest of their text; documents without a word are left out."""
    names: dict[str, list[str]] = defaultdict(list)
    for name, document in documents.items():
        if terms(document.text):
            names[text_digest(document.text)].append(name)
    return names


def _picture_matches(training: Mapping[str, Document], suite: Mapping[str, Document], hash_of: PictureHash) -> Matches:
    """Pairs that show a picture in common, or near copies of one."""
    ours, theirs = _by_picture(suite), _by_picture(training)
    matches: dict[tuple[str, str], float] = {}
    for picture, copies in picture_copies(theirs, ours, hash_of=hash_of).items():
        shown_by = {name for copy in copies for name in theirs[copy]}
        if len(shown_by) > MAX_SHOWINGS:
            continue
        for copy, similarity in copies.items():
            for pair in _pairs(ours[picture], theirs[copy]):
                matches[pair] = max(similarity, matches.get(pair, 0.0))
    return matches


def picture_copies(
    training: Collection[str], held_out: Collection[str], *, hash_of: PictureHash
) -> dict[str, dict[str, float]]:
    """For each held-out picture that training has, by digest: the training pictures that are it (1), or near copies of it.

    A near copy has nearly the same perceptual hash; a plain area has none and equals only itself.
    """
    found = {picture: {picture: 1.0} for picture in held_out if picture in training}
    if not held_out or not training:
        return found
    ours, theirs = _hashed(held_out, hash_of), _hashed(training, hash_of)
    near = near_pictures_between(list(ours.values()), list(theirs.values()), max_distance=MAX_PICTURE_DISTANCE)
    our_names, their_names = list(ours), list(theirs)
    for left, right, similarity in near:
        found.setdefault(our_names[left], {}).setdefault(their_names[right], similarity)
    return found


def _hashed(pictures: Collection[str], hash_of: PictureHash) -> dict[str, str]:
    """Perceptual hash by digest, in order of digests, of the pictures that have one."""
    return {picture: one for picture in sorted(pictures) if (one := hash_of(picture)) is not None}


def _by_picture(documents: Mapping[str, Document]) -> dict[str, list[str]]:
    """Names by picture that they show."""
    names: dict[str, list[str]] = defaultdict(list)
    for name, document in documents.items():
        for image in set(document.images):
            names[image].append(name)
    return names


def _pairs(ours: Iterable[str], theirs: list[str]) -> list[tuple[str, str]]:
    return [(one, other) for one in ours for other in theirs]


def in_two_splits(
    pairs: Iterable[Mapping[str, Any]],
    chunk_by_id: Mapping[str, Document],
    *,
    clusters: Mapping[str, Mapping[str, str]],
    furniture: Collection[tuple[str, str]],
) -> dict[str, list[str]]:
    """What stands in more than one split, a message each, by kind: "page", "cluster" (of pages), "chunk" or "picture".

    Near copies count as one thing. The splits were drawn by page cluster; this looks at the things themselves, so it
    finds a cluster that came apart as well as a pair whose split is wrong.

    Args:
        pairs: rows of filtered_qa (doc_id, chunk_id, question, split).
        chunk_by_id: every golden chunk.
        clusters: for each kind, the cluster of what has a copy or near copy; of pages also those that are tied together
            otherwise, by an address, a picture or a chunk.
        furniture: (kind, cluster or id) of what stands on too many pages to tell one from another.
    """
    splits: dict[tuple[str, str], set[str]] = defaultdict(set)
    for pair in pairs:
        golden, asked = chunk_by_id[pair["chunk_id"]], Document.from_rows(pair["question"])
        things = [("page", pair["doc_id"]), ("cluster", pair["doc_id"]), ("chunk", pair["chunk_id"])]
        things += [("picture", image) for image in (*golden.images, *asked.images)]
        for kind, thing in things:
            splits[kind, clusters[kind].get(thing, thing)].add(pair["split"])
    faults: dict[str, list[str]] = {"page": [], "cluster": [], "chunk": [], "picture": []}
    for (kind, thing), found in sorted(splits.items()):
        if len(found) > 1 and (kind, thing) not in furniture:
            also = "" if kind == "cluster" else ", or a near copy of it,"
            faults[kind].append(f"{kind} {thing}{also} stands in {' and '.join(sorted(found))}")
    return faults
