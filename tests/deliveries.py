"""Small real deliveries in the OBELICS schema, a page a text."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nyx_assets.records import LANDED_CRAWL
from resources.home import Home

OBELICS = pa.schema(
    [
        ("images", pa.list_(pa.string())),
        ("texts", pa.list_(pa.string())),
        ("metadata", pa.string()),
        ("general_metadata", pa.string()),
    ]
)


def write_pages(file: Path, *texts: str, host: str = "") -> Path:
    """A file of pages https://HOST.example/NUMBER, the host named like the file if no other is named."""
    rows = [
        {
            "images": [None],
            "texts": [text],
            "metadata": "[null]",
            "general_metadata": json.dumps({"url": f"https://{host or file.stem}.example/{number}"}),
        }
        for number, text in enumerate(texts)
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=OBELICS), file)
    return file


def deliver(crawl: Path, key: str, *texts: str, is_whole: bool = True) -> Path:
    """A delivery in a folder of its own; marked whole, or left to be seen unchanged twice. Returns its file."""
    file = write_pages(crawl / key / "part-0.parquet", *texts, host=key)
    if is_whole:
        (crawl / key / "_SUCCESS").touch()
    return file


def break_rows(file: Path) -> None:
    """Damage what stands before the footer: the delivery is registered, and cannot be read."""
    whole = file.read_bytes()
    file.write_bytes(whole[:4] + bytes(200) + whole[204:])


def count_one_more_page(home: Home, crawl: str) -> None:
    """The listing of a delivery says that it has a page more than it has: a check finds that one is lost."""
    commit = home.tables.commit("landed_crawl", crawl)
    assert commit is not None
    rows = home.tables.read("landed_crawl", partition=crawl, columns=LANDED_CRAWL.names).to_pylist()
    rows[0]["num_rows"] += 1
    with home.tables.write("landed_crawl", LANDED_CRAWL, partition=crawl, provenance=commit.provenance) as table:
        table.append(rows)
