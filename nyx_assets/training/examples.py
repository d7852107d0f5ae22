"""Training examples from tables: which query should find which candidate, and which it should not.

Examples name documents by id, so a chunk that serves many queries is stored once. Near copies are named with them, and
the answer of each example where it is telling, so that neither stands as a negative by mistake.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nyx_assets.near_copies import chunk_cluster_of, content_digest
from nyx_assets.rag.bm25 import terms
from nyx_assets.rag.grading import normalise_answer
from nyx_assets.rag.telling import ARTICLES, is_telling
from nyx_assets.records import content_id, document_key
from resources.home import Home
from training_kernels.documents import Document
from training_kernels.errors import DataError
from training_kernels.examples import Example, ExampleSet

Documents = Mapping[str, Document]

FEEDBACK_PREFERENCES = "feedback_preferences"


def nyxqa_examples(home: Home, *, negatives_per_query: int) -> ExampleSet:
    """One example a training pair: its question, its golden chunk, its hard negatives by rank, its answer."""
    negatives: dict[str, list[str]] = {}
    ranked = sorted(home.tables.read("negatives").to_pylist(), key=lambda row: (row["qa_id"], row["rank"]))
    for row in ranked:
        negatives.setdefault(row["qa_id"], []).append(row["chunk_id"])
    pairs = [row for row in home.tables.read("filtered_qa").to_pylist() if row["split"] == "train"]
    if not pairs:
        raise DataError(
            "no pair of filtered_qa is in the train split, so there is nothing to train on; look at rejected_qa for the "
            "reasons, or land more pages"
        )
    examples = [
        Example(
            example_id=pair["qa_id"],
            query=pair["qa_id"],
            positive=pair["chunk_id"],
            negatives=tuple(negatives.get(pair["qa_id"], [])[:negatives_per_query]),
            source="nyxqa",
            answer=answer_key(pair["answer"]),
        )
        for pair in _once(pairs)
    ]
    return _with_documents(home, _once(pairs), examples)


def public_examples(home: Home) -> ExampleSet:
    """The examples drawn from public sets, as often as their share says; documents are named by their content.

    Near copies are the documents that nothing but case, white space and punctuation tells apart.
    """
    documents: dict[str, Document] = {}
    examples = []

    def named(rows: list[dict[str, Any]]) -> str:
        document = Document.from_rows(rows)
        document_id = content_id("public", document_key(document))
        documents[document_id] = document
        return document_id

    for batch in home.tables.batches("public_examples", partition=None):
        for row in batch.to_pylist():
            query, positive = named(row["query"]), named(row["positive"])
            negatives = tuple(
                one for one in dict.fromkeys(map(named, row["negatives"])) if one not in (query, positive)
            )
            examples += [
                Example(
                    example_id=row["example_id"] if copy == 0 else f"{row['example_id']}#{copy + 1}",
                    query=query,
                    positive=positive,
                    negatives=negatives,
                    source=row["source"],
                )
                for copy in range(row["copies"])
            ]
    return ExampleSet(documents, tuple(examples), _same_words(documents))


def pretraining_examples(home: Home, *, negatives_per_query: int) -> ExampleSet:
    """NyxQA's examples and those of the public sets. Raises DataError if NyxQA has none to train on."""
    return _together(nyxqa_examples(home, negatives_per_query=negatives_per_query), public_examples(home))


def joint_examples(
    home: Home, tables: Sequence[str] = (FEEDBACK_PREFERENCES,), *, negatives_per_query: int
) -> ExampleSet:
    """Those of the pretraining and the preferences. A question of both stands twice, its preference under an id of its
    own. Source: the published code, whose last run trains on both from the backbone."""
    preferences = feedback_examples(home, tables)
    renamed = tuple(replace(one, example_id=f"{one.example_id}#feedback") for one in preferences.examples)
    return _together(
        pretraining_examples(home, negatives_per_query=negatives_per_query),
        ExampleSet(preferences.documents, renamed, preferences.cluster_by_document),
    )


def _together(first: ExampleSet, second: ExampleSet) -> ExampleSet:
    return ExampleSet(
        {**first.documents, **second.documents},
        first.examples + second.examples,
        {**first.cluster_by_document, **second.cluster_by_document},
    )


