"""What is known of calls that were made: from the ledger, and from the funnels of partitions that are through."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from nyx_assets.funnels import summed
from nyx_assets.planning import Range
from resources.home import Home
from resources.vlm_roles import ledger_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class PastCalls:
    """What earlier calls of an asset to a model took on average."""

    number: int
    input_tokens: float
    output_tokens: float
    seconds: Range
    """Quartiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpentCalls:
    """What an asset has asked in all its partitions, however often its runs were killed and started again."""

    calls: int
    """Requests that it was the first to ask, each once: what a kept reply costs nothing of."""
    cached_calls: int
    """Requests that another asset had asked before. The stand-in, whose replies are not kept, was asked again."""
    input_tokens: int
    output_tokens: int
    cost_usd: float


def spent_calls(home: Home, asset: str) -> SpentCalls:
    """What the ledger knows of an asset."""
    rows = _ledger(
        home,
        "WITH first AS (SELECT request_digest, arg_min(asset, time) AS asset FROM calls WHERE error IS NULL AND NOT "
        "is_cached GROUP BY 1), own AS (SELECT request_digest, max(input_tokens) AS input_tokens, max(output_tokens) AS "
        "output_tokens, max(cost_usd) AS cost_usd FROM calls WHERE asset = $1 AND error IS NULL GROUP BY 1) "
        "SELECT count(*) FILTER (first.asset = $1) AS calls, count(*) FILTER (first.asset IS DISTINCT FROM $1) AS cached_calls, "
        "coalesce(sum(input_tokens) FILTER (first.asset = $1), 0) AS input_tokens, "
        "coalesce(sum(output_tokens) FILTER (first.asset = $1), 0) AS output_tokens, "
        "coalesce(sum(cost_usd), 0) AS cost_usd FROM own LEFT JOIN first USING (request_digest)",
        [asset],
    )
    if not rows:
        return SpentCalls(calls=0, cached_calls=0, input_tokens=0, output_tokens=0, cost_usd=0.0)
    row = rows[0]
    return SpentCalls(
        calls=row["calls"],
        cached_calls=row["cached_calls"],
        input_tokens=int(row["input_tokens"]),  # sums are DuckDB's wide integers
        output_tokens=int(row["output_tokens"]),
        cost_usd=row["cost_usd"],
    )


def past_calls(home: Home) -> dict[tuple[str, str], PastCalls]:
    """What the ledger knows of paid calls, by asset and model."""
    rows = _ledger(
        home,
        "SELECT asset, model, count(*) AS number, avg(input_tokens) AS input_tokens, avg(output_tokens) AS output_tokens, "
        "quantile_cont(latency_seconds, [0.25, 0.5, 0.75]) AS seconds FROM calls WHERE NOT is_cached AND error IS NULL "
        "GROUP BY asset, model",
        [],
    )
    return {
        (row["asset"], row["model"]): PastCalls(
            number=row["number"],
            input_tokens=row["input_tokens"],
            output_tokens=row["output_tokens"],
            seconds=Range(*row["seconds"]),
        )
        for row in rows
    }


def answered_before(home: Home, asset: str, partition: str) -> dict[str, int]:
    """By model: different requests of an asset that were answered, perhaps in a run that did not finish."""
    rows = _ledger(
        home,
        "SELECT model, count(DISTINCT request_digest) AS number FROM calls WHERE asset = ? AND partition = ? "
        "AND error IS NULL GROUP BY model",
        [asset, partition],
    )
    return {row["model"]: row["number"] for row in rows}


def funnel_sums(home: Home) -> Mapping[str, Mapping[str, Any]]:
    """By check: the funnel's counts, added up over the partitions that are through."""
    if not home.tables.partitions("qa_funnel"):
        return {}
    return {row["check"]: row for row in summed(home.tables.read("qa_funnel").to_pylist())}


def _ledger(home: Home, sql: str, values: list[str]) -> list[dict[str, Any]]:
    """The answer of DuckDB over the ledger's rows, named `calls`."""
    folder = ledger_folder(home)
    if not any(folder.glob("*.jsonl")):
        return []
    pattern = str(folder / "*.jsonl").replace("'", "''")
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE VIEW calls AS FROM read_json('{pattern}', format = 'newline_delimited', ignore_errors = true, "
            "columns = {time: 'VARCHAR', asset: 'VARCHAR', partition: 'VARCHAR', model: 'VARCHAR', request_digest: 'VARCHAR', "
            "input_tokens: 'BIGINT', output_tokens: 'BIGINT', cost_usd: 'DOUBLE', latency_seconds: 'DOUBLE', is_cached: 'BOOLEAN', "
            "error: 'VARCHAR'})"
        )
        cursor = connection.execute(sql, values)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
