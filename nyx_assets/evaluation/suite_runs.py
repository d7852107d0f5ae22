"""Measuring a retriever on a suite folder: anybody's own test set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nyx_assets.evaluation.retrieval import evaluate_retriever
from nyx_assets.evaluation.retrievers import Bm25Retriever, DenseRetriever, Retriever
from nyx_assets.evaluation.suites import read_suite
from nyx_assets.query_pictures import QUERY_PICTURES, query_picture_store
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.retrievers import BM25, dense_retriever
from resources.embedder_checkpoint import CheckpointEmbedders
from resources.home import Home

SHOWN = ("recall@1", "recall@10", "mrr", "ndcg@10")


def evaluate_suite(home: Home, folder: Path, retriever_name: str, recipe: PipelineRecipe) -> list[dict[str, Any]]:
    """Rows of retrieval_scores for one retriever on a suite folder, with the sizes of the suite.

    Raises DataError that names the file and line of a suite that breaks its format, ConfigError for an unknown
    retriever, IncompleteArtifact if its checkpoint has not been made.
    """
    retriever = _retriever(home, retriever_name, recipe)
    suite = read_suite(folder, query_picture_store(), limits=recipe.pictures)
    rows = evaluate_retriever(retriever, suite, split="test", recipe=recipe.evaluation)
    return [row | {"num_candidates": len(suite.candidates)} for row in rows]


def _retriever(home: Home, name: str, recipe: PipelineRecipe) -> Retriever:
    if name == BM25:
        return Bm25Retriever()
    spec = dense_retriever(name)
    embedders = CheckpointEmbedders(str(home.root / "backbones"), recipe.backbone, QUERY_PICTURES)
    return DenseRetriever(name, embedders.open(spec.folder(home, embedders)))


def scores_text(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each Matryoshka dim and query modality."""
    groups: dict[tuple[int, str], dict[str, float]] = {}
    for row in rows:
        groups.setdefault((row["dim"], row["modality"]), {"queries": row["num_queries"]})[row["metric"]] = row["value"]
    lines = [f"{rows[0]['retriever']} on {rows[0]['suite']}: {rows[0]['num_candidates']:,} candidates"] if rows else []
    lines.append(f"{'dim':>5}  {'query':<6} {'queries':>7}  " + "  ".join(f"{metric:>9}" for metric in SHOWN))
    for (dim, modality), values in sorted(groups.items(), key=lambda group: (-group[0][0], group[0][1])):
        dim_text = str(dim) if dim else "-"
        lines.append(
            f"{dim_text:>5}  {modality:<6} {values['queries']:>7}  "
            + "  ".join(f"{values[metric]:>9.4f}" for metric in SHOWN)
        )
    return "\n".join(lines)
