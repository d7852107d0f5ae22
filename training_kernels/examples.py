"""Training examples on disk: a folder with `documents.parquet` and `examples.parquet`."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from training_kernels.document_table import DocumentTable
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
            if not example.example_id or not example.source:
                raise DataError(f"example {example.example_id!r} (row {row}) has no example_id or no source; name them")
            for document_id in (example.query, example.positive, *example.negatives):
                if document_id not in self.documents:
                    raise DataError(
                        f"example {example.example_id!r} (row {row}) names document {document_id!r}, which is not among "
                        f"the {len(self.documents):,} documents; write it with them"
                    )
            if example.positive in example.negatives:
                raise DataError(f"example {example.example_id!r} (row {row}) has its positive among its negatives")
            if example.query in example.negatives:
                raise DataError(f"example {example.example_id!r} (row {row}) has its query among its negatives")
            if len(set(example.negatives)) < len(example.negatives):
                raise DataError(f"example {example.example_id!r} (row {row}) has a negative twice: {example.negatives}")


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
    """The examples of a folder; its documents stay in Arrow's columns until they are asked for.

    Raises IncompleteArtifact where a file is missing, and DataError, with file and row, for a column of another type, an
    id that is null or stands twice, an example without positive or with an unknown document, and a document with a
    segment that is not what its kind says.
    """
    documents_path, examples_path = folder / "documents.parquet", folder / "examples.parquet"
    document_table = _read_table(documents_path, DOCUMENTS, optional=NEAR_DUPLICATE)
    example_table = _read_table(examples_path, EXAMPLES, optional=ANSWER)
    ids = document_table["document_id"]
    try:
        documents = DocumentTable(ids, document_table["segments"])
    except DataError as error:
        raise DataError(f"{documents_path}, {error}") from error
    clusters = {}
    if NEAR_DUPLICATE.name in document_table.column_names:
        copies = document_table.select(["document_id", NEAR_DUPLICATE.name]).filter(pc.field(NEAR_DUPLICATE.name) != "")
        clusters = dict(zip(*(column.to_pylist() for column in copies.columns), strict=True))
    try:
        return ExampleSet(documents, tuple(_examples(example_table, documents)), clusters)
    except DataError as error:
        raise DataError(f"{examples_path}: {error}") from error


def _examples(table: pa.Table, documents: DocumentTable) -> Iterator[Example]:
    """The rows as examples; names that recur are kept once."""
    one = {name: name for name in documents}
    row_by_id: dict[str, int] = {}
    for batch in table.to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            example_id, place = row["example_id"], len(row_by_id)
            first = row_by_id.setdefault(example_id, place)
            if first != place:
                raise DataError(f"rows {first} and {place} both have example_id {example_id!r}; rename one")
            yield Example(
                example_id=example_id,
                query=one.get(row["query"], row["query"]),
                positive=one.get(row["positive"], row["positive"]),
                negatives=tuple(one.get(name, name) for name in row["negatives"] or ()),
                source=one.setdefault(row["source"], row["source"]),
                answer=row.get("answer") or "",
            )


def _write_table(path: Path, table: pa.Table) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.writing")
    pq.write_table(table, draft)
    os.replace(draft, path)


def _read_table(path: Path, schema: pa.Schema, *, optional: pa.Field) -> pa.Table:
    if not path.is_file():
        raise IncompleteArtifact(f"{path} does not exist: the examples' writer did not finish; write them again")
    try:
        present = pq.read_schema(path)
        wanted = [one for one in (*schema, optional) if one.name in present.names]
        table = pq.read_table(path, columns=[one.name for one in wanted])
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet ({error}); copy it again or write it again") from error
    missing = [name for name in schema.names if name not in present.names]
    if missing:
        raise DataError(f"{path} lacks the columns {missing}; needed: {schema.names}")
    for one in wanted:
        if not _is_of(table.schema.field(one.name).type, one.type):
            raise DataError(
                f"{path}: column {one.name!r} is of type {table.schema.field(one.name).type}; needed: {one.type}"
            )
    return table


def _is_of(got: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of a type are read as those of another: text and lists of any width, structs with more fields, and
    columns of nulls alone."""
    if pa.types.is_null(got):
        return True
    if pa.types.is_list(wanted):
        is_list = pa.types.is_list(got) or pa.types.is_large_list(got) or pa.types.is_fixed_size_list(got)
        return is_list and _is_of(got.value_type, wanted.value_type)
    if pa.types.is_struct(wanted):
        return pa.types.is_struct(got) and all(
            got.get_field_index(field.name) >= 0 and _is_of(got.field(field.name).type, field.type) for field in wanted
        )
    inner = got.value_type if pa.types.is_dictionary(got) else got
    return pa.types.is_string(inner) or pa.types.is_large_string(inner)
