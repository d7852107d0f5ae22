"""Examples come back as they were written, and a broken one is named by its row."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training_kernels.documents import Document, Segment
from training_kernels.errors import DataError, IncompleteArtifact
from training_kernels.examples import EXAMPLES, Example, read_examples, write_examples

DOCUMENTS = {
    "q1": Document.of("which moon is this", Segment(image="ab" * 32)),
    "d1": Document.of("Io, the innermost"),
    "d2": Document.of(Segment(image="cd" * 32), "another moon"),
}


def example(**changes) -> Example:
    row = {"example_id": "e1", "query": "q1", "positive": "d1", "negatives": ("d2",), "source": "nyxqa"}
    return Example(**row | changes)


def test_examples_come_back_as_they_were_written(tmp_path):
    examples = (example(), example(example_id="e2", positive="d2", negatives=(), source="feedback"))
    write_examples(tmp_path / "made", DOCUMENTS, examples)
    read = read_examples(tmp_path / "made")
    assert read.examples == examples
    assert read.documents == DOCUMENTS
    assert read.cluster_by_document == {}


def test_near_copies_and_answers_come_back_as_they_were_written(tmp_path):
    examples = (example(answer="io"), example(example_id="e2", positive="d2", negatives=()))
    write_examples(tmp_path, DOCUMENTS, examples, {"d1": "k", "d2": "k"})
    read = read_examples(tmp_path)
    assert read.examples == examples
    assert read.cluster_by_document == {"d1": "k", "d2": "k"}


def test_a_folder_without_the_optional_columns_is_read(tmp_path):
    write_examples(tmp_path, DOCUMENTS, [example(answer="io")], {"d1": "k"})
    for name, column in (("documents", "near_duplicate"), ("examples", "answer")):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pq.read_table(path).drop_columns([column]), path)
    read = read_examples(tmp_path)
    assert read.examples == (example(),)
    assert read.cluster_by_document == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positive": ""}, r"'e2' \(row 1\) has no positive"),
        ({"positive": "gone"}, r"'e2' \(row 1\) names document 'gone'"),
        ({"query": "gone"}, r"'e2' \(row 1\) names document 'gone'"),
        ({"negatives": ("d2", "gone")}, r"'e2' \(row 1\) names document 'gone'"),
        ({"negatives": ("d2", "d1")}, r"'e2' \(row 1\) has its positive among its negatives"),
    ],
)
def test_a_broken_example_is_named_by_its_row(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        write_examples(tmp_path, DOCUMENTS, [example(), example(example_id="e2", **changes)])


def test_a_row_without_positive_on_disk_is_named(tmp_path):
    write_examples(tmp_path, DOCUMENTS, [example()])
    row = {"example_id": "e7", "query": "q1", "positive": None, "negatives": None, "source": "x"}
    pq.write_table(pa.Table.from_pylist([row], schema=EXAMPLES), tmp_path / "examples.parquet")
    with pytest.raises(DataError, match=r"'e7' \(row 0\) has no positive"):
        read_examples(tmp_path)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([{"kind": "text", "text": "a"}, {"kind": "image", "text": "b"}], r"segments\[1\] has kind='image', text='b'"),
        ([{"kind": "text"}], r"segments\[0\] has kind='text', text=None, image=None"),
        (None, "segments is null"),
    ],
)
def test_a_document_with_a_broken_segment_is_named_by_row_and_id(tmp_path, segments, message):
    write_examples(tmp_path, DOCUMENTS, [example()])
    path = tmp_path / "documents.parquet"
    rows = [*pq.read_table(path).to_pylist(), {"document_id": "d9", "segments": segments}]
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    with pytest.raises(DataError, match=rf"documents\.parquet, row 3, document 'd9': {message}"):
        read_examples(tmp_path)


def test_a_folder_whose_writer_did_not_finish_is_incomplete(tmp_path):
    write_examples(tmp_path, DOCUMENTS, [example()])
    (tmp_path / "examples.parquet").unlink()
    with pytest.raises(IncompleteArtifact, match=r"examples\.parquet"):
        read_examples(tmp_path)


def test_a_missing_column_is_named(tmp_path):
    write_examples(tmp_path, DOCUMENTS, [example()])
    table = pq.read_table(tmp_path / "examples.parquet").drop_columns(["source"])
    pq.write_table(table, tmp_path / "examples.parquet")
    with pytest.raises(DataError, match=r"lacks the columns \['source'\]"):
        read_examples(tmp_path)
