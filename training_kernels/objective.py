"""What training minimises: for each query of a batch, picking its positive among all candidates of the batch.

Shape letters: B queries, C candidates, N documents of both sides, D embedding width, L Matryoshka dims.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from training_kernels.candidates import Answers
from training_kernels.collate import TokenSequence
from training_kernels.config import TrainConfig
from training_kernels.distributed import Ranks
from training_kernels.encoder import Encoder
from training_kernels.examples import Example, ExampleSet
from training_kernels.gradcache import backward_batch
from training_kernels.images import PictureSource
from training_kernels.losses import matryoshka_info_nce


@dataclass(frozen=True, slots=True)
class BatchLoss:
    """What one batch came to."""

    loss: float
    """Weighted sum over dims, nats."""
    loss_by_dim: dict[int, float]
    num_tokens: int
    """Tokens that the backbone read, visual ones included, padding not."""


class Objective(Protocol):
    """What the trainer knows of the learning task."""

    def backward(self, batch: Sequence[Example]) -> BatchLoss:
        """Adds the gradient of the batch's loss to the parameters."""
        ...


class ContrastiveObjective:
    """Matryoshka InfoNCE over the positives and hard negatives of the whole batch.

    Every rank is given the whole batch. It embeds its share of the queries, their own negatives if the recipe has such,
    and its share of the shared candidates, then holds its queries against the candidates of all ranks. Parameter
    gradients of the ranks add up (they are not to be averaged) to those of one process with the same batch.
    """

    def __init__(
        self,
        encoder: Encoder,
        training: ExampleSet,
        pictures: PictureSource,
        config: TrainConfig,
        ranks: Ranks | None = None,
    ) -> None:
        self.encoder, self.training, self.pictures, self.config = encoder, training, pictures, config
        self.ranks = ranks or Ranks(0, 1)
        self.answers = Answers(training, config.loss)
        self.cut_documents: set[str] = set()
        """Ids of documents that this rank has seen lose their end, because they are longer than max_tokens."""

    def backward(self, batch: Sequence[Example]) -> BatchLoss:
        config, rank, num_ranks = self.config.loss, self.ranks.rank, self.ranks.num_ranks
        candidates = self.answers.candidates_of(batch, config, negatives_per_query=self.config.negatives_per_query)
        query_rows = share_of(len(batch), rank, num_ranks)
        counts = [len(share_of(len(candidates.shared), one, num_ranks)) for one in range(num_ranks)]
        own = [(row - query_rows.start, document) for row, document in candidates.own if row in query_rows]
        shared = [candidates.shared[row] for row in share_of(len(candidates.shared), rank, num_ranks)]
        sequences = [
            *self._rendered([batch[row].query for row in query_rows], side="query"),
            *self._rendered([*shared, *(document for _, document in own)], side="candidate"),
        ]
        # Where a batch has fewer documents than there are ranks, one without any reads a query that counts for nothing:
        # it must still meet the others in the gather and, where blocks are shared out, in the model.
        read = sequences or self._rendered([batch[0].query], side="query")
        positive_B = torch.tensor([candidates.positive[row] for row in query_rows], dtype=torch.int64)
        ignored = [(row - query_rows.start, column) for row, column in candidates.ignored if row in query_rows]
        ignored_M2 = torch.tensor(ignored, dtype=torch.int64).reshape(-1, 2)
        own_query_N = torch.tensor([row for row, _ in own], dtype=torch.int64)

        def loss_of(embedding_ND: Tensor) -> tuple[Tensor, Tensor]:
            device = embedding_ND.device
            query_BD, shared_ND, own_ND = embedding_ND[: len(sequences)].split([len(query_rows), len(shared), len(own)])
            return matryoshka_info_nce(
                query_BD,
                self.ranks.gathered(shared_ND, counts),
                positive_B.to(device),
                temperature=config.temperature,
                weight_by_dim=config.weight_by_dim,
                num_queries=len(batch),
                ignored_M2=ignored_M2.to(device),
                own_ND=own_ND,
                own_query_N=own_query_N.to(device),
                ignored_margin=config.ignored_margin,
                panel_bytes=config.panel_bytes,
            )

        loss, loss_L = backward_batch(self.encoder, self.ranks.filled(read), loss_of, self.config, self.ranks)
        num_tokens = loss_L.new_tensor([sum(len(sequence) for sequence in sequences)], dtype=torch.float64)
        sums = self.ranks.summed(torch.cat([loss[None].double(), loss_L.double(), num_tokens])).tolist()
        by_dim = dict(zip(config.dims, sums[1:-1], strict=True))
        return BatchLoss(sums[0], by_dim, round(sums[-1]))

    def _rendered(self, document_ids: Sequence[str], *, side: Literal["query", "candidate"]) -> list[TokenSequence]:
        documents = [self.training.documents[one] for one in document_ids]
        sequences = self.encoder.render(documents, self.pictures, side=side)
        self.cut_documents.update(
            document_id for document_id, sequence in zip(document_ids, sequences, strict=True) if sequence.is_cut
        )
        return sequences

    def num_cut_documents(self, device: torch.device) -> int:
        """Documents that any rank has seen lose their end, each counted once. All ranks must call it."""
        is_cut_N = torch.tensor([document_id in self.cut_documents for document_id in self.training.documents])
        return int(self.ranks.summed(is_cut_N.to(device, torch.int32)).count_nonzero())


def share_of(num_rows: int, rank: int, num_ranks: int) -> range:
    """The rows of a rank: consecutive, and at most one more than any other rank has."""
    return range(num_rows * rank // num_ranks, num_rows * (rank + 1) // num_ranks)
