"""Baselines that read captions in the places of pictures: BM25, and an embedder of texts."""

from nyx_assets.evaluation.remembering import RememberingEmbedder
from nyx_assets.evaluation.retrievers import Bm25Retriever, CaptionedRetriever, DenseRetriever, Retriever
from nyx_assets.evaluation.words_only import WordsOnlyEmbedder
from nyx_assets.miners import ForeignEmbedders
from nyx_assets.recipes import CaptionRecipe
from nyx_assets.retrievers import dense_retriever
from resources.embedder import Embedder, Embedders
from resources.home import Home

BM25_CAPTIONS = "bm25+captions"
EMBEDDER_CAPTIONS = "embedder+captions"


def caption_baselines(
    home: Home, embedders: Embedders, foreign_embedders: ForeignEmbedders, recipe: CaptionRecipe
) -> list[Retriever]:
    """Both baselines; none where no picture has a caption, since they would be others under another name.

    Raises ConfigError for an embedder that is none, IncompleteArtifact for a checkpoint that was not made.
    """
    captions = caption_by_image(home)
    if not captions:
        return []
    embedder = RememberingEmbedder(
        WordsOnlyEmbedder(_text_embedder(home, embedders, foreign_embedders, recipe.embedder))
    )
    return [
        CaptionedRetriever(BM25_CAPTIONS, Bm25Retriever(), captions),
        CaptionedRetriever(EMBEDDER_CAPTIONS, DenseRetriever(EMBEDDER_CAPTIONS, embedder), captions),
    ]


def caption_by_image(home: Home) -> dict[str, str]:
    """The captions of all crawls by SHA-256 of the picture."""
    rows = home.tables.read("chunk_captions", columns=["image", "caption"]).to_pylist()
    return {row["image"]: row["caption"] for row in rows if row["caption"]}


def _text_embedder(home: Home, embedders: Embedders, foreign_embedders: ForeignEmbedders, name: str) -> Embedder:
    scheme, _, model = name.partition(":")
    if scheme in foreign_embedders and model:
        return foreign_embedders[scheme](model)
    return embedders.open(dense_retriever(name).folder(home, embedders))
