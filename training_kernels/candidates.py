"""What a batch's queries choose from: the candidates, each query's positive among them, and who is no negative of whom."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from training_kernels.config import LossConfig
from training_kernels.examples import Example, ExampleSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The candidates of one batch, by document id and by row."""

    shared: tuple[str, ...]
    """What every query is held against, each document once: positives, then hard negatives where the recipe shares them."""
    positive: tuple[int, ...]
    """For each query the row of its positive in `shared`."""
    ignored: tuple[tuple[int, int], ...]
    """(row of the query, row in `shared`), ascending: candidates that answer a query as well and are no negatives of it."""
    own: tuple[tuple[int, str], ...]
    """(row of the query, document), ascending by row: hard negatives that only this query is held against; none is in
    `shared`, where it would count twice."""


class Answers:
    """Which documents answer a query, as the whole training set and the recipe's rules have it.

    A document answers a query if an example names it as the query's positive, or if it is the query itself. By the rule
    "near_duplicate" so does every near copy of such a document, and by "same_answer" every document that is the positive
    of an example with the same answer in words.
    """

    def __init__(self, training: ExampleSet, config: LossConfig) -> None:
        self._cluster_by_document = training.cluster_by_document if "near_duplicate" in config.false_negatives else {}
        self._answers_count = "same_answer" in config.false_negatives
        self._positives_by_query: dict[str, set[str]] = defaultdict(set)
        self._answers_by_thing: dict[str, set[str]] = defaultdict(set)
        for example in training.examples:
            thing = self._thing(example.positive)
            self._positives_by_query[example.query].add(thing)
            if self._answers_count and example.answer:
                self._answers_by_thing[thing].add(example.answer)

    def candidates_of(self, batch: Sequence[Example], config: LossConfig, *, negatives_per_query: int) -> Candidates:
        """The candidates of a batch. Its size and that of what is ignored are all that this grows with."""
        positives = [example.positive for example in batch]
        hard = [example.negatives[:negatives_per_query] for example in batch]
        is_shared = config.hard_negatives == "shared"
        more = [document for of_query in hard for document in of_query] if is_shared else []
        shared = tuple(dict.fromkeys([*positives, *more]))
        row_by_document = {document: row for row, document in enumerate(shared)}
        rows_by_thing: dict[str, list[int]] = defaultdict(list)
        rows_by_answer: dict[str, list[int]] = defaultdict(list)
        for row, document in enumerate(shared):
            thing = self._thing(document)
            rows_by_thing[thing].append(row)
            for answer in self._answers_by_thing.get(thing, ()):
                rows_by_answer[answer].append(row)
        ignored = []
        for query_row, example in enumerate(batch):
            rows = {row for thing in self._things_of(example) for row in rows_by_thing.get(thing, ())}
            rows.update(rows_by_answer.get(example.answer, ()))
            rows.discard(row_by_document[example.positive])
            ignored += [(query_row, row) for row in sorted(rows)]
        own = (
            (query_row, document)
            for query_row, (example, documents) in enumerate(zip(batch, hard, strict=True))
            for document in documents
            if not is_shared and document not in row_by_document and not self._answers(document, example)
        )
        positive = tuple(row_by_document[document] for document in positives)
        return Candidates(shared=shared, positive=positive, ignored=tuple(ignored), own=tuple(own))

    def _thing(self, document: str) -> str:
        """The document, or the cluster of near copies that it belongs to where those count as one."""
        return self._cluster_by_document.get(document, document)

    def _things_of(self, example: Example) -> Iterable[str]:
        return self._positives_by_query[example.query] | {self._thing(example.positive), self._thing(example.query)}

    def _answers(self, document: str, example: Example) -> bool:
        thing = self._thing(document)
        return thing in self._things_of(example) or example.answer in self._answers_by_thing.get(thing, ())
