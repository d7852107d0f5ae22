"""What was made, what was dropped and why, and what it cost, as the page shows it."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from nyx_assets.funnels import HEADER, cells_of, summed
from nyx_assets.report.excerpts import Piece, excerpt, plain
from nyx_assets.report.reading import Row, rows_of, selected
from resources.home import Home

EXAMPLES_A_RULE = 2
MAX_RULES = 12
"""Choice: rules with examples, most frequent first; tables have the rest."""
MAX_REASON = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """What one rule of a table took out."""

    rule: str
    number: int
    reason: str
    """Of the first one."""
    examples: list[list[Piece]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Calls to one model in one step; tokens and money as they were when the replies were paid."""

    step: str
    model: str
    is_stand_in: bool
    calls: int
    input_tokens: int
    output_tokens: int
    usd: float


def funnel_totals(home: Home) -> list[Row]:
    """qa_funnel summed over partitions."""
    return summed(rows_of(home, "qa_funnel"))


def funnel_table(totals: list[Row]) -> dict[str, Any]:
    """Header and cells."""
    return {"header": HEADER, "rows": [cells_of(total) for total in totals]}


def dropped_pages(home: Home) -> list[Dropped]:
    """Pages and pictures that a crawl partition lost, by rule."""
    rows = selected(
        home,
        "rejected_documents",
        "SELECT kind || ': ' || rule AS name, count(*) AS number, any_value(reason) AS reason FROM rejected_documents "
        "GROUP BY 1 ORDER BY 2 DESC, 1",
    )
    return [
        Dropped(rule=row["name"], number=row["number"], reason=plain(row["reason"], MAX_REASON), examples=[])
        for row in rows
    ]


def dropped_pairs(home: Home) -> list[Dropped]:
    """QA pairs that a check refused, by rule, with the first questions."""
    rows = selected(
        home,
        "rejected_qa",
        "SELECT *, count(*) OVER (PARTITION BY rule) AS number FROM rejected_qa "
        f"QUALIFY row_number() OVER (PARTITION BY rule ORDER BY qa_id) <= {EXAMPLES_A_RULE} ORDER BY number DESC, rule, qa_id",
    )
    by_rule: dict[str, list[Row]] = {}
    for row in rows:
        by_rule.setdefault(row["rule"], []).append(row)
    return [
        Dropped(
            rule=rule,
            number=found[0]["number"],
            reason=plain(found[0]["reason"] or "", MAX_REASON),
            examples=[
                [*excerpt(row["question"], home.images), Piece(text=f"→ {plain(row['answer'] or '', 80)}")]
                for row in found
                if row["question"]
            ],
        )
        for rule, found in list(by_rule.items())[:MAX_RULES]
    ]


def dropped_negatives(home: Home) -> list[Dropped]:
    """Hard negatives that mining refused, by reason."""
    sql = "SELECT reason, count(*) AS number FROM refused_negatives GROUP BY 1 ORDER BY 2 DESC, 1"
    return [
        Dropped(rule=row["reason"], number=row["number"], reason="", examples=[])
        for row in selected(home, "refused_negatives", sql)
    ]


def dropped_public(home: Home) -> list[Dropped]:
    """Rows of public sets that are no example, by rule."""
    sql = (
        "SELECT source || ': ' || rule AS name, count(*) AS number, any_value(reason) AS reason "
        "FROM refused_public_examples GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    return [
        Dropped(rule=row["name"], number=row["number"], reason=plain(row["reason"], MAX_REASON), examples=[])
        for row in selected(home, "refused_public_examples", sql)
    ]


def costs(home: Home) -> list[Cost]:
    """What NyxQA, captions and feedback cost, by step and model; steps without calls are left out."""
    found = [
        Cost(
            step=total["check"],
            model=total["asked"],
            is_stand_in=total["is_stand_in"],
            calls=total["num_calls"],
            input_tokens=total["input_tokens"],
            output_tokens=total["output_tokens"],
            usd=total["cost_usd"],
        )
        for total in funnel_totals(home)
        if total["num_calls"]
    ]
    tries = _asked(home, "feedback", "feedback_preferences", "generator")
    further = [
        Cost(
            step=f"feedback round {row['round']}",
            model=tries[0].model,
            is_stand_in=row["is_stand_in"],
            calls=row["calls"],
            input_tokens=row["input_tokens"],
            output_tokens=row["output_tokens"],
            usd=row["cost_usd"],
        )
        for row in rows_of(home, "feedback_rounds")
        if row["round"] > 1 and tries
    ]
    return [*found, *_asked(home, "captions", "chunk_captions", "captioner"), *tries, *further]


def _asked(home: Home, step: str, table: str, model: str) -> list[Cost]:
    """What the rows of a table, one for each call, come to; by the column that names the model."""
    return [
        Cost(
            step=step,
            model=row["model"],
            is_stand_in=row["is_stand_in"],
            calls=row["calls"],
            input_tokens=row["input_tokens"] or 0,
            output_tokens=row["output_tokens"] or 0,
            usd=row["usd"] or 0.0,
        )
        for row in selected(
            home,
            table,
            f"SELECT {model} AS model, bool_or(is_stand_in) AS is_stand_in, count(*) AS calls, "
            "sum(input_tokens)::BIGINT AS input_tokens, sum(output_tokens)::BIGINT AS output_tokens, "
            f"sum(cost_usd)::DOUBLE AS usd FROM {table} GROUP BY 1 ORDER BY 1",
        )
    ]


def stand_ins(home: Home) -> list[str]:
    """What was written by the offline stand-in, which is no model, as sentences; none if every role was a model."""
    said = []
    pairs = selected(home, "filtered_qa", "SELECT count(*) AS every, count_if(is_stand_in) AS played FROM filtered_qa")
    if pairs and (played := pairs[0]["played"]):
        said.append(f"{played:,} of {pairs[0]['every']:,} questions and answers were written by it")
    asked = Counter(cost.step for cost in costs(home) if cost.is_stand_in and cost.step != "write")
    if asked:
        said.append(f"it replied in the steps {', '.join(sorted(asked))}")
    if any(row["is_stand_in"] for row in rows_of(home, "rag_scores")):
        said.append("it gave the answers that answer scores rest on")
    return said
