"""An explanation for a person."""

from collections.abc import Iterator, Sequence

from nyx_assets.explaining.gathering import Explanation
from nyx_assets.explaining.reading import Row

MOST_ROWS = 8
"""Choice: a page with its questions on one screen; `--json` has all."""
MOST_CHARACTERS = 100


def explanation_text(explanation: Explanation) -> str:
    """The explanation, one line a thing; what is cut is counted."""
    return "\n".join([f"{explanation.kind} {explanation.id}", *_lines(explanation)])


def _lines(one: Explanation) -> Iterator[str]:
    yield from _section("page", [_page(row) for row in one.pages])
    yield from _section("picture", [f"{row['file']}{'' if row['is_there'] else '  MISSING'}" for row in one.pictures])
    yield from _section(
        "chunk",
        [
            f"{row['chunk_id']}  {row['crawl']}, {row['modality']}, number {row['position']} of page {row['doc_id']}"
            for row in one.chunks
        ],
    )
    yield from _section("question", [_question(row) for row in one.questions])
    yield from _section(
        "hard negative of", [f"{row['qa_id']}  rank {row['rank']} by {row['miner']}" for row in one.negatives]
    )
    yield from _section(
        "preference",
        [
            f"{row['id']}  {row['role']}, grade {row['grade']}, by {row['generator']}: {_short(row['answer'])!r}"
            for row in one.preferences
        ],
    )
    yield from _section(
        "wrong answer",
        [f"{row['id']}  {row['blame']}, by {row['generator']}: {_short(row['answer'])!r}" for row in one.answers],
    )
    yield from _section("call", [_call(row) for row in one.calls])
    if one.calls:
        yield f"cost      {one.cost_usd:.6f} USD in {len(one.calls)} calls, {sum(row['is_cached'] for row in one.calls)} of them from kept replies"
    yield from _section("checkpoint", [_checkpoint(row) for row in one.checkpoints])
    yield from _section("index", [_version(row) for row in one.index_versions])


def _section(title: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines[:MOST_ROWS]:
        yield f"{title:<9} {line}"
    if len(lines) > MOST_ROWS:
        yield f"{title:<9} and {len(lines) - MOST_ROWS} more (--json)"


def _page(row: Row) -> str:
    return f"{row['doc_id']}  {row['url']}  {row['title'] or ''}  [{row['crawl']}, row {row['source_row']} of {row['source_file']}]"


def _question(row: Row) -> str:
    shown = f" and {len(row['images'])} pictures" if row["images"] else ""
    return (
        f"{row['qa_id']}  {_short(row['question'])!r}{shown} -> {_short(row['answer'])!r}; {_short(row['outcome'])}; written by "
        f"{row['teacher']} with {row['prompt_version']}, request {row['request_digest'][:12]}…, {row['cost_usd']:.6f} USD"
    )


def _call(row: Row) -> str:
    what = (
        f"refused: {_short(row['error'])}"
        if row["error"]
        else f"{row['input_tokens']} tokens in, {row['output_tokens']} out"
    )
    where = row["asset"] + (f" {row['partition']}" if row["partition"] else "")
    paid = "kept reply" if row["is_cached"] else f"{row['cost_usd']:.6f} USD"
    return f"{row['request_digest'][:12]}…  {row['time']}  {where}, {row['model']}: {what}, {paid}"


def _checkpoint(row: Row) -> str:
    if "how" in row:
        return f"{row['folder']}: {row['how']}"
    current = f", current {', '.join(row['is_current_of'])}" if row["is_current_of"] else ""
    return (
        f"{row['folder']}{current}: saw {row['chunks_seen']} chunks of {row['pages_seen']} pages and {row['questions_seen']} "
        f"questions of {', '.join(row['crawls_seen']) or 'no crawl'}; started from {row['start_from']}"
    )


def _version(row: Row) -> str:
    live = "live  " if row["is_live"] else ""
    held = (
        f"{len(row['chunk_ids'])} of these chunks"
        if "chunk_ids" in row
        else f"{row['chunks']} chunks of {', '.join(row['crawls'])}"
    )
    return f"{live}{row['version']}: {held}, {row['dim']} dims, by {row['checkpoint_folder']}, built {row['built_at']}"


def _short(text: str | None) -> str:
    line = " ".join((text or "").split())
    return line if len(line) <= MOST_CHARACTERS else line[: MOST_CHARACTERS - 1] + "…"
