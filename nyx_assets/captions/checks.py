"""What must hold of the embeddings of captioned chunks before a baseline is measured with them."""

import dagster as dg

from nyx_assets.captioned import CAPTION_EMBEDDINGS, WITHOUT_TEXT
from nyx_assets.materialization import blocking_check
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.records import embedding_matrix
from nyx_assets.stored_embeddings import faults_of_lengths, faults_of_order
from resources.home import Home


def every_captioned_chunk_has_one_embedding(home: Home, partition: str | None) -> list[str]:
    """One finite embedding for each chunk of the partition, of length 1, or of length 0 where it has nothing to read."""
    table = home.tables.read(CAPTION_EMBEDDINGS, partition=partition)
    expected = [float(digest != WITHOUT_TEXT) for digest in table["text_digest"].to_pylist()]
    ids = table["chunk_id"].to_pylist()
    return faults_of_order(home, ids, partition) + faults_of_lengths(ids, embedding_matrix(table), expected)


def caption_checks(recipe: PipelineRecipe) -> list[dg.AssetChecksDefinition]:
    """The check of these embeddings; none where no picture is captioned, since nothing is embedded then."""
    if not recipe.captions.max_pictures_per_crawl:
        return []
    return [blocking_check(CAPTION_EMBEDDINGS, partitioned=True, find_faults=every_captioned_chunk_has_one_embedding)]
