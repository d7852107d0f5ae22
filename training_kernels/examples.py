"""Training examples on disk: a folder with `documents.parquet` and `examples.parquet`."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class ExampleSet:
    """Examples and every document that they name."""

    documents: Mapping[str, Document]
    examples: tuple[Example, ...]

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


def write_examples(folder: Path, documents: Mapping[str, Document], examples: Iterable[Example]) -> None:
    """Writes both files; examples.parquet, which readers demand, comes last.

    Raises DataError for an example without positive, or with a document that is not given.
    """
    checked = ExampleSet(documents, tuple(examples))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "examples.parquet").unlink(missing_ok=True)
    document_rows = [{"document_id": key, "segments": value.to_rows()} for key, value in documents.items()]
    _write_table(folder / "documents.parquet", pa.Table.from_pylist(document_rows, schema=DOCUMENTS))
    example_rows = [
        {
            "example_id": example.example_id,
            "query": example.query,
            "positive": example.positive,
            "negatives": list(example.negatives),
            "source": example.source,
        }
        for example in checked.examples
    ]
    _write_table(folder / "examples.parquet", pa.Table.from_pylist(example_rows, schema=EXAMPLES))


def read_examples(folder: Path) -> ExampleSet:
    """The examples of a folder.

    Raises IncompleteArtifact where a file is missing, and DataError, with the row, for an example without positive or
    with an unknown document.
    """
    document_rows = _read_rows(folder / "documents.parquet", DOCUMENTS)
    example_rows = _read_rows(folder / "examples.parquet", EXAMPLES)
    documents = {row["document_id"]: Document.from_rows(row["segments"]) for row in document_rows}
    examples = tuple(Example(**row | {"negatives": tuple(row["negatives"] or ())}) for row in example_rows)
    return ExampleSet(documents, examples)


def _write_table(path: Path, table: pa.Table) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.writing")
    pq.write_table(table, draft)
    os.replace(draft, path)


def _read_rows(path: Path, schema: pa.Schema) -> list[dict]:
    if not path.is_file():
        raise IncompleteArtifact(f"{path} does not exist: the examples' writer did not finish; write them again")
    missing = [name for name in schema.names if name not in pq.read_schema(path).names]
    if missing:
        raise DataError(f"{path} lacks the columns {missing}; needed: {schema.names}")
    return pq.read_table(path, columns=schema.names).to_pylist()
