"""BM25 over the texts of candidates, by the library bm25s: the first miner, and the baseline beside every retriever."""

import json
import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from nyx_assets.rag.rankings import Ranking
from training_kernels.errors import ConfigError, DataError

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
RUN = re.compile(rf"[{CJK}]+|[^\W_{CJK}]+")
FIRST_CJK = re.compile(rf"[{CJK}]")

IDS = "ids.json"

K1, B = 1.5, 0.75
"""Choice: the defaults of bm25s, with its Lucene variant, whose weights are never negative."""


def terms(text: str) -> list[str]:
    """The terms of a text, in order: casefolded words, and pairs of neighbouring letters where words are not spaced.

    Choice: Chinese, Japanese and Korean runs become overlapping pairs, as in Lucene's CJK analyser, for lack of a
    word list; a run of one letter is a term of its own. No stemming and no stop words, so every language is alike.
    """
    found: list[str] = []
    for run in RUN.findall(unicodedata.normalize("NFKC", text).casefold()):
        if len(run) > 1 and FIRST_CJK.match(run):
            found.extend(run[start : start + 2] for start in range(len(run) - 1))
        else:
            found.append(run)
    return found


class Bm25Corpus:
    """Candidates indexed by their texts.

    Raises DataError if there are not as many texts as ids, or an id stands twice.
    """

    def __init__(self, ids: Sequence[str], texts: Sequence[str]) -> None:
        from bm25s import BM25

        if len(ids) != len(texts) or len(set(ids)) != len(ids):
            raise DataError(f"BM25 needs one text for each distinct id, got {len(ids)} ids and {len(texts)} texts")
        # Rows in the order of ids, so that ties fall to the smaller id.
        order = sorted(range(len(ids)), key=ids.__getitem__)
        self._ids = [ids[row] for row in order]
        self._term_ids: dict[str, int] = {}
        term_ids_by_row = [
            [self._term_ids.setdefault(term, len(self._term_ids)) for term in terms(texts[row])] for row in order
        ]
        # bm25s sets its logger to DEBUG when it is imported, which says something for every corpus.
        logging.getLogger("bm25s").setLevel(logging.WARNING)
        self._bm25 = BM25(method="lucene", k1=K1, b=B, backend="numpy")
        # bm25s cannot index a corpus without a single term; such a corpus has no hits.
        if self._term_ids:
            self._bm25.index((term_ids_by_row, dict(self._term_ids)), show_progress=False)

    def save(self, folder: Path) -> None:
        """Keep the index in a new folder."""
        folder.mkdir()
        (folder / IDS).write_text(json.dumps(self._ids))
        if self._term_ids:
            self._bm25.save(folder, show_progress=False)

    @classmethod
    def load(cls, folder: Path) -> "Bm25Corpus":
        """The index that was kept in a folder."""
        from bm25s import BM25

        self = cls([], [])
        self._ids = json.loads((folder / IDS).read_text())
        logging.getLogger("bm25s").setLevel(logging.WARNING)
        if (folder / "vocab.index.json").exists():
            self._bm25 = BM25.load(folder, load_vocab=True, show_progress=False)
            self._term_ids = self._bm25.vocab_dict
        return self

    def search(self, queries: Iterable[str], top_k: int) -> list[Ranking]:
        """The best candidates of each query. One that shares no term with it is no hit, so there may be fewer."""
        _require_positive(top_k)
        return [self._hits(self._scores(query), top_k) for query in queries]

    def search_beside(
        self, queries: Sequence[str], candidate_ids: Sequence[str], top_k: int
    ) -> list[tuple[Ranking, float]]:
        """What `search` finds for each query, and the score of one candidate that is named for it, hit or not."""
        _require_positive(top_k)
        row_by_id = {candidate_id: row for row, candidate_id in enumerate(self._ids)}
        found = []
        for query, candidate_id in zip(queries, candidate_ids, strict=True):
            if candidate_id not in row_by_id:
                raise DataError(f"candidate {candidate_id} is not in the corpus of {len(self._ids):,} that is searched")
            score_C = self._scores(query)
            found.append((self._hits(score_C, top_k), float(score_C[row_by_id[candidate_id]])))
        return found

    def _scores(self, query: str) -> np.ndarray:
        known = [self._term_ids[term] for term in terms(query) if term in self._term_ids]
        return self._bm25.get_scores_from_ids(known) if known else np.zeros(len(self._ids), dtype=np.float32)

    def _hits(self, score_C: np.ndarray, top_k: int) -> Ranking:
        rows = np.flatnonzero(score_C > 0)
        if len(rows) > top_k:
            # All that reach the last place are kept until ties are settled, for a partition breaks them anyhow.
            last = np.partition(score_C[rows], -top_k)[-top_k]
            rows = rows[score_C[rows] >= last]
        rows = rows[np.lexsort((rows, -score_C[rows]))][:top_k]
        return [(self._ids[row], float(score_C[row])) for row in rows]


def _require_positive(top_k: int) -> None:
    if top_k < 1:
        raise ConfigError(f"top_k must be 1 or more, got {top_k}")
