"""Exact search over embeddings held in memory, at full width or at a Matryoshka dim.

Shape letters: B queries, C candidates, D width, d a prefix of it.
"""

from collections.abc import Sequence

import numpy as np

from nyx_assets.rag.rankings import Ranking
from resources.exact_search import exact_top_k
from training_kernels.errors import ConfigError, DataError


def prefix(embedding_CD: np.ndarray, dim: int) -> np.ndarray:
    """Unit-norm embeddings of the first `dim` numbers of each row: float32 [C, d].

    Raises ConfigError if the embeddings are not that wide. Source: Kusupati et al. 2022, arXiv:2205.13147, section 3.
    """
    width = embedding_CD.shape[1]
    if not 1 <= dim <= width:
        raise ConfigError(f"a Matryoshka dim is from 1 to the full width {width}, got {dim}")
    if dim == width:
        return embedding_CD
    cut_Cd = embedding_CD[:, :dim]
    # A prefix of zeros has no direction; it stays zero and is similar to nothing.
    norm_C1 = np.linalg.norm(cut_Cd, axis=1, keepdims=True)
    return (cut_Cd / np.where(norm_C1 == 0, 1, norm_C1)).astype(np.float32)


class DenseCorpus:
    """Candidates by id with unit-norm embeddings, searched exactly.

    Raises DataError if there are not as many rows as ids, or an id stands twice.
    """

    def __init__(self, ids: Sequence[str], embedding_CD: np.ndarray) -> None:
        if embedding_CD.ndim != 2 or len(ids) != len(embedding_CD) or len(set(ids)) != len(ids):
            raise DataError(
                f"dense search needs one embedding for each distinct id, got {len(ids)} ids and shape {embedding_CD.shape}"
            )
        order = sorted(range(len(ids)), key=ids.__getitem__)
        self._ids = [ids[row] for row in order]
        # Copied only when out of order: at 50,000 x 2,048 that is 400 MB.
        self._embedding_CD = embedding_CD if order == list(range(len(ids))) else embedding_CD[order]

    def search(self, query_BD: np.ndarray, top_k: int) -> list[Ranking]:
        """The candidates of highest cosine for each query, ties (to six decimals) in the order of ids."""
        if top_k < 1:
            raise ConfigError(f"top_k must be 1 or more, got {top_k}")
        if query_BD.ndim != 2 or query_BD.shape[1] != self._embedding_CD.shape[1]:
            raise DataError(
                f"queries need shape (number of queries, {self._embedding_CD.shape[1]}), got {query_BD.shape}; "
                "embed them with the checkpoint of the corpus"
            )
        similarity_BK, row_BK = exact_top_k(query_BD, self._embedding_CD, top_k=top_k)
        return [
            [(self._ids[row], float(similarity)) for similarity, row in zip(similarity_K, row_K, strict=True)]
            for similarity_K, row_K in zip(similarity_BK, row_BK, strict=True)
        ]
