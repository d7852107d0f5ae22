"""What the report reads of a home: tables by name, each only where it is there."""

from collections.abc import Sequence
from typing import Any

from resources.home import Home
from resources.tables import sql_text

Row = dict[str, Any]


def has_table(home: Home, name: str) -> bool:
    """Whether a table, or a partition of it, is made."""
    return bool(home.tables.all_partitions(name))


def rows_of(home: Home, name: str) -> list[Row]:
    """Every row of a table that is small; [] if it is not made."""
    return home.tables.read(name).to_pylist() if has_table(home, name) else []


def selected(home: Home, name: str, sql: str) -> list[Row]:
    """What a query of one table gives; [] if it is not made. The query calls it by its name."""
    return home.tables.query(sql, of={name: None}).to_pylist() if has_table(home, name) else []


def with_ids(home: Home, name: str, column: str, ids: Sequence[str]) -> dict[str, Row]:
    """Rows of a table by id, for a few ids."""
    if not ids:
        return {}
    wanted = ", ".join(sql_text(one) for one in sorted(set(ids)))
    found = selected(home, name, f'SELECT * FROM "{name}" WHERE "{column}" IN ({wanted})')
    return {row[column]: row for row in found}
