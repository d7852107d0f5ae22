"""catalog.duckdb: every table as a view, what each was made from, and what every VLM call cost.

It holds no truth of its own: it is built anew beside its place, under a lock, and renamed. Open it read-only.

Where hosts share a home, each has a catalogue of its own, built from all that they made; its views name files of the store
by their URL, which DuckDB reads with its extension httpfs, or in Python through `readable_by` (stores.py).

DuckDB resolves a relative path in a view by the folder of whoever asks, so views name their files by the home's own
path. After a home was moved, `SET VARIABLE nyx_home = '<its folder>'` makes all of them answer, and the next run builds
them anew.
"""

import fcntl
import uuid
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from resources.home import LEDGER, Home
from resources.stores import readable_by
from resources.tables import sql_text

FILE = "catalog.duckdb"
"""Relative to the home."""
HOME_VARIABLE = "nyx_home"
"""DuckDB variable that, when set, stands for the folder of the home."""

COMMITS = pa.schema(
    [
        ("asset", pa.string()),
        ("crawl", pa.string()),
        ("data_version", pa.string()),
        ("code_version", pa.string()),
        ("num_rows", pa.int64()),
        ("written_at", pa.string()),
        ("quarantined_because", pa.string()),
    ]
)
LINEAGE = pa.schema(
    [("asset", pa.string()), ("crawl", pa.string()), ("input", pa.string()), ("input_data_version", pa.string())]
)
VLM_CALLS_COLUMNS = """{
    time: 'VARCHAR', asset: 'VARCHAR', partition: 'VARCHAR', model: 'VARCHAR', request_digest: 'VARCHAR',
    input_tokens: 'BIGINT', output_tokens: 'BIGINT', cost_usd: 'DOUBLE', latency_seconds: 'DOUBLE',
    is_cached: 'BOOLEAN', is_stand_in: 'BOOLEAN', error: 'VARCHAR'}"""


def build_catalog(home: Home, assets: Sequence[str]) -> list[str]:
    """Write `<home>/catalog.duckdb`; returns the names of its views and tables.

    Args:
        assets: keys of all assets; the versions of those that are folders stand in `commits` beside those of tables.
    """
    place = home.root / FILE
    home.root.mkdir(parents=True, exist_ok=True)
    home.look_again()
    home.mirror.send(LEDGER)
    home.mirror.bring(LEDGER)
    with (home.root / ".catalog.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left_over in home.root.glob(
            ".catalog.*.writing"
        ):  # of a builder that was killed: only one builds at a time
            left_over.unlink()
        beside = place.with_name(f".catalog.{uuid.uuid4().hex}.writing")
        try:
            names = _write(home, beside, assets)
            beside.replace(place)
        finally:
            beside.unlink(missing_ok=True)
    return names


def drop_foreign_catalog(home: Home) -> None:
    """Remove a catalogue that was built when the home lay in another folder, or that cannot be read.

    So is that of a home that hosts share: another one may have written tables since, and made its own catalogue of them.
    """
    place = home.root / FILE
    if not place.is_file():
        return
    try:
        with duckdb.connect(str(place), read_only=True) as connection:
            built_in = connection.execute("SELECT root FROM home").fetchall()
    except duckdb.Error:
        built_in = []
    if built_in != [(str(home.root),)] or home.is_shared:
        place.unlink(missing_ok=True)


def _write(home: Home, path: Path, assets: Sequence[str]) -> list[str]:
    commits: list[dict] = []
    lineage: list[dict] = []
    root_sql = f"coalesce(getvariable({sql_text(HOME_VARIABLE)}), {sql_text(home.store)})"
    ledger_sql = sql_text(str(home.root)) if home.is_shared else root_sql
    tables = home.tables.assets()
    with duckdb.connect(str(path)) as connection, readable_by(connection, home.tables.fs):
        for asset in tables:
            if source := home.tables.view_sql(asset, root_sql=f"{root_sql} || '/tables'"):
                connection.execute(f'CREATE VIEW "{asset.replace("/", "_")}" AS FROM {source}')
            for partition in home.tables.all_partitions(asset):
                _list_commit(home, asset, partition, commits, lineage)
        for asset in sorted(set(assets) - set(tables)):
            _list_commit(home, asset, None, commits, lineage)
        for name, rows, schema in (("commits", commits, COMMITS), ("lineage", lineage, LINEAGE)):
            connection.register("rows", pa.Table.from_pylist(rows, schema=schema))
            connection.execute(f"CREATE TABLE {name} AS FROM rows")
            connection.unregister("rows")
        connection.execute("CREATE TABLE home AS SELECT ? AS root", [str(home.root)])
        if any((home.root / LEDGER).rglob("*.jsonl")):
            connection.execute(
                f"CREATE VIEW vlm_calls AS FROM read_json({ledger_sql} || '/{LEDGER}/**/*.jsonl', "
                f"format = 'newline_delimited', ignore_errors = true, columns = {VLM_CALLS_COLUMNS})"
            )
        return [
            row[0]
            for row in connection.execute("SELECT table_name FROM information_schema.tables ORDER BY 1").fetchall()
        ]


def _list_commit(home: Home, asset: str, partition: str | None, commits: list[dict], lineage: list[dict]) -> None:
    commit = home.commit(asset, partition)
    if commit is None:
        return
    commits.append(
        {
            "asset": asset,
            "crawl": partition,
            "data_version": commit.data_version,
            "code_version": commit.provenance.code_version,
            "num_rows": commit.num_rows,
            "written_at": commit.written_at,
            "quarantined_because": home.tables.quarantine_reason(asset, partition),
        }
    )
    lineage.extend(
        {"asset": asset, "crawl": partition, "input": name, "input_data_version": version}
        for name, version in commit.provenance.inputs.items()
    )
