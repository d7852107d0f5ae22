"""What must hold of embeddings before anything is retrieved with them."""

import dagster as dg

from nyx_assets.materialization import blocking_check
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.records import embedding_matrix
from nyx_assets.retrievers import DENSE_RETRIEVERS
from nyx_assets.rounds import rounds_of
from nyx_assets.stored_embeddings import faults_of_lengths, faults_of_order
from resources.home import Home


def faults_of_embeddings(home: Home, asset: str, partition: str | None) -> list[str]:
    """What is wrong with a partition of a retriever's embeddings."""
    table = home.tables.read(asset, partition=partition)
    ids = table["chunk_id"].to_pylist()
    return faults_of_order(home, ids, partition) + faults_of_lengths(ids, embedding_matrix(table), 1.0)


def embeddings_check(asset: str) -> dg.AssetChecksDefinition:
    """The check of a retriever's embeddings."""

    def every_chunk_has_one_unit_norm_embedding(home: Home, partition: str | None) -> list[str]:
        """One finite embedding of length 1 for each chunk of the partition, and no other."""
        return faults_of_embeddings(home, asset, partition)

    return blocking_check(asset, partitioned=True, find_faults=every_chunk_has_one_unit_norm_embedding)


INDEX_CHECKS = [embeddings_check(f"{retriever.name}/chunk_embeddings") for retriever in DENSE_RETRIEVERS]


def round_embedding_checks(recipe: PipelineRecipe) -> list[dg.AssetChecksDefinition]:
    """The check of every feedback round's embeddings, where there is more than one."""
    rounds = rounds_of(recipe.rounds.number)
    return [embeddings_check(f"{one.trained.name}/chunk_embeddings") for one in rounds] if len(rounds) > 1 else []
