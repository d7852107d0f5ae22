"""How well dev queries find their documents by exact search, and the weights that did best so far.

Shape letters: Q dev queries, C candidates.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from training_kernels.config import DevConfig
from training_kernels.distributed import local
from training_kernels.documents import Document
from training_kernels.encoder import Encoder
from training_kernels.examples import ExampleSet
from training_kernels.images import PictureSource

CUTOFF = 10
"""Ranks that count, as in the suites."""


class DevRetrieval:
    """A small corpus and the dev queries that should find their documents in it."""

    def __init__(
        self,
        encoder: Encoder,
        dev: ExampleSet,
        training: ExampleSet,
        pictures: PictureSource,
        config: DevConfig,
        *,
        token_budget: int,
    ) -> None:
        """
        Args:
            token_budget: padded tokens that go through the backbone at once, at most what the device takes by default.
        """
        self.encoder, self.pictures, self.token_budget = encoder, pictures, token_budget
        self._positives: dict[str, set[str]] = {}
        for example in dev.examples:
            if example.query in self._positives or len(self._positives) < config.max_queries:
                self._positives.setdefault(example.query, set()).add(example.positive)
        chosen = [example for example in dev.examples if example.query in self._positives]
        own = [one for example in chosen for one in (example.positive, *example.negatives)]
        fill = (example.positive for example in training.examples)
        candidates = list(dict.fromkeys(own))
        if len(candidates) < config.num_candidates:
            candidates = list(dict.fromkeys([*candidates, *fill]))[: config.num_candidates]
        self._candidates = candidates

        def document(name: str) -> Document:
            return (dev if name in dev.documents else training).documents[name]

        self._query_documents = [document(query) for query in self._positives]
        self._candidate_documents: list[Document] = [document(candidate) for candidate in candidates]

    @property
    def num_queries(self) -> int:
        return len(self._positives)

    @property
    def num_candidates(self) -> int:
        return len(self._candidates)

    def score(self) -> dict[str, float]:
        """nDCG@10 and recall@10, means over dev queries; the model is in training mode afterwards, as it was before."""
        query_QD = self.encoder.encode(
            self._query_documents, self.pictures, side="query", token_budget=self.token_budget
        )
        candidate_CD = self.encoder.encode(
            self._candidate_documents, self.pictures, side="candidate", token_budget=self.token_budget
        )
        self.encoder.backbone.model.train()
        top_QK = np.argsort(-(query_QD @ candidate_CD.T), axis=1, kind="stable")[:, :CUTOFF]
        ndcg, recall = [], []
        for positives, top_K in zip(self._positives.values(), top_QK, strict=True):
            hits = [self._candidates[row] in positives for row in top_K]
            ideal = sum(1 / math.log2(rank + 2) for rank in range(min(len(positives), CUTOFF)))
            ndcg.append(sum(hit / math.log2(rank + 2) for rank, hit in enumerate(hits)) / ideal)
            recall.append(sum(hits) / len(positives))
        return {"ndcg@10": float(np.mean(ndcg)), "recall@10": float(np.mean(recall))}


@dataclass(slots=True)
class Best:
    """The weights of the best dev score so far, on the CPU, and how long ago that was."""

    score: float = -1.0
    step: int = 0
    """Steps done when it was reached."""
    scores_since: int = 0
    """Scores since then, none of which was better."""
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    """What this rank holds of them."""

    def take(self, score: float, step: int, weights: Mapping[str, torch.Tensor]) -> None:
        """Takes in one score; of equal ones the first is kept."""
        if score > self.score:
            self.score, self.step, self.scores_since = score, step, 0
            self.weights = {name: local(weight).to("cpu", copy=True) for name, weight in weights.items()}
        else:
            self.scores_since += 1

    def to_state(self) -> dict[str, Any]:
        """All but the weights."""
        return {"score": self.score, "step": self.step, "scores_since": self.scores_since}
