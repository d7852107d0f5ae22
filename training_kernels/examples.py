"""Training examples on disk: a folder with `documents.parquet` and `examples.parquet`."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from training_kernels.documents import Document
from training_kernels.errors import DataError, IncompleteArtifact

DOCUMENTS = pa.schema(
    [
        ("document_id", pa.string()),
        ("segments", pa.list_(pa.struct([("kind", pa.string()), ("text", pa.string()), ("image", pa.string())]))),
    ]
)

EXAMPLES = pa.schema(
    [
        ("example_id", pa.string()),
        ("query", pa.string()),  # document ids, here and below
        ("positive", pa.string()),
        ("negatives", pa.list_(pa.string())),  # hardest first
        ("source", pa.string()),
    ]
)

NEAR_DUPLICATE = pa.field("near_duplicate", pa.string())
"""Optional column of documents.parquet: the same for near copies of one document; null for one that stands alone."""

ANSWER = pa.field("answer", pa.string())
"""Optional column of examples.parquet: the answer in words, normalised so that equal answers are equal texts; null
where it is unknown, or says too little to tell two questions apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A query, what it should find, and what it should not; all by document id."""

    example_id: str
    query: str
    positive: str
    negatives: tuple[str, ...]
    """Hard negatives, hardest first; may be empty."""
    source: str
    """Where the example comes from, e.g. "nyxqa" or "feedback"."""
    answer: str = ""
    """The answer in words, normalised; "" where it is unknown, or says too little to tell two questions apart."""


@dataclass(frozen=True, slots=True)
class ExampleSet:
    """Examples and every document that they name."""

    documents: Mapping[str, Document]
    examples: tuple[Example, ...]
    cluster_by_document: Mapping[str, str] = field(default_factory=dict)
    """Cluster of near copies of each document that has one; a document that is not there stands alone."""

    def __post_init__(self) -> None:
        for row, example in enumerate(self.examples):
            if not example.positive or not example.query:
                raise DataError(f"example {example.example_id!r} (row {row}) has no positive or no query; leave it out")
            for document_id in (example.query, example.positive, *example.negatives):
                if document_id not in self.documents:
                    raise DataError(
                        f"example {example.example_id!r} (row {row}) names document {document_id!r}, which is not among "
                        f"the {len(self.documents):,} documents; write it with them"
                    )
            if example.positive in example.negatives:
                raise DataError(f"example {example.example_id!r} (row {row}) has its positive among its negatives")


def write_examples(
    folder: Path,
    documents: Mapping[str, Document],
    examples: Iterable[Example],
    cluster_by_document: Mapping[str, str] | None = None,
) -> None:
    """Writes both files; examples.parquet, which readers demand, comes last.

    Raises DataError for an example without positive, or with a document that is not given.
    """
    clusters = cluster_by_document or {}
    checked = ExampleSet(documents, tuple(examples), clusters)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "examples.parquet").unlink(missing_ok=True)
    document_rows = [
        {"document_id": key, "segments": value.to_rows(), "near_duplicate": clusters.get(key)}
        for key, value in documents.items()
    ]
    document_table = pa.Table.from_pylist(document_rows, schema=DOCUMENTS.append(NEAR_DUPLICATE))
    _write_table(folder / "documents.parquet", document_table)
    example_rows = [
        {
            "example_id": example.example_id,
            "query": example.query,
            "positive": example.positive,
            "negatives": list(example.negatives),
            "source": example.source,
            "answer": example.answer or None,
        }
        for example in checked.examples
    ]
    _write_table(folder / "examples.parquet", pa.Table.from_pylist(example_rows, schema=EXAMPLES.append(ANSWER)))


def read_examples(folder: Path) -> ExampleSet:
    """The examples of a folder.

    Raises IncompleteArtifact where a file is missing, and DataError, with the row, for an example without positive or
    with an unknown document, and for a document with a segment that is not what its kind says.
    """
    document_rows = _read_rows(folder / "documents.parquet", DOCUMENTS, optional=NEAR_DUPLICATE)
    example_rows = _read_rows(folder / "examples.parquet", EXAMPLES, optional=ANSWER)
    documents = {
        row["document_id"]: _document(folder / "documents.parquet", number, row)
        for number, row in enumerate(document_rows)
    }
    examples = tuple(
        Example(**row | {"negatives": tuple(row["negatives"] or ()), "answer": row.get("answer") or ""})
        for row in example_rows
    )
    clusters = {row["document_id"]: row["near_duplicate"] for row in document_rows if row.get("near_duplicate")}
    return ExampleSet(documents, examples, clusters)


def _document(path: Path, number: int, row: Mapping[str, Any]) -> Document:
    try:
        if row["segments"] is None:
            raise DataError("segments is null; an empty document has an empty list")
        return Document.from_rows(row["segments"])
    except DataError as error:
        raise DataError(f"{path}, row {number}, document {row['document_id']!r}: {error}") from error


def _write_table(path: Path, table: pa.Table) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.writing")
    pq.write_table(table, draft)
    os.replace(draft, path)


def _read_rows(path: Path, schema: pa.Schema, *, optional: pa.Field) -> list[dict]:
    if not path.is_file():
        raise IncompleteArtifact(f"{path} does not exist: the examples' writer did not finish; write them again")
    present = pq.read_schema(path).names
    missing = [name for name in schema.names if name not in present]
    if missing:
        raise DataError(f"{path} lacks the columns {missing}; needed: {schema.names}")
    wanted = [*schema.names, optional.name] if optional.name in present else schema.names
    return pq.read_table(path, columns=wanted).to_pylist()
