"""Index: an embedding of every chunk by each retriever, and the live index of the promoted one."""

from collections.abc import Iterator
from contextlib import closing

import dagster as dg

from nyx_assets.index.building import build_version, recommended_dims
from nyx_assets.index.embedding import embedded_rows, known_embeddings
from nyx_assets.materialization import Made, Step, each_partition, key_of, settings
from nyx_assets.partitions import CRAWL, ONE_RUN
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.records import FINAL_INDEX, chunk_embeddings_schema
from nyx_assets.retrievers import DENSE_RETRIEVERS, RetrieverSpec
from nyx_assets.rounds import rounds_of
from resources.embedder import Embedders
from resources.home import Home
from resources.vector_index import VectorIndex
from training_kernels.manifest import read_manifest


def embeddings_asset(retriever: RetrieverSpec) -> dg.AssetsDefinition:
    """`<retriever>/chunk_embeddings`: one asset a retriever, since a checkpoint asset partitioned by retriever is a cycle."""
    name = f"{retriever.name}/chunk_embeddings"

    @dg.asset(
        key=[retriever.name, "chunk_embeddings"],
        deps=["chunked_corpus", *([key_of(retriever.checkpoint)] if retriever.checkpoint else [])],
        description=f"Unit-norm embedding of each chunk at full width, by {retriever.description}.",
        group_name="index",
        kinds={"torch", "parquet"},
        code_version="1",
        partitions_def=CRAWL,
        backfill_policy=ONE_RUN,
        pool="gpu",
        metadata=settings("backbone"),
    )
    def chunk_embeddings(
        context: dg.AssetExecutionContext, home: dg.ResourceParam[Home], embedders: dg.ResourceParam[Embedders]
    ) -> Iterator[Made]:
        def embed(step: Step) -> None:
            # of each partition anew: another checkpoint may be promoted while this is at work
            made_from = step.provenance(name)
            embedder = embedders.open(retriever.folder_of(home, embedders, made_from))
            known = known_embeddings(home, retriever, made_from, step.partition, embedder.dim)
            progress = step.progress("chunks", home.tables.num_rows("chunked_corpus", step.partition))
            batches = home.tables.batches("chunked_corpus", partition=step.partition, columns=["chunk_id", "segments"])
            num_reused = 0
            with step.tables({name: chunk_embeddings_schema(embedder.dim)}) as tables:
                for batch in batches:
                    table, reused = embedded_rows(batch.to_pylist(), embedder, known)
                    tables[name].append_table(table)
                    progress.advance(table.num_rows)
                    num_reused += reused
            step.report(name, reused=num_reused, dim=embedder.dim)

        yield from each_partition(context, home, embed, name)

    return chunk_embeddings


EMBEDDING_ASSETS = [embeddings_asset(retriever) for retriever in DENSE_RETRIEVERS]


def round_embeddings(recipe: PipelineRecipe) -> list[dg.AssetsDefinition]:
    """Embeddings by the checkpoint of every feedback round, where there is more than one; else they are finetuned's."""
    rounds = rounds_of(recipe.rounds.number)
    return [embeddings_asset(one.trained) for one in rounds] if len(rounds) > 1 else []


@dg.asset(
    deps=[["promoted", "chunk_embeddings"], "chunked_corpus", "crawl_documents", "index_settings"],
    description="The index that search uses: every chunk once, in a version of its own behind the alias `live`.",
    group_name="index",
    kinds={"milvus"},
    code_version="2",
    pool="index",
    metadata=settings("backbone", "index"),
)
def final_index(
    context: dg.AssetExecutionContext,
    home: dg.ResourceParam[Home],
    recipe: dg.ResourceParam[PipelineRecipe],
    index: dg.ResourceParam[VectorIndex],
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    dims = read_manifest(home.artifacts.require("promoted_checkpoint").folder).dims
    dims = recommended_dims(home, dims, recipe.index)
    # what decides of index_settings is the dim, which names the version by itself; its search times never repeat
    inputs = {name: one for name, one in step.provenance("final_index").inputs.items() if name != "index_settings"}
    with closing(index):
        rows = build_version(home, index, recipe=recipe.index, dims=dims, inputs=inputs, log=step.log)
    with step.tables({"final_index": FINAL_INDEX}) as tables:
        tables["final_index"].append(rows)
    live = next(row for row in rows if row["is_live"])
    step.report("final_index", chunks=live["num_chunks"], dim=live["dim"], recall_at_10=live["recall_at_10"])
    step.preview("final_index", ["version", "is_live", "num_chunks", "dim", "index_type", "built_at"])
    yield from step.results("final_index")
