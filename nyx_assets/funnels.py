"""Rows of `qa_funnel` added up over partitions, and as a person reads them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]

COUNTS = (
    "num_in", "num_out", "num_rejected", "num_marked", "num_refined", "num_calls", "num_refused_calls", "input_tokens",
    "output_tokens", "cost_usd",
)  # fmt: skip


def summed(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows of several partitions added up by step, in order of steps; rules most frequent first."""
    by_check: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["step"]):
        total = by_check.setdefault(
            row["check"],
            {
                "check": row["check"], "unit": row["unit"], "threshold": row["threshold"], "asked": None,
                "is_stand_in": False, "rules": Counter(), **dict.fromkeys(COUNTS, 0),
            },
        )  # fmt: skip
        for name in COUNTS:
            total[name] += row[name]
        total["asked"] = total["asked"] or row["asked"]
        total["is_stand_in"] |= row["is_stand_in"]
        total["rules"].update({one["rule"]: one["number"] for one in row["rejected_by_rule"]})
    return list(by_check.values())


HEADER = ("step", "in", "out", "rejected", "marked", "refined", "calls", "tokens", "cost USD", "why")


def cells_of(total: Row) -> list[str]:
    """A summed row as it is shown, under HEADER."""
    threshold = "" if total["threshold"] is None else f" ({total['threshold']:g})"
    rules = ", ".join(f"{rule} {number:,}" for rule, number in total["rules"].most_common())
    tokens = total["input_tokens"] + total["output_tokens"]
    counts = [total[name] for name in ("num_in", "num_out", "num_rejected", "num_marked", "num_refined", "num_calls")]
    return [
        f"{total['check']}{threshold}{' [chunks]' if total['unit'] == 'chunk' else ''}",
        *(f"{count:,}" for count in counts[:2]),
        *(f"{count:,}" if count else "" for count in (*counts[2:], tokens)),
        f"{total['cost_usd']:.4f}" if total["cost_usd"] else "",
        rules if rules != f"{total['check']} {total['num_rejected']:,}" else "",
    ]
