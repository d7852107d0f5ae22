"""Ids come from content and nothing else; the public columns are there under their names."""

import hashlib
import itertools

import numpy as np
import pyarrow as pa
import pytest

from nyx_assets import records
from nyx_assets.records import chunk_embeddings_schema, content_id, document_key, embedding_matrix
from training_kernels.documents import Document, Segment

PUBLIC_COLUMNS = {
    "CRAWL_DOCUMENTS": ["doc_id", "url", "title", "segments"],
    "REJECTED_DOCUMENTS": ["doc_id", "kind", "reference", "reason"],
    "CHUNKED_CORPUS": ["chunk_id", "doc_id", "position", "segments", "text_tokens"],
    "RAW_QA": ["qa_id", "chunk_id", "question", "answer"],
    "FILTERED_QA": ["qa_id", "chunk_id", "question", "answer", "options", "right_option", "split"],
    "REJECTED_QA": ["qa_id", "chunk_id", "rule", "reason"],
    "NEGATIVES": ["qa_id", "rank", "chunk_id", "score"],
    "FEEDBACK_PREFERENCES": ["qa_id", "window", "answer", "grade", "role"],
}


@pytest.mark.parametrize("name", sorted(PUBLIC_COLUMNS))
def test_public_columns_stand_under_their_names(name: str) -> None:
    assert set(PUBLIC_COLUMNS[name]) <= set(getattr(records, name).names)


def test_an_id_is_the_start_of_the_sha256_of_its_parts_each_closed_by_a_zero() -> None:
    assert content_id("ab", "c") == hashlib.sha256(b"ab\0c\0").hexdigest()[:20]


def test_where_parts_are_cut_makes_another_id() -> None:
    parts = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc"), ("c", "ab")]
    assert len({content_id(*one) for one in parts}) == len(parts)


def test_any_text_has_an_id_lone_surrogates_as_well() -> None:
    assert content_id("\ud800") != content_id("\ud801")


def test_documents_have_equal_keys_exactly_when_they_are_equal() -> None:
    one, other = "0" * 64, "1" * 64
    documents = [
        Document.of("ab", "c"), Document.of("a", "bc"), Document.of("abc"), Document.of("a", Segment(image=one)),
        Document.of(Segment(image=one), "a"), Document.of("a", Segment(image=other)), Document.of(f"image {one}"),
        Document.of("a", f"image {one}"), Document.of("text 1 a"),
    ]  # fmt: skip
    for left, right in itertools.combinations(documents, 2):
        assert (document_key(left) == document_key(right)) == (left == right)
    assert document_key(Document.of("ab", "c")) == document_key(Document.of("ab", "c"))


def test_embeddings_come_back_row_by_row() -> None:
    wanted = np.arange(12, dtype=np.float32).reshape(4, 3)
    rows = [{"chunk_id": str(row), "embedding": list(map(float, wanted[row]))} for row in range(4)]
    table = pa.Table.from_pylist(rows, schema=chunk_embeddings_schema(3))
    np.testing.assert_array_equal(embedding_matrix(table), wanted)
    # a slice, and a table in pieces, are not the whole
    np.testing.assert_array_equal(embedding_matrix(table.slice(1, 2)), wanted[1:3])
    np.testing.assert_array_equal(
        embedding_matrix(pa.concat_tables([table.slice(3, 1), table.slice(0, 2)])), wanted[[3, 0, 1]]
    )