def feedback_examples(home: Home, tables: Sequence[str] = (FEEDBACK_PREFERENCES,)) -> ExampleSet:
    """One example a query that the generator could answer from a window: that window's first chunk as positive, the
    first chunks of windows that failed as negatives, in rank order.

    Args:
        tables: of rounds, the latest last. Its positive of a query counts, and its negatives come first: they are what
            misleads the retriever now. What answered in any round is no negative.
    """
    positives: dict[str, str] = {}
    negatives: dict[str, dict[str, None]] = {}
    answered: dict[str, set[str]] = {}
    num_tries = 0
    for table in reversed(tables):
        of_table, tries = _preferences(home, table)
        num_tries += tries
        for qa_id, (positive, failed) in of_table.items():
            positives.setdefault(qa_id, positive)
            answered.setdefault(qa_id, set()).add(positive)
            negatives.setdefault(qa_id, {}).update(dict.fromkeys(failed))
    if not positives:
        raise DataError(
            f"none of {num_tries:,} windows let the generator answer well enough, so there are no preferences to train on; "
            f"lower min_grade, raise top_k, or look at feedback_preferences"
        )
    pairs = _once([row for row in home.tables.read("filtered_qa").to_pylist() if row["qa_id"] in positives])
    answer_by_query = {pair["qa_id"]: pair["answer"] for pair in pairs}
    examples = [
        Example(
            example_id=qa_id,
            query=qa_id,
            positive=positive,
            negatives=tuple(one for one in negatives[qa_id] if one not in answered[qa_id]),
            source="feedback",
            answer=answer_key(answer_by_query.get(qa_id)),
        )
        for qa_id, positive in sorted(positives.items())
    ]
    return _with_documents(home, pairs, examples)


def _preferences(home: Home, table: str) -> tuple[dict[str, tuple[str, list[str]]], int]:
    """By query that a window answered: its positive, and its negatives by rank; and the number of tries read."""
    positives: dict[str, str] = {}
    negatives: dict[str, dict[int, str]] = {}
    num_tries = 0
    for partition in home.tables.partitions(table):
        known = set(positives)  # a page that is in two crawls brings its questions twice
        columns = ["qa_id", "window_rank", "window", "role"]
        for batch in home.tables.batches(table, partition=partition, columns=columns):
            num_tries += batch.num_rows
            for row in batch.to_pylist():
                if row["role"] == "unused" or row["qa_id"] in known:
                    continue
                if row["role"] == "positive":
                    positives[row["qa_id"]] = row["window"][0]
                else:
                    negatives.setdefault(row["qa_id"], {})[row["window_rank"]] = row["window"][0]
    found = {
        qa_id: (positive, [one for _, one in sorted(negatives.get(qa_id, {}).items())])
        for qa_id, positive in positives.items()
    }
    return found, num_tries


def answer_key(answer: str | None) -> str:
    """Equal for equal answers: normalised as for grading; "" where there is none or it is not telling, such as "yes"."""
    if answer is None or not is_telling([term for term in terms(answer) if term not in ARTICLES]):
        return ""
    return normalise_answer(answer)


def _once(pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each pair once, in order of id: a page that is in two crawls unchanged brings the same pairs twice."""
    return [pair for _, pair in sorted({pair["qa_id"]: pair for pair in pairs}.items())]


def _with_documents(home: Home, pairs: list[dict[str, Any]], examples: list[Example]) -> ExampleSet:
    """The examples with the documents that they name, and the clusters of those that have near copies in the corpus."""
    wanted = {example.positive for example in examples} | {one for example in examples for one in example.negatives}
    documents = {pair["qa_id"]: Document.from_rows(pair["question"]) for pair in pairs}
    for partition in home.tables.partitions("chunked_corpus"):
        for batch in home.tables.batches("chunked_corpus", partition=partition, columns=["chunk_id", "segments"]):
            documents |= {
                row["chunk_id"]: Document.from_rows(row["segments"])
                for row in batch.to_pylist()
                if row["chunk_id"] in wanted
            }
    clusters = chunk_cluster_of(home)
    return ExampleSet(documents, tuple(examples), {one: clusters[one] for one in documents if one in clusters})


def _same_words(documents: Documents) -> dict[str, str]:
    """Of each document that shares its words with another, the least id among them."""
    ids_by_words: dict[str, list[str]] = defaultdict(list)
    for document_id, document in documents.items():
        ids_by_words[content_digest(document)].append(document_id)
    return {one: min(ids) for ids in ids_by_words.values() if len(ids) > 1 for one in ids}
