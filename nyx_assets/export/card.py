"""The README of an exported data set: where it comes from, whose it is, what was thrown away, what it cost."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from nyx_assets.export.nyxqa import SPLITS, NyxQA
from resources.home import Home

UNKNOWN_LICENCE = "not stated by the source"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What the calls to one model cost that were made for NyxQA, by the ledger."""

    model: str
    num_calls: int
    """Answered and paid for; replies from the cache do not count."""
    input_tokens: int
    output_tokens: int
    usd: float


def spending(home: Home) -> list[Spending]:
    """By model, of all calls in the home's ledger."""
    ledger = home.root / "vlm" / "ledger"
    if not any(ledger.glob("*.jsonl")):
        return []
    with duckdb.connect(":memory:") as connection:
        rows = connection.execute(
            "SELECT model, count(*), sum(input_tokens)::BIGINT, sum(output_tokens)::BIGINT, sum(cost_usd)::DOUBLE "
            "FROM read_json(?, format = 'newline_delimited', union_by_name = true) "
            "WHERE NOT is_cached AND error IS NULL GROUP BY model ORDER BY model",
            [str(ledger / "*.jsonl")],
        ).fetchall()
    return [
        Spending(model=model, num_calls=calls, input_tokens=inputs, output_tokens=outputs, usd=usd)
        for model, calls, inputs, outputs, usd in rows
    ]


def card(
    data: NyxQA,
    spent: Sequence[Spending],
    *,
    export_format: str,
    counts: Mapping[str, int],
    how_to_read: str,
    configurations: Sequence[Mapping[str, object]] = (),
) -> str:
    """Markdown with the header that the Hugging Face hub reads."""
    sections = [
        _header(configurations),
        "# NyxQA",
        "Questions about chunks of web pages in which text and pictures alternate, with the chunk that answers each, and "
        f"chunks that look right and do not. Exported by Nyx in the format `{export_format}`.",
        *_warnings(data),
        "## Content\n\n" + _table(("part", "rows"), [(name, f"{number:,}") for name, number in counts.items()]),
        f"## How to read it\n\n{how_to_read}",
        "## Sources and licences\n\n"
        "Texts and pictures belong to the pages that they come from; each chunk's page and licence:\n\n"
        + _table(("licence", "pages", "chunks"), _licences(data)),
        "## Funnel\n\n" + _table(("step", "rows"), _funnel(data)),
        "## Cost\n\n" + _costs(spent),
        "## Provenance\n\nData versions of the tables that it was read from:\n\n"
        + _table(("table", "version"), list(data.versions.items())),
    ]
    return "\n\n".join(sections) + "\n"


def _header(configurations: Sequence[Mapping[str, object]]) -> str:
    fields: dict[str, Any] = {
        "pretty_name": "NyxQA",
        "license": "other",
        "task_categories": ["visual-document-retrieval", "question-answering"],
        "tags": ["multimodal-retrieval", "synthetic", "nyx"],
    }
    if configurations:
        fields["configs"] = list(configurations)
    # JSON is YAML, and nothing in it needs quoting rules
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()]
    return "\n".join(["---", *lines, "---"])


def _warnings(data: NyxQA) -> list[str]:
    stand_ins = sum(pair.is_stand_in for pair in data.pairs)
    if not stand_ins:
        return []
    return [
        f"> **Warning: {stand_ins:,} of {len(data.pairs):,} pairs were written by the offline stand-in, by rules and not by "
        "a model.** They show that the pipeline runs; do not train on them or report scores on them."
    ]


def _licences(data: NyxQA) -> list[tuple[str, str, str]]:
    chunks: Counter[str] = Counter()
    pages: dict[str, set[str]] = {}
    for chunk in data.chunk_by_id.values():
        licence = chunk.licence or UNKNOWN_LICENCE
        chunks[licence] += 1
        pages.setdefault(licence, set()).add(chunk.doc_id)
    return [(licence, f"{len(pages[licence]):,}", f"{number:,}") for licence, number in chunks.most_common()]


def _funnel(data: NyxQA) -> list[tuple[str, str]]:
    funnel = data.funnel
    splits = Counter(pair.split for pair in data.pairs)
    return [
        ("chunks", f"{funnel.num_chunks:,}"),
        ("drafts of the teacher", f"{funnel.num_drafts:,}"),
        *((f"– rejected: {rule}", f"{number:,}") for rule, number in funnel.rejected_by_rule.items()),
        ("– in another crawl already", f"{funnel.num_repeated:,}"),
        ("pairs", f"{funnel.num_pairs:,}"),
        *((f"– {split}", f"{splits[split]:,}") for split in SPLITS),
        ("hard negatives", f"{funnel.num_negatives:,}"),
        *((f"– refused: {reason}", f"{number:,}") for reason, number in funnel.refused_by_reason.items()),
    ]


def _costs(spent: Sequence[Spending]) -> str:
    if not spent:
        return "No call of a VLM is in the ledger."
    rows = [
        (one.model, f"{one.num_calls:,}", f"{one.input_tokens:,}", f"{one.output_tokens:,}", f"{one.usd:.2f}")
        for one in spent
    ]
    return "All calls in the ledger of the home that it was made in:\n\n" + _table(
        ("model", "calls", "input tokens", "output tokens", "USD"), rows
    )


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
