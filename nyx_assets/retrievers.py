"""The retrievers by name, and the checkpoint each name stands for.

A retriever's embeddings lie under `tables/<name>/chunk_embeddings`. To add one (TRACE, say), add a line here.
"""

from dataclasses import dataclass

from resources.embedder import Embedders
from resources.home import Home
from resources.tables import Provenance
from training_kernels.errors import CheckpointMoved, ConfigError

BM25 = "bm25"
"""The baseline that needs no embeddings: words in common, by the library bm25s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieverSpec:
    """A retriever that embeds."""

    name: str
    checkpoint: str | None
    """Asset whose current folder it loads; None for the backbone as it was before training."""
    description: str

    def folder(self, home: Home, embedders: Embedders) -> str:
        """The folder to load. Raises IncompleteArtifact if its checkpoint has not been made."""
        if self.checkpoint is None:
            return embedders.untrained()
        return str(home.artifacts.require(self.checkpoint).folder)

    def folder_of(self, home: Home, embedders: Embedders, made_from: Provenance) -> str:
        """The same for a table that is being made from these inputs. Raises CheckpointMoved if it is of others by now."""
        if self.checkpoint is None:
            return embedders.untrained()
        artifact, version = home.artifacts.require(self.checkpoint), made_from.inputs[self.checkpoint]
        if artifact.commit.data_version != version:
            raise CheckpointMoved(
                f"{self.checkpoint} was {version} when this step began and is {artifact.commit.data_version} now; "
                f"materialize {self.name}/chunk_embeddings again"
            )
        return str(artifact.folder)


UNTRAINED = RetrieverSpec(name="untrained", checkpoint=None, description="the backbone before any training")
PRETRAINED = RetrieverSpec(
    name="pretrained", checkpoint="pretrained_checkpoint", description="the checkpoint trained on NyxQA"
)
FINETUNED = RetrieverSpec(
    name="finetuned", checkpoint="finetuned_checkpoint", description="the checkpoint after the generator's feedback"
)
PROMOTED = RetrieverSpec(
    name="promoted", checkpoint="promoted_checkpoint", description="the checkpoint that the quality gate let go live"
)
DENSE_RETRIEVERS = (UNTRAINED, PRETRAINED, FINETUNED, PROMOTED)
"""In the order of the graph."""


def dense_retriever(name: str) -> RetrieverSpec:
    """The retriever of that name. Raises ConfigError with the known names."""
    for retriever in DENSE_RETRIEVERS:
        if retriever.name == name:
            return retriever
    raise ConfigError(f"retriever {name!r} is unknown; known: {', '.join([BM25, *(r.name for r in DENSE_RETRIEVERS)])}")
