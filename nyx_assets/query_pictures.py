"""Pictures that come with a query or a suite: kept in memory for this process, never in the home's picture store."""

from nyx_assets.recipes import PipelineRecipe
from resources.embedder_checkpoint import CheckpointEmbedders
from resources.home import Home
from resources.images import FolderImageStore

QUERY_PICTURES = "memory://nyx-query-pictures"


def query_picture_store() -> FolderImageStore:
    """The store of this process."""
    return FolderImageStore(QUERY_PICTURES)


def query_embedders(home: Home, recipe: PipelineRecipe, store: FolderImageStore | None = None) -> CheckpointEmbedders:
    """Opens the home's checkpoints with eyes for the pictures in a store; by default in that of this process."""
    root = QUERY_PICTURES if store is None else store.root
    return CheckpointEmbedders(str(home.root / "backbones"), recipe.backbone, root)
