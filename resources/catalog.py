"""catalog.duckdb: every table as a view, what each was made from, and what every VLM call cost.

It holds no truth of its own: it is built anew beside its place, under a lock, and renamed. Open it read-only.
"""

import fcntl
import uuid
from pathlib import Path

import duckdb
import pyarrow as pa

from resources.home import Home

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


def build_catalog(home: Home, artifact_assets: list[str]) -> list[str]:
    """Write `<home>/catalog.duckdb`; returns the names of its views and tables.

    Args:
        artifact_assets: keys of the assets that are folders; their versions stand in `commits` beside those of tables.
    """
    place = home.root / "catalog.duckdb"
    with (home.root / ".catalog.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        beside = place.with_name(f".catalog.{uuid.uuid4().hex}.writing")
        try:
            names = _write(home, beside, artifact_assets)
            beside.replace(place)
        finally:
            beside.unlink(missing_ok=True)
    return names


def _write(home: Home, path: Path, artifact_assets: list[str]) -> list[str]:
    commits: list[dict] = []
    lineage: list[dict] = []
    with duckdb.connect(str(path)) as connection:
        for asset in home.tables.assets():
            if source := home.tables.view_sql(asset):
                connection.execute(f'CREATE VIEW "{asset.replace("/", "_")}" AS FROM {source}')
            for partition in home.tables.all_partitions(asset):
                _list_commit(home, asset, partition, commits, lineage)
        for asset in artifact_assets:
            _list_commit(home, asset, None, commits, lineage)
        for name, rows, schema in (("commits", commits, COMMITS), ("lineage", lineage, LINEAGE)):
            connection.register("rows", pa.Table.from_pylist(rows, schema=schema))
            connection.execute(f"CREATE TABLE {name} AS FROM rows")
            connection.unregister("rows")
        calls = home.root / "vlm" / "ledger"
        if any(calls.rglob("*.jsonl")):
            pattern = str(calls / "**" / "*.jsonl").replace("'", "''")
            connection.execute(
                f"CREATE VIEW vlm_calls AS FROM read_json('{pattern}', format = 'newline_delimited', "
                f"ignore_errors = true, columns = {VLM_CALLS_COLUMNS})"
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
