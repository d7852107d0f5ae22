"""Measuring a retriever on a suite folder, anybody's own test set, or on a published benchmark."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nyx_assets.evaluation.given_away import given_away
from nyx_assets.evaluation.published.registry import open_suite
from nyx_assets.evaluation.remembering import RememberingEmbedder
from nyx_assets.evaluation.retrieval import measure
from nyx_assets.evaluation.retrievers import Bm25Retriever, DenseRetriever, Retriever
from nyx_assets.evaluation.side_by_side import HEADLINE, side_by_side
from nyx_assets.evaluation.suite_answers import SuiteAnswers, drawn_questions, suite_answers
from nyx_assets.evaluation.trec import Runs
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.retrievers import BM25, dense_retriever
from nyx_assets.words_only import WordsOnlyEmbedder
from resources.embedder import Embedder, Embedders
from resources.home import Home
from resources.images import ImageStore
from resources.vlm import VLM


@dataclass(frozen=True, slots=True)
class SuiteRun:
    """A retriever on a suite."""

    rows: list[dict[str, Any]]
    """Of retrieval_scores."""
    answers: SuiteAnswers | None
    """None if no generator was asked."""


def evaluate_suite(
    home: Home,
    embedders: Embedders,
    store: ImageStore,
    asked: str | Path,
    retriever_name: str,
    recipe: PipelineRecipe,
    *,
    published: Path | None = None,
    foreign: Mapping[str, Callable[[str], Embedder]] = MappingProxyType({}),
    trec: Path | None = None,
    generators: Sequence[VLM] = (),
    max_answers: int = 0,
) -> SuiteRun:
    """A retriever on a suite: rows of retrieval_scores for one retriever on a suite, with the numbers of its candidates, of queries
    left out and of queries that give their answer away.

    Args:
        asked: a suite folder, or the name of a published benchmark.
        retriever_name: bm25, a retriever of ours, or KIND:MODEL for a kind of `foreign`.
        published: folder of published benchmarks.
        foreign: opens models of somebody else, by kind.
        generators: answer at most `max_answers` of the suite's questions each, drawn by hash; none to ask nothing.
        trec: folder that takes the ranking at full width and the golds as TREC files; None to write none.
        store: takes the suite's pictures; `embedders` read them from there.

    Raises:
        ConfigError: the retriever is unknown, or the suite has no answers for the generators.
        IncompleteArtifact: its checkpoint has not been made.
        DataError: the suite breaks its format; names the file and line.
    """
    retriever = _retriever(home, embedders, retriever_name, foreign)
    suite = open_suite(str(asked), published, store, limits=recipe.pictures)
    measured = measure(retriever, suite, split="test", recipe=recipe.evaluation)
    if trec is not None:
        trec.mkdir(parents=True, exist_ok=True)
        Runs(trec).qrels(suite, "test")
        Runs(trec).run(suite, "test", retriever.name, measured.rankings)
    numbers = {
        "num_candidates": len(suite.candidates),
        "num_left_out": len(suite.left_out),
        "num_given_away": len(given_away(suite)),
    }
    answers = None
    if generators:
        questions = drawn_questions(suite, limit=max_answers, seed=recipe.seed)
        answers = suite_answers(suite, questions, measured.rankings, retriever.name, generators, recipe, split="test")
    return SuiteRun([row | numbers for row in measured.rows], answers)


def _retriever(
    home: Home, embedders: Embedders, name: str, foreign: Mapping[str, Callable[[str], Embedder]]
) -> Retriever:
    if name == BM25:
        return Bm25Retriever()
    kind, _, model = name.partition(":")
    if kind in foreign and model:
        embedder = foreign[kind](model)
        return DenseRetriever(name, embedder if embedder.reads_pictures else WordsOnlyEmbedder(embedder))
    return DenseRetriever(name, RememberingEmbedder(embedders.open(dense_retriever(name).folder(home, embedders))))


def scores_text(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each Matryoshka dim, widest first, and query modality."""
    groups = side_by_side(rows, ["dim", "modality", "num_queries"])
    lines = [
        f"{rows[0]['retriever']} on {rows[0]['suite']}: {rows[0]['num_candidates']:,} candidates"
        + (f", {rows[0]['num_left_out']:,} queries left out" if rows[0]["num_left_out"] else "")
        + (f", {rows[0]['num_given_away']:,} queries hold their answer" if rows[0]["num_given_away"] else ""),
        f"{'dim':>5}  {'query':<6} {'queries':>7}  " + "  ".join(f"{metric:>9}" for metric in HEADLINE),
    ]
    for group in sorted(groups, key=lambda group: (-group["dim"], group["modality"])):
        lines.append(
            f"{group['dim'] or '-':>5}  {group['modality']:<6} {group['num_queries']:>7}  "
            + "  ".join(f"{group[metric]:>9.4f}" for metric in HEADLINE)
        )
    return "\n".join(lines)
