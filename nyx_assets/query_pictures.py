"""Pictures that come with a query or a suite: kept in memory for this process, never in the home's picture store."""

from resources.images import FolderImageStore

QUERY_PICTURES = "memory://nyx-query-pictures"


def query_picture_store() -> FolderImageStore:
    """The store of this process; an embedder that is to see its pictures reads from QUERY_PICTURES."""
    return FolderImageStore(QUERY_PICTURES)
