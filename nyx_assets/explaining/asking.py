"""The requests behind rows that do not name theirs: built again from the row, as the stage built them.

A preference and an answer were asked about documents that their row names; with today's recipe and prompt that gives the
digest of their request, which the ledger knows if neither has changed since.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from nyx_assets.explaining.reading import Row, is_in, rows_where
from nyx_assets.rag.answering import answer_request
from nyx_assets.recipes import PipelineRecipe
from resources.home import Home
from training_kernels.documents import Document


def with_digests(home: Home, rows: Iterable[Row], recipe: PipelineRecipe, *, shows_options: bool) -> list[Row]:
    """Rows that have qa_id, window and generator, each with the `request_digest` of its call; "" where a part is gone."""
    rows = list(rows)
    pairs = {
        row["qa_id"]: row for row in rows_where(home, "filtered_qa", is_in("qa_id", {row["qa_id"] for row in rows}))
    }
    chunk_ids = {chunk_id for row in rows for chunk_id in row["window"]}
    chunks = {
        row["chunk_id"]: Document.from_rows(row["segments"])
        for row in rows_where(home, "chunked_corpus", is_in("chunk_id", chunk_ids), ["chunk_id", "segments"])
    }
    return [row | {"request_digest": _digest(row, pairs, chunks, recipe, shows_options)} for row in rows]


def _digest(
    row: Row,
    pairs: Mapping[str, Mapping[str, Any]],
    chunks: Mapping[str, Document],
    recipe: PipelineRecipe,
    shows_options: bool,
) -> str:
    pair = pairs.get(row["qa_id"])
    if pair is None or any(chunk_id not in chunks for chunk_id in row["window"]):
        return ""
    request = answer_request(
        Document.from_rows(pair["question"]),
        [chunks[chunk_id] for chunk_id in row["window"]],
        options=pair["options"] if shows_options else (),
        max_output_tokens=recipe.feedback.max_output_tokens,
        temperature=recipe.feedback.temperature,
        seed=recipe.seed,
    )
    return request.digest(row["generator"])
