"""Corpus: deliveries of web pages become documents with verified pictures, and documents become chunks."""

from collections.abc import Iterator

import dagster as dg

from nyx_assets.corpus.chunking import split_into_chunks
from nyx_assets.corpus.clusters import clusters_of
from nyx_assets.corpus.deliveries import delivery_from_rows
from nyx_assets.corpus.pages import documents_of
from nyx_assets.materialization import Step, settings
from nyx_assets.partitions import CRAWL, EVERY_CRAWL
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.records import CHUNKED_CORPUS, CRAWL_DOCUMENTS, PAGE_CLUSTERS, REJECTED_DOCUMENTS
from resources.home import Home

landed_crawl = dg.AssetSpec(
    "landed_crawl",
    description="A delivery of web pages in the OBELICS schema that was seen complete: its files, sizes and row counts.",
    group_name="corpus",
    kinds={"parquet"},
    code_version="1",
    partitions_def=CRAWL,
)


@dg.multi_asset(
    name="taken_pages",
    specs=[
        dg.AssetSpec(
            "crawl_documents",
            deps=["landed_crawl"],
            description="A web page: its texts and pictures in reading order, every picture verified and stored once.",
            kinds={"parquet"},
            code_version="1",
            metadata=settings("pictures"),
        ),
        dg.AssetSpec(
            "rejected_documents",
            deps=["landed_crawl"],
            description="A page or picture that could not be taken, with the rule and the reason.",
            kinds={"parquet"},
            code_version="1",
            metadata=settings("pictures"),
        ),
    ],
    group_name="corpus",
    partitions_def=CRAWL,
)
def taken_pages(
    context: dg.AssetExecutionContext, home: dg.ResourceParam[Home], recipe: dg.ResourceParam[PipelineRecipe]
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    landed = home.tables.read("landed_crawl", partition=context.partition_key).to_pylist()
    delivery = delivery_from_rows(context.partition_key, landed)
    progress = step.progress("pages", delivery.num_rows)
    with step.tables({"rejected_documents": REJECTED_DOCUMENTS, "crawl_documents": CRAWL_DOCUMENTS}) as tables:
        for row in documents_of(delivery, home.images, recipe.pictures):
            if row.is_document:
                tables["crawl_documents"].append([row.values])
                progress.advance()
            else:
                tables["rejected_documents"].append([row.values])
    step.preview("crawl_documents", ["title", "segments"])
    step.preview("rejected_documents", ["kind", "reference", "rule", "reason"])
    yield from step.results("crawl_documents", "rejected_documents")


@dg.asset(
    deps=["crawl_documents"],
    description="A piece of a page of at most 200 text tokens with its pictures in place: the unit that is indexed.",
    group_name="corpus",
    kinds={"parquet"},
    code_version="1",
    partitions_def=CRAWL,
    metadata=settings("chunking", "backbone"),
)
def chunked_corpus(
    context: dg.AssetExecutionContext, home: dg.ResourceParam[Home], recipe: dg.ResourceParam[PipelineRecipe]
) -> Iterator[dg.MaterializeResult]:
    from training_kernels.tokenizer import load_text_tokenizer

    step = Step(context, home)
    documents = (
        row for batch in home.tables.batches("crawl_documents", partition=step.partition) for row in batch.to_pylist()
    )
    progress = step.progress("pages", home.tables.num_rows("crawl_documents", step.partition))
    with step.tables({"chunked_corpus": CHUNKED_CORPUS}) as tables:
        for chunk in split_into_chunks(
            progress.over(documents), tokenizer=load_text_tokenizer(recipe.backbone), recipe=recipe.chunking
        ):
            tables["chunked_corpus"].append([chunk])
    step.preview("chunked_corpus", ["position", "text_tokens", "segments"])
    yield from step.results("chunked_corpus")


@dg.asset(
    deps=[dg.AssetDep("crawl_documents", partition_mapping=EVERY_CRAWL)],
    description="Which pages belong together over all crawls (same address, same text or a picture in common): a cluster is never split between training and test.",
    group_name="corpus",
    kinds={"parquet"},
    code_version="1",
)
def page_clusters(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    pages = (
        row
        for partition in home.tables.partitions("crawl_documents")
        for batch in home.tables.batches("crawl_documents", partition=partition)
        for row in batch.to_pylist()
    )
    cluster_by_doc = clusters_of(pages)
    with step.tables({"page_clusters": PAGE_CLUSTERS}) as tables:
        tables["page_clusters"].append(
            {"doc_id": doc_id, "cluster": cluster} for doc_id, cluster in sorted(cluster_by_doc.items())
        )
    step.report("page_clusters", clusters=len(set(cluster_by_doc.values())))
    yield from step.results("page_clusters")
