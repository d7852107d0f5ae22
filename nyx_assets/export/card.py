"""The README of an exported data set: where it comes from, whose it is, what was thrown away, what it cost."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nyx_assets.export.nyxqa import SPLITS, NyxQA
from nyx_assets.export.spending import Cost
from nyx_assets.funnels import cells_of

UNKNOWN_LICENCE = "not stated by the source"


def card(
    data: NyxQA,
    cost: Cost,
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
        "## Funnel\n\nOver all crawls, what went into each step and why the rest did not come out:\n\n"
        + _table(("step", "in", "out", "rejected", "marked", "refined", "why"), _steps(data))
        + "\n\nWhat became of the pairs that came out:\n\n"
        + _table(("part", "rows"), _rest(data)),
        "## Cost\n\n" + _costs(cost),
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


def _steps(data: NyxQA) -> list[list[str]]:
    rows = []
    for step in data.funnel.steps:
        name, num_in, num_out, rejected, marked, refined, *_, why = cells_of(step)
        rows.append([name, num_in, num_out, rejected, marked, refined, why])
    return rows


def _rest(data: NyxQA) -> list[tuple[str, str]]:
    funnel = data.funnel
    splits = Counter(pair.split for pair in data.pairs)
    return [
        ("in another crawl already", f"{funnel.num_repeated:,}"),
        ("pairs", f"{funnel.num_pairs:,}"),
        *((f"– {split}", f"{splits[split]:,}") for split in SPLITS),
        ("hard negatives", f"{funnel.num_negatives:,}"),
        *((f"– refused: {reason}", f"{number:,}") for reason, number in funnel.refused_by_reason.items()),
    ]


def _costs(cost: Cost) -> str:
    said = (
        f"The {cost.num_requests:,} different requests that this data set was made of, by the ledger: each was paid for "
        "where it was made first."
    )
    if cost.num_unknown:
        said += f" {cost.num_unknown:,} of them are not in this home's ledger, so what they cost is not known here."
    if not cost.spent:
        return said
    rows = [
        (one.step, one.model, f"{one.num_calls:,}", f"{one.input_tokens:,}", f"{one.output_tokens:,}", f"{one.usd:.2f}")
        for one in cost.spent
    ]
    calls, inputs, outputs = (
        sum(getattr(one, name) for one in cost.spent) for name in ("num_calls", "input_tokens", "output_tokens")
    )
    usd = sum(one.usd for one in cost.spent)
    rows.append(("all", "", f"{calls:,}", f"{inputs:,}", f"{outputs:,}", f"{usd:.2f}"))
    return f"{said}\n\n" + _table(("step", "model", "calls", "input tokens", "output tokens", "USD"), rows)


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
