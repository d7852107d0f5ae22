"""A split as BEIR files, as TREC qrels, and as a suite that our own `nyx evaluate` reads: one folder is all three.

    corpus.jsonl         {"_id", "title", "text", "metadata"} of BEIR beside {"id", "segments"} of a suite
    queries.jsonl        {"_id", "text"} beside {"id", "segments"}
    qrels/<split>.tsv    query-id, corpus-id, score; BEIR
    qrels.tsv            the same; suite
    trec/<split>.qrels   query-id 0 corpus-id score; trec_eval

Readers of one format pass over the fields of the other.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nyx_assets.evaluation.suites import QRELS, suite_of_qa, write_suite
from nyx_assets.export.formats import PlacePicture, marked_text
from nyx_assets.export.nyxqa import Chunk, NyxQA
from training_kernels.documents import Document


def write_beir(folder: Path, data: NyxQA, split: str, place: PlacePicture) -> dict[str, int]:
    """Fills the folder; returns the number of rows by what they are."""
    pairs = data.of_split(split)
    rows = [{"qa_id": pair.qa_id, "chunk_id": pair.chunk_id, "question": pair.question.to_rows()} for pair in pairs]
    documents = {chunk_id: chunk.document for chunk_id, chunk in data.chunk_by_id.items()}
    suite = suite_of_qa(split, rows, documents)
    golds = [
        (query.query_id, chunk_id, grade)
        for query in suite.queries
        for chunk_id, grade in sorted(query.grade_by_id.items())
    ]
    write_suite(
        folder,
        corpus=(_corpus_row(chunk, place) for chunk in data.chunk_by_id.values()),
        queries=(_row(pair.qa_id, pair.question, place) for pair in pairs),
        golds=golds,
    )
    for subfolder in ("qrels", "trec"):
        (folder / subfolder).mkdir()
    (folder / "qrels" / f"{split}.tsv").write_bytes((folder / QRELS).read_bytes())
    with (folder / "trec" / f"{split}.qrels").open("w", encoding="utf-8") as file:
        file.writelines(f"{query_id} 0 {chunk_id} {grade}\n" for query_id, chunk_id, grade in golds)
    return {"corpus": len(data.chunk_by_id), "queries": len(pairs), "qrels": len(golds)}


def _row(row_id: str, document: Document, place: PlacePicture) -> dict[str, Any]:
    return {
        "_id": row_id,
        "id": row_id,
        "text": marked_text(document),
        "segments": [
            {"type": "text", "text": segment.text}
            if segment.image is None
            else {"type": "image", "path": place(segment.image)}
            for segment in document.segments
        ],
    }


def _corpus_row(chunk: Chunk, place: PlacePicture) -> Mapping[str, Any]:
    metadata = {"url": chunk.url, "licence": chunk.licence, "doc_id": chunk.doc_id}
    return _row(chunk.chunk_id, chunk.document, place) | {"title": chunk.title or "", "metadata": metadata}
