"""Baselines that read captions in the places of pictures: BM25, and an embedder of texts."""

from nyx_assets.captioned import caption_by_image, caption_embeddings, embedder_version, open_text_embedder
from nyx_assets.evaluation.remembering import RememberingEmbedder
from nyx_assets.evaluation.retrievers import Bm25Retriever, CaptionedRetriever, DenseRetriever, Retriever
from nyx_assets.miners import ForeignEmbedders
from nyx_assets.recipes import CaptionRecipe
from resources.embedder import Embedders
from resources.home import Home

BM25_CAPTIONS = "bm25+captions"
EMBEDDER_CAPTIONS = "embedder+captions"


def caption_baselines(
    home: Home, embedders: Embedders, foreign_embedders: ForeignEmbedders, recipe: CaptionRecipe, *, asset: str
) -> list[Retriever]:
    """Both baselines; none where no picture has a caption, since they would be others under another name.

    The embedder has to embed the queries only, and candidates that caption_embeddings has not.

    Args:
        asset: what they are asked for.

    Raises ConfigError for an embedder that is none, IncompleteArtifact for a checkpoint that was not made.
    """
    captions = caption_by_image(home)
    if not captions:
        return []
    embedder = open_text_embedder(home, embedders, foreign_embedders, recipe.embedder, asset=asset)
    known = caption_embeddings(home, embedder_version(home, recipe.embedder), embedder.dim)
    remembering = RememberingEmbedder(embedder, candidates=known)
    return [
        CaptionedRetriever(BM25_CAPTIONS, Bm25Retriever(), captions),
        CaptionedRetriever(EMBEDDER_CAPTIONS, DenseRetriever(EMBEDDER_CAPTIONS, remembering), captions),
    ]
