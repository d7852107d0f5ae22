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
        ({"negatives": ("d2", "q1")}, r"'e2' \(row 1\) has its query among its negatives"),
        ({"negatives": ("d2", "d2")}, r"'e2' \(row 1\) has a negative twice: \('d2', 'd2'\)"),
        ({"source": ""}, r"'e2' \(row 1\) has no example_id or no source"),
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


SEGMENTS = [{"kind": "text", "text": "a", "image": None}]


def rewrite(path, row: dict, **types: pa.DataType) -> None:
    """Adds a row to a file, whose columns of the types get these; a row of the file is left out where it does not fit."""
    rows = [] if types else pq.read_table(path).to_pylist()
    schema = pq.read_schema(path)
    for name, wanted in types.items():
        schema = schema.set(schema.get_field_index(name), pa.field(name, wanted))
    pq.write_table(pa.Table.from_pylist([*rows, row], schema=schema), path)


EXAMPLE_ROW = {"example_id": "e2", "query": "q1", "positive": "d1", "negatives": ["d2"], "source": "nyxqa"}


@pytest.mark.parametrize(
    ("name", "changes", "types", "message"),
    [
        ("documents", {"document_id": "d1"}, {}, r"rows 1 and 3 both have document_id 'd1'"),
        ("documents", {"document_id": None}, {}, r"row 3 has no document_id"),
        ("documents", {"segments": [None]}, {}, r"row 3, document 'd9': segments\[0\] has kind=None"),
        (
            "documents",
            {"segments": "a"},
            {"segments": pa.string()},
            "column 'segments' is of type string; needed: list<",
        ),
        (
            "documents",
            {"segments": [{"kind": "text", "text": "a"}]},
            {"segments": pa.list_(pa.struct([("kind", pa.string()), ("text", pa.string())]))},
            "column 'segments' is of type list<.*; needed: list<.*image: string",
        ),
        (
            "examples",
            {"negatives": "d2"},
            {"negatives": pa.string()},
            "column 'negatives' is of type string; needed: list<",
        ),
        ("examples", {"query": 1}, {"query": pa.int64()}, "column 'query' is of type int64; needed: string"),
        ("examples", {"example_id": "e1"}, {}, "rows 0 and 1 both have example_id 'e1'"),
        ("examples", {"example_id": None}, {}, r"None \(row 1\) has no example_id or no source"),
        ("examples", {"source": None}, {}, r"'e2' \(row 1\) has no example_id or no source"),
        ("examples", {"negatives": [None]}, {}, r"'e2' \(row 1\) names document None"),
        ("examples", {"negatives": ["d2", "d2"]}, {}, r"'e2' \(row 1\) has a negative twice"),
    ],
)
def test_what_breaks_the_schema_is_named_by_file_and_row_or_column(tmp_path, name, changes, types, message):
    write_examples(tmp_path, DOCUMENTS, [example()])
    row = {"document_id": "d9", "segments": SEGMENTS} if name == "documents" else EXAMPLE_ROW
    rewrite(tmp_path / f"{name}.parquet", row | changes, **types)
    with pytest.raises(DataError, match=rf"{name}\.parquet(: |, )(example )?{message}"):
        read_examples(tmp_path)


def test_wide_types_as_other_libraries_write_them_are_read(tmp_path):
    write_examples(tmp_path, DOCUMENTS, [example()], {"d1": "k"})
    wide = pa.large_list(pa.struct([(name, pa.large_string()) for name in ("text", "kind", "image", "more")]))
    few = {"document_id": "d9", "segments": [{"kind": "image", "image": "ab"}]}
    path = tmp_path / "documents.parquet"
    rows = [*pq.read_table(path).to_pylist(), few]
    types = {"document_id": pa.large_string(), "segments": wide, "near_duplicate": pa.large_string()}
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(types)), path)
    rows = pq.read_table(tmp_path / "examples.parquet").to_pylist()
    types = dict.fromkeys(("example_id", "query", "positive"), pa.large_string())
    types |= {
        "negatives": pa.large_list(pa.large_string()),
        "source": pa.dictionary(pa.int8(), pa.string()),
        "answer": pa.null(),
    }
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(types)), tmp_path / "examples.parquet")
    read = read_examples(tmp_path)
    assert read.documents == DOCUMENTS | {"d9": Document.of(Segment(image="ab"))}
    assert (read.examples, read.cluster_by_document) == ((example(),), {"d1": "k"})


def test_documents_of_many_row_groups_are_found_in_any_order_and_a_broken_one_by_its_row(tmp_path):
    documents = (
        DOCUMENTS | {f"x{number}": Document.of(f"text {number}") for number in range(50)} | {"none": Document(())}
    )
    write_examples(tmp_path, documents, [example()])
    path = tmp_path / "documents.parquet"
    table = pq.read_table(path)
    pq.write_table(table, path, row_group_size=7)
    read = read_examples(tmp_path).documents
    assert list(read) == list(documents)
    assert all(read[name] == documents[name] for name in reversed(documents))
    assert ("x7" in read, "y" in read) == (True, False)
    broken = table.slice(33, 1).set_column(
        1, "segments", pa.array([[*SEGMENTS, SEGMENTS[0] | {"kind": "image"}]], table.schema.field(1).type)
    )
    pq.write_table(pa.concat_tables([table.slice(0, 33), broken, table.slice(34)]), path, row_group_size=7)
    with pytest.raises(DataError, match=r"documents\.parquet, row 33, document 'x30': segments\[1\] has kind='image'"):
        read_examples(tmp_path)


def test_no_document_is_made_before_it_is_asked_for(tmp_path, monkeypatch):
    write_examples(tmp_path, DOCUMENTS, [example()])
    made, from_rows = [], Document.from_rows
    monkeypatch.setattr(Document, "from_rows", lambda rows: made.append(rows) or from_rows(rows))
    read = read_examples(tmp_path)
    assert "d1" in read.documents
    assert not made
    assert read.documents["d2"] == DOCUMENTS["d2"]
    assert len(made) == 1


@pytest.mark.parametrize("name", ["documents", "examples"])
def test_a_truncated_file_is_named(tmp_path, name):
    write_examples(tmp_path, DOCUMENTS, [example()])
    path = tmp_path / f"{name}.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=rf"{name}\.parquet cannot be read as Parquet"):
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
