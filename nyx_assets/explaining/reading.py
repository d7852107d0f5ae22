"""What an explanation reads of a home: rows of tables by a condition, and rows of the ledger by request."""

from collections.abc import Collection, Sequence
from typing import Any

import duckdb

from resources.home import LEDGER, Home
from resources.tables import sql_text
from resources.vlm_roles import ledger_folder

Row = dict[str, Any]

LEDGER_COLUMNS = (
    "time VARCHAR, asset VARCHAR, partition VARCHAR, model VARCHAR, request_digest VARCHAR, input_tokens BIGINT, "
    "output_tokens BIGINT, cost_usd DOUBLE, latency_seconds DOUBLE, finish_reason VARCHAR, is_cached BOOLEAN, "
    "is_stand_in BOOLEAN, error VARCHAR"
)


def rows_where(home: Home, table: str, condition: str, columns: Sequence[str] = ()) -> list[Row]:
    """Rows of a table that is readable, with their `crawl` where it is partitioned; [] if it was never made."""
    source = home.tables.view_sql(table)
    if not source:
        return []
    wanted = ", ".join(f'"{column}"' for column in columns) or "*"
    view = table.replace("/", "_")
    return home.tables.query(f'SELECT {wanted} FROM "{view}" WHERE {condition}', of={table: None}).to_pylist()


def is_in(column: str, ids: Collection[str]) -> str:
    """The condition that a column has one of these values; false for none."""
    return f'"{column}" IN ({_listed(ids)})' if ids else "false"


def overlaps(column: str, ids: Collection[str]) -> str:
    """The condition that a list holds one of these values."""
    return f'list_has_any("{column}", [{_listed(ids)}])' if ids else "false"


def shows(column: str, images: Collection[str]) -> str:
    """The condition that segments show one of these pictures."""
    if not images:
        return "false"
    return f'list_has_any(list_transform("{column}", lambda one: one.image), [{_listed(images)}])'


def _listed(ids: Collection[str]) -> str:
    return ", ".join(sql_text(one) for one in sorted(ids))


def bring_records(home: Home) -> None:
    """Have here what is read as files and other hosts may have written: ledger, lineage, pointers of checkpoints."""
    for folder in (LEDGER, "lineage", "artifacts"):
        home.mirror.bring(folder)


def ledger_rows(home: Home, digests: Collection[str]) -> list[Row]:
    """Every call of these requests, cached ones and refusals as well, in the order of time."""
    folder = ledger_folder(home)
    if not digests or not any(folder.glob("*.jsonl")):
        return []
    columns = ", ".join(f"{name}: '{kind}'" for name, kind in (one.split() for one in LEDGER_COLUMNS.split(", ")))
    with duckdb.connect() as connection:
        cursor = connection.execute(
            f"SELECT * FROM read_json({sql_text(str(folder / '*.jsonl'))}, format = 'newline_delimited', "
            f"ignore_errors = true, columns = {{{columns}}}) WHERE {is_in('request_digest', digests)} ORDER BY time"
        )
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
