"""Corpus: deliveries of web pages become documents with verified pictures, and documents become chunks."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import dagster as dg

from nyx_assets.corpus.chunking import split_into_chunks
from nyx_assets.corpus.clusters import page_clusters_of
from nyx_assets.corpus.deliveries import delivery_from_rows
from nyx_assets.corpus.landing import land
from nyx_assets.corpus.links import WebLinks
from nyx_assets.corpus.near_duplicates import cluster_sizes, near_duplicate_rows
from nyx_assets.corpus.pages import documents_of
from nyx_assets.corpus.signatures import chunk_signatures, page_signatures, picture_signatures
from nyx_assets.figures import link_rot_plot
from nyx_assets.materialization import Made, Step, each_partition, settings
from nyx_assets.partitions import CRAWL, EVERY_CRAWL, ONE_RUN
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.records import (
    CHUNK_SIGNATURES,
    CHUNKED_CORPUS,
    CRAWL_DOCUMENTS,
    LINK_ROT,
    NEAR_DUPLICATES,
    PAGE_CLUSTERS,
    PAGE_FURNITURE,
    PAGE_SIGNATURES,
    PICTURE_SIGNATURES,
    REJECTED_DOCUMENTS,
)
from nyx_assets.taken_down import TakenDown
from resources.fetching import WebPictures
from resources.home import Home

landed_crawl = dg.AssetSpec(
    "landed_crawl",
    description="A delivery of web pages in the OBELICS schema that was seen complete: its files, sizes and row counts.",
    group_name="corpus",
    kinds={"parquet"},
    code_version="1",
    partitions_def=CRAWL,
    metadata={
        "dagster/code_references": dg.CodeReferencesMetadataValue(
            code_references=[
                dg.LocalFileCodeReference(file_path=land.__code__.co_filename, line_number=land.__code__.co_firstlineno)
            ]
        )
    },
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
            metadata=settings("pictures", "web_pictures"),
        ),
        dg.AssetSpec(
            "rejected_documents",
            deps=["landed_crawl"],
            description="A page or picture that could not be taken, with the rule and the reason.",
            kinds={"parquet"},
            code_version="1",
            metadata=settings("pictures", "web_pictures"),
        ),
        dg.AssetSpec(
            "link_rot",
            deps=["landed_crawl"],
            description="References to pictures on the web by host and by what became of them: taken, or why not.",
            code_version="1",
            metadata=settings("pictures", "web_pictures"),
        ),
    ],
    group_name="corpus",
    partitions_def=CRAWL,
    backfill_policy=ONE_RUN,
)
def taken_pages(
    context: dg.AssetExecutionContext,
    home: dg.ResourceParam[Home],
    recipe: dg.ResourceParam[PipelineRecipe],
    web_pictures: dg.ResourceParam[WebPictures],
) -> Iterator[Made]:
    def take(step: Step) -> None:
        landed = home.tables.read("landed_crawl", partition=step.partition).to_pylist()
        delivery = delivery_from_rows(str(step.partition), landed)
        progress = step.progress("pages", delivery.num_rows)
        schemas = {"link_rot": LINK_ROT, "rejected_documents": REJECTED_DOCUMENTS, "crawl_documents": CRAWL_DOCUMENTS}
        with step.tables(schemas) as tables:
            taken_down = TakenDown.of(home)  # not before: a takedown waits for who holds the tables, not for who waits
            store = taken_down.store(home)
            with web_pictures.session(store, recipe.pictures) as session:
                links = WebLinks(session)
                for row in documents_of(delivery, store, recipe.pictures, links, taken_down, scratch=home.root):
                    if row.is_document:
                        tables["crawl_documents"].append([row.values])
                        progress.advance()
                    else:
                        tables["rejected_documents"].append([row.values])
                lost = list(links.rows())
                tables["link_rot"].append(lost)
        step.preview("crawl_documents", ["title", "segments"])
        step.preview("rejected_documents", ["kind", "reference", "rule", "reason"])
        step.report("link_rot", lost=links.num_lost, taken=links.num_taken)
        step.preview("link_rot", ["host", "rule", "num_references", "share"], [link_rot_plot(lost)])

    yield from each_partition(context, home, take, "crawl_documents", "rejected_documents", "link_rot")


@dg.asset(
    deps=["crawl_documents"],
    description="A piece of a page of at most 200 text tokens with its pictures in place: the unit that is indexed.",
    group_name="corpus",
    kinds={"parquet"},
    code_version="1",
    partitions_def=CRAWL,
    backfill_policy=ONE_RUN,
    metadata=settings("chunking", "backbone"),
)
def chunked_corpus(
    context: dg.AssetExecutionContext, home: dg.ResourceParam[Home], recipe: dg.ResourceParam[PipelineRecipe]
) -> Iterator[Made]:
    from training_kernels.tokenizer import load_text_tokenizer

    tokenizer = load_text_tokenizer(recipe.backbone)

    def chunk(step: Step) -> None:
        documents = (
            row
            for batch in home.tables.batches("crawl_documents", partition=step.partition)
            for row in batch.to_pylist()
        )
        progress = step.progress("pages", home.tables.num_rows("crawl_documents", step.partition))
        with step.tables({"chunked_corpus": CHUNKED_CORPUS}) as tables:
            for chunk in split_into_chunks(progress.over(documents), tokenizer=tokenizer, recipe=recipe.chunking):
                tables["chunked_corpus"].append([chunk])
        step.preview("chunked_corpus", ["position", "text_tokens", "segments"])

    yield from each_partition(context, home, chunk, "chunked_corpus")


@dg.multi_asset(
    name="signed_pages",
    specs=[
        dg.AssetSpec(name, deps=["crawl_documents"], description=description, code_version="1")
        for name, description in (
            ("page_signatures", "MinHash of each page's text and its address key: what near copies are found by."),
            ("picture_signatures", "Perceptual hash of each picture, once a page that shows it."),
        )
    ],
    group_name="corpus",
    partitions_def=CRAWL,
    backfill_policy=ONE_RUN,
)
def signed_pages(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[Made]:
    def sign(step: Step) -> None:
        def pages() -> Iterator[dict[str, Any]]:
            for batch in home.tables.batches("crawl_documents", partition=step.partition):
                yield from batch.to_pylist()

        progress = step.progress("pages", home.tables.num_rows("crawl_documents", step.partition))
        schemas = {"picture_signatures": PICTURE_SIGNATURES, "page_signatures": PAGE_SIGNATURES}
        with step.tables(schemas) as tables:
            tables["page_signatures"].append(page_signatures(pages()))
            tables["picture_signatures"].append(picture_signatures(progress.over(pages()), home.images))

    yield from each_partition(context, home, sign, "page_signatures", "picture_signatures")


@dg.asset(
    key="chunk_signatures",
    deps=["chunked_corpus"],
    description="MinHash of each chunk's text, by which near copies of it are found.",
    group_name="corpus",
    kinds={"parquet"},
    code_version="1",
    partitions_def=CRAWL,
    backfill_policy=ONE_RUN,
)
def signed_chunks(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[Made]:
    def sign(step: Step) -> None:
        chunks = (
            row
            for batch in home.tables.batches("chunked_corpus", partition=step.partition)
            for row in batch.to_pylist()
        )
        with step.tables({"chunk_signatures": CHUNK_SIGNATURES}) as tables:
            tables["chunk_signatures"].append(chunk_signatures(chunks))

    yield from each_partition(context, home, sign, "chunk_signatures")


@dg.asset(
    deps=[
        dg.AssetDep(name, partition_mapping=EVERY_CRAWL)
        for name in ("page_signatures", "picture_signatures", "chunk_signatures")
    ],
    description="Pages, chunks and pictures that are copies or near copies of each other, over all crawls, with the nearest one, the similarity and how it was found.",
    group_name="corpus",
    code_version="1",
    metadata=settings("deduplication"),
)
def near_duplicates(
    context: dg.AssetExecutionContext, home: dg.ResourceParam[Home], recipe: dg.ResourceParam[PipelineRecipe]
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    rows = list(near_duplicate_rows(home, recipe.deduplication))
    with step.tables({"near_duplicates": NEAR_DUPLICATES}) as tables:
        tables["near_duplicates"].append(rows)
    step.report("near_duplicates", **{f"{kind} clusters": number for kind, number in cluster_sizes(rows).items()})
    step.preview("near_duplicates", ["kind", "id", "cluster", "similarity", "method"])
    yield from step.results("near_duplicates")


@dg.multi_asset(
    name="clustered_pages",
    specs=[
        dg.AssetSpec(
            name,
            deps=[
                "near_duplicates",
                *(
                    dg.AssetDep(signatures, partition_mapping=EVERY_CRAWL)
                    for signatures in ("page_signatures", "picture_signatures", "chunk_signatures")
                ),
            ],
            description=description,
            code_version="2",
            metadata=settings("deduplication"),
        )
        for name, description in (
            (
                "page_clusters",
                "Which pages belong together over all crawls (same address, near copies, or a picture or chunk in common): a cluster is never split between training and test.",
            ),
            (
                "page_furniture",
                "Pictures and chunks on so many pages (logos, portraits, licence texts) that they tie none together.",
            ),
        )
    ],
    group_name="corpus",
)
def clustered_pages(
    context: dg.AssetExecutionContext, home: dg.ResourceParam[Home], recipe: dg.ResourceParam[PipelineRecipe]
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    clusters = page_clusters_of(home, max_pages=recipe.deduplication.max_pages_of_a_thing)
    with step.tables({"page_furniture": PAGE_FURNITURE, "page_clusters": PAGE_CLUSTERS}) as tables:
        tables["page_furniture"].append(
            {"kind": kind, "id": one, "num_pages": num_pages}
            for (kind, one), num_pages in clusters.num_pages_by_furniture.items()
        )
        tables["page_clusters"].append(
            {"doc_id": doc_id, "cluster": cluster} for doc_id, cluster in sorted(clusters.cluster_by_doc.items())
        )
    sizes = Counter(clusters.cluster_by_doc.values())
    step.report("page_clusters", clusters=len(sizes), pages_of_the_largest=max(sizes.values(), default=0))
    yield from step.results("page_clusters", "page_furniture")
