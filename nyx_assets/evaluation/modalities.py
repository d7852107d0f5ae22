"""Which modalities a retriever reads: hits by query and target, hits of the wrong kind, and queries with a kind blanked."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nyx_assets.evaluation.metrics import hit_at, judge, ndcg_at
from nyx_assets.evaluation.retrieval import rank_suite
from nyx_assets.evaluation.retrievers import Retriever
from nyx_assets.evaluation.suites import Suite, SuiteQuery
from nyx_assets.rag.rankings import Ranking
from training_kernels.documents import Document

NOTHING, TEXT, PICTURES = "nothing", "text", "pictures"


def modality_rows(
    retriever: Retriever, suite: Suite, rankings: Sequence[Ranking], *, split: str
) -> list[dict[str, Any]]:
    """Rows of MODALITY_REPORT, without `is_stand_in`.

    Only queries that hold both texts and pictures are asked again with one of them blanked: of the others nothing would
    be left. The candidates stay whole.

    Args:
        rankings: of the suite's queries, by the retriever at full width.
    """
    rows = _group_rows(suite.queries, rankings, suite.candidates, NOTHING)
    mixed = tuple(query for query in suite.queries if query.document.modality == "mixed")
    for blanked in (TEXT, PICTURES) if mixed else ():
        asked = tuple(replace(query, document=without(query.document, blanked)) for query in mixed)
        by_dim = rank_suite(retriever, replace(suite, queries=asked))
        rows += _group_rows(mixed, by_dim[max(by_dim)], suite.candidates, blanked)
    return [{"suite": suite.name, "split": split, "retriever": retriever.name} | row for row in rows]


def without(document: Document, kind: str) -> Document:
    """The document without its texts or without its pictures."""
    dropped = "text" if kind == TEXT else "image"
    return Document(tuple(segment for segment in document.segments if segment.kind != dropped))


def target_modality(query: SuiteQuery, candidates: Mapping[str, Document]) -> str:
    """Modality of the gold of highest grade, the first by id among equals."""
    best = min(query.grade_by_id, key=lambda gold: (-query.grade_by_id[gold], gold))
    return candidates[best].modality


def _group_rows(
    queries: Sequence[SuiteQuery],
    rankings: Sequence[Ranking],
    candidates: Mapping[str, Document],
    blanked: str,
) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[tuple[float, float, float, float]]] = defaultdict(list)
    for query, ranking in zip(queries, rankings, strict=True):
        judged = judge(ranking, query.grade_by_id)
        wanted = {candidates[gold].modality for gold in query.grade_by_id}
        is_wrong = bool(ranking) and candidates[ranking[0][0]].modality not in wanted
        values = (hit_at(judged, 1), hit_at(judged, 10), ndcg_at(judged, 10), float(is_wrong))
        groups[query.document.modality, target_modality(query, candidates)].append(values)
    return [
        {
            "query_modality": query_modality,
            "target_modality": target,
            "blanked": blanked,
            **dict(
                zip(
                    ("hit_at_1", "hit_at_10", "ndcg_at_10", "wrong_modality_share"),
                    (sum(column) / len(of_group) for column in zip(*of_group, strict=True)),
                    strict=True,
                )
            ),
            "num_queries": len(of_group),
        }
        for (query_modality, target), of_group in sorted(groups.items())
    ]
