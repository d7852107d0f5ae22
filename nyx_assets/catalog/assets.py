"""catalog.duckdb, rebuilt last."""

from collections.abc import Iterator

import dagster as dg

from nyx_assets.materialization import Step
from nyx_assets.records import CATALOG
from resources.catalog import build_catalog
from resources.home import Home

ARTIFACT_ASSETS = ["pretrained_checkpoint", "finetuned_checkpoint", "promoted_checkpoint"]


@dg.asset(
    deps=[
        "crawl_documents",
        "rejected_documents",
        "link_rot",
        "page_clusters",
        "chunked_corpus",
        "raw_qa",
        "filtered_qa",
        "rejected_qa",
        "negatives",
        "refused_negatives",
        "training_manifest",
        "feedback_preferences",
        "retrieval_scores",
        "rag_scores",
        "quality_gate",
        "final_index",
    ],
    description="catalog.duckdb: a view of each table, what each was made from, and a row for each VLM call. Open it read-only.",
    group_name="catalog",
    kinds={"duckdb"},
    code_version="1",
    pool="catalog",
)
def catalog(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    names = build_catalog(home, ARTIFACT_ASSETS)
    with step.tables({"catalog": CATALOG}) as tables:
        tables["catalog"].append({"name": name} for name in names)
    step.report("catalog", path=str(home.root / "catalog.duckdb"))
    yield from step.results("catalog")
