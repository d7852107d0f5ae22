"""Example questions with what each retriever returned, from the rankings of the last evaluation.

Rankings are read where evaluation writes them, as trec_eval does:
    <home>/artifacts/trec/nyxqa.test.<retriever>.run     question, Q0, chunk, rank, score, retriever
    <home>/artifacts/trec/nyxqa.test.qrels               question, 0, chunk, grade
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nyx_assets.report.excerpts import Piece, excerpt
from nyx_assets.report.reading import Row, with_ids
from nyx_assets.report.verdict import SPLIT, SUITE
from nyx_assets.retrievers import BM25, DENSE_RETRIEVERS
from resources.home import Home

TREC = Path("artifacts") / "trec"
NUM_EXAMPLES = 6
"""Choice: half with pictures where there are such; each costs about 100 kB of the page."""
NUM_HITS = 3
HIT_CHARACTERS = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A chunk that a retriever returned."""

    rank: int
    score: float
    is_golden: bool
    pieces: list[Piece]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one retriever returned for a question."""

    retriever: str
    hits: list[Hit]
    golden_rank: int | None
    """Of the best golden chunk; None if it is not among the hits that were kept."""
    num_ranked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A test question."""

    qa_id: str
    question: list[Piece]
    answer: str
    page: str
    """Title or address of the page that it was written from."""
    found: list[Found]


def examples_of(home: Home) -> list[Example]:
    """A few test questions; [] before an evaluation has written its rankings."""
    runs = _runs(home)
    if not runs:
        return []
    golden_by_query = _goldens(home)
    pairs = _drawn(home, sorted(golden_by_query))
    ranked = {name: _rankings(path, {pair["qa_id"] for pair in pairs}) for name, path in runs.items()}
    shown_ids = [
        chunk_id for by_query in ranked.values() for ranking in by_query.values() for chunk_id, _ in ranking[:NUM_HITS]
    ]
    chunks = with_ids(home, "chunked_corpus", "chunk_id", shown_ids)
    pages = with_ids(home, "crawl_documents", "doc_id", [pair["doc_id"] for pair in pairs])
    return [
        Example(
            qa_id=pair["qa_id"],
            question=excerpt(pair["question"], home.images),
            answer=pair["answer"],
            page=_page_name(pages.get(pair["doc_id"])),
            found=[
                _found(home, name, ranked[name].get(pair["qa_id"], []), golden_by_query[pair["qa_id"]], chunks)
                for name in runs
            ],
        )
        for pair in pairs
    ]


def _drawn(home: Home, query_ids: Sequence[str]) -> list[Row]:
    """The first questions by id, which is a hash: half with pictures, half of words alone, as far as there are."""
    pairs = with_ids(home, "filtered_qa", "qa_id", query_ids)
    ordered = [pairs[qa_id] for qa_id in query_ids if qa_id in pairs]
    pictured = [pair for pair in ordered if any(segment["image"] for segment in pair["question"])]
    chosen = pictured[: NUM_EXAMPLES // 2]
    of_words = [pair for pair in ordered if pair not in pictured]
    seen: set[str] = set()
    for pair in of_words:  # of different chunks, so that they are not one question in other words
        if len(chosen) < NUM_EXAMPLES and pair["chunk_id"] not in seen:
            seen.add(pair["chunk_id"])
            chosen.append(pair)
    return chosen


def _found(home: Home, name: str, ranking: list[tuple[str, float]], golden: set[str], chunks: dict[str, Row]) -> Found:
    ranks = [rank for rank, (chunk_id, _) in enumerate(ranking, start=1) if chunk_id in golden]
    return Found(
        retriever=name,
        golden_rank=ranks[0] if ranks else None,
        num_ranked=len(ranking),
        hits=[
            Hit(
                rank=rank,
                score=score,
                is_golden=chunk_id in golden,
                pieces=excerpt(chunks[chunk_id]["segments"], home.images, most=HIT_CHARACTERS)
                if chunk_id in chunks
                else [],
            )
            for rank, (chunk_id, score) in enumerate(ranking[:NUM_HITS], start=1)
        ],
    )


def _runs(home: Home) -> dict[str, Path]:
    """The file of each retriever, baseline first."""
    home.mirror.bring(TREC.as_posix())
    names = (BM25, *(retriever.name for retriever in DENSE_RETRIEVERS))
    paths = {name: home.root / TREC / f"{SUITE}.{SPLIT}.{name}.run" for name in names}
    return {name: path for name, path in paths.items() if path.is_file()}


def _goldens(home: Home) -> dict[str, set[str]]:
    path = home.root / TREC / f"{SUITE}.{SPLIT}.qrels"
    goldens: dict[str, set[str]] = {}
    for query_id, _, chunk_id, grade in _fields(path) if path.is_file() else ():
        if int(grade) > 0:
            goldens.setdefault(query_id, set()).add(chunk_id)
    return goldens


def _rankings(path: Path, query_ids: set[str]) -> dict[str, list[tuple[str, float]]]:
    """Chunk and score by rank, of these questions."""
    rankings: dict[str, list[tuple[str, float]]] = {}
    for query_id, _, chunk_id, _, score, _ in _fields(path):
        if query_id in query_ids:
            rankings.setdefault(query_id, []).append((chunk_id, float(score)))
    return rankings


def _fields(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield line.split()


def _page_name(page: Row | None) -> str:
    return "" if page is None else page["title"] or page["url"] or page["doc_id"]
