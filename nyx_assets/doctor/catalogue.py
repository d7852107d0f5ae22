"""Does the catalogue open, and do all tables have a footer that can be read?"""

import duckdb
import pyarrow as pa

from nyx_assets.doctor.findings import Finding, bad, good, note, one_line
from nyx_assets.quarantine import MARK, quarantined_partitions
from resources.home import Home
from training_kernels.errors import DataError

MAX_NAMED = 5


def examine_catalogue(home: Home) -> Finding:
    """Whether `catalog.duckdb` opens read-only and answers from its views."""
    file = home.root / "catalog.duckdb"
    if not file.is_file():
        return note("catalogue", f"{file} is not there", "`nyx run` makes it")
    try:
        with duckdb.connect(str(file), read_only=True) as connection:
            [(num_commits,)] = connection.execute("SELECT count(*) FROM commits").fetchall()
            views = [
                name
                for (name,) in connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
            ]
            for view in views:
                connection.execute(f'SELECT * FROM "{view}" LIMIT 1').fetchall()
    except duckdb.Error as error:
        return bad(
            "catalogue", f"{file}: {one_line(error)[:300]}", f"delete {file} and run `nyx run`, which makes it again"
        )
    return good("catalogue", f"{num_commits:,} versions of tables and folders, {len(views)} views, all answer")


def examine_tables(home: Home) -> Finding:
    """Whether every table can be read as far as its footer, and which tables and crawl partitions are quarantined."""
    torn, marked, number = [], [], 0
    for asset in home.tables.assets():
        for partition in home.tables.all_partitions(asset):
            number += 1
            name = asset if partition is None else f"{asset} {partition}"
            try:
                home.tables.commit(asset, partition)
            except (DataError, pa.ArrowException, OSError) as error:
                torn.append(f"{name} cannot be read ({one_line(error)[:120]})")
            reason = home.tables.quarantine_reason(asset, partition)
            if reason is not None and not reason.startswith(MARK):
                marked.append(f"{name} ({one_line(reason)[:120]})")
    if torn:
        return bad(
            "tables",
            "; ".join(torn),
            f"delete those files under {home.tables.root} and run `nyx run`, which makes them again",
        )
    out = [f"{one.crawl} ({one_line(one.reason)[:120]})" for one in quarantined_partitions(home)]
    said, remedies = [], []
    if out:
        said.append(f"{len(out)} crawl partitions are out of every run: {'; '.join(out[:MAX_NAMED])}")
        remedies.append("deliver them again, or mend what the reason names and `nyx quarantine release CRAWL`")
    if marked:
        said.append(f"{len(marked)} quarantined: {'; '.join(marked[:MAX_NAMED])}")
        remedies.append("mend what the reason names, then `nyx run` makes the quarantined tables again")
    if said:
        return bad("tables", "; ".join(said), "; ".join(remedies))
    return good("tables", f"{number:,} whole, none quarantined")
