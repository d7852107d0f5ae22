"""A data set folder as the library datasets loads it: Parquet with the pictures inside, two configurations.

qa/<split>.parquet      question, answer, options, golden chunk and hard negatives by id
corpus/corpus.parquet   every chunk once
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nyx_assets.export.nyxqa import SPLITS, Chunk, NyxQA, Pair
from nyx_assets.records import SEGMENTS
from resources.images import FolderImageStore
from training_kernels.documents import Document

ROWS_PER_GROUP = 100
"""Choice: the hub shows a data set by reading a row group; with pictures of 0.5 MB this is some 100 MB."""

PICTURES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))

QA = pa.schema(
    [
        ("qa_id", pa.string()),
        ("question", SEGMENTS),  # a picture is named by the SHA-256 of its file
        ("question_pictures", PICTURES),  # in the order of the segments
        ("answer", pa.string()),
        ("options", pa.list_(pa.string())),
        ("right_option", pa.int32()),  # 0-based
        ("chunk_id", pa.string()),  # golden chunk, of the corpus
        ("hard_negatives", pa.list_(pa.string())),  # chunks of the corpus, hardest first; of training pairs only
        ("hard_negative_scores", pa.list_(pa.float64())),
        ("teacher", pa.string()),
        ("is_stand_in", pa.bool_()),
    ]
)

CORPUS = pa.schema(
    [
        ("chunk_id", pa.string()),
        ("document", SEGMENTS),
        ("pictures", PICTURES),
        ("doc_id", pa.string()),
        ("url", pa.string()),
        ("title", pa.string()),
        ("licence", pa.string()),
    ]
)


def write_huggingface(folder: Path, data: NyxQA, splits: Iterable[str], store: FolderImageStore) -> dict[str, int]:
    """Fills the folder; returns the number of rows by split, and of the corpus."""
    counts = {}
    for split in splits:
        pairs = data.of_split(split)
        if pairs:  # the hub refuses a split without rows
            counts[split] = len(pairs)
            _write(folder / "qa" / f"{split}.parquet", QA, (_qa_row(pair, store) for pair in pairs))
    chunks = data.chunk_by_id.values()
    _write(folder / "corpus" / "corpus.parquet", CORPUS, (_corpus_row(chunk, store) for chunk in chunks))
    return counts | {"corpus": len(chunks)}


def configurations(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """What the card's header says of the files."""
    splits = [{"split": split, "path": f"qa/{split}.parquet"} for split in SPLITS if split in counts]
    corpus = [{"split": "corpus", "path": "corpus/corpus.parquet"}]
    return [
        {"config_name": "qa", "data_files": splits, "default": True},
        {"config_name": "corpus", "data_files": corpus},
    ]


def _write(file: Path, schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> None:
    """One Parquet file; its footer tells the library datasets which columns hold pictures."""
    file.parent.mkdir(parents=True, exist_ok=True)
    features = {field.name: _feature(field.type) for field in schema}
    described = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    stream = iter(rows)
    with pq.ParquetWriter(file, described, compression="zstd") as writer:
        while group := list(islice(stream, ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema=described))


def _feature(kind: pa.DataType) -> Any:
    """A column's type as the library datasets writes it into Parquet footers."""
    if kind == PICTURES.value_type:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        return [_feature(kind.value_type)]
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    return {"_type": "Value", "dtype": {"double": "float64"}.get(str(kind), str(kind))}


def _pictures(document: Document, store: FolderImageStore) -> Iterator[dict[str, Any]]:
    for digest in document.images:
        path = store.path(digest)
        yield {"bytes": store.fs.cat_file(path), "path": path.rsplit("/", 1)[-1]}


def _qa_row(pair: Pair, store: FolderImageStore) -> dict[str, Any]:
    return {
        "qa_id": pair.qa_id,
        "question": pair.question.to_rows(),
        "question_pictures": list(_pictures(pair.question, store)),
        "answer": pair.answer,
        "options": list(pair.options),
        "right_option": pair.right_option,
        "chunk_id": pair.chunk_id,
        "hard_negatives": [chunk_id for chunk_id, _ in pair.negatives],
        "hard_negative_scores": [score for _, score in pair.negatives],
        "teacher": pair.teacher,
        "is_stand_in": pair.is_stand_in,
    }


def _corpus_row(chunk: Chunk, store: FolderImageStore) -> dict[str, Any]:
    return {
        "chunk_id": chunk.chunk_id,
        "document": chunk.document.to_rows(),
        "pictures": list(_pictures(chunk.document, store)),
        "doc_id": chunk.doc_id,
        "url": chunk.url,
        "title": chunk.title,
        "licence": chunk.licence,
    }
