"""One takedown from its request to the report; what is done can be done again, so a run that was cut off goes on."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nyx_assets.lineage import checkpoints_that_saw
from nyx_assets.takedown.finding import Removal, find, rows_of, without_removed
from nyx_assets.takedown.stores import files_that_still_name, remove_from_suites
from nyx_assets.takedown.this_host import note_done_here, remove_from_host
from nyx_assets.taken_down import RULE, Takedown, Target, keep_takedown, takedowns, taken_down_row, veiled
from resources.home import Home
from resources.tables import utc_now
from resources.vector_index import VectorIndex
from resources.vlm_roles import replies_of
from training_kernels.errors import DataError

REJECTED = "rejected_documents"
TAKEDOWN = "takedown"
MAX_LOOKS = 10
"""Choice: what was begun before is made of at most as many tables one after the other."""
OTHER_HOSTS = (
    "it is gone from the store and from this host; every other host has an index, a report, previews of Dagster and a log of "
    "fetches of its own: run `nyx takedown` or `nyx run` there. Previews in a Postgres of Dagster's are not reached"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TakedownReport:
    """What was removed, or would be, and who has seen it."""

    target: str
    kind: str
    is_dry_run: bool
    pages: list[dict[str, Any]]
    rows: Mapping[str, int]
    """Rows taken away or changed by table; for a dry run as well."""
    pictures: int
    replies: int
    fetch_records: int
    suite_rows: int
    index_chunks: Mapping[str, int]
    """Chunks taken out of each version of the index."""
    previews: int
    """Entries of Dagster's records whose preview was blanked."""
    checkpoints: list[dict[str, str]]
    """Checkpoints that have seen it; weights are not changed by a takedown."""
    files_left: list[str]
    """Files of the home that still name a picture or page of it."""
    is_shared: bool
    """Other hosts have a part of their own to remove it from."""

    @property
    def found_nothing(self) -> bool:
        counts = (self.pictures, self.replies, self.fetch_records, self.suite_rows)
        return not (self.pages or self.rows or self.index_chunks or any(counts))

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"found_nothing": self.found_nothing}


def take_down(
    home: Home, open_index: Callable[[], VectorIndex], target: Target, *, log: Callable[[str], None]
) -> TakedownReport:
    """Remove what the target stands for, and see to it that a later delivery does not bring it back.

    The request and all that it has found are written down first, and marked as done last: until then, asking for the
    same again goes on where it stopped. Of a home that hosts share, the part of this host is removed as well, and that of
    another one when that comes by (this_host.py). Raises IndexUnavailable while another process holds the index.
    """
    with home.alone("main_job", log=log), home.held(TAKEDOWN, log=log):
        request = _request_of(home, target)
        removal = _found(home, target, request)
        pages, gone = removal.pages, _remove_from_store(home, removal)
        for look in range(1, MAX_LOOKS + 1) if home.is_shared else ():
            # what others had begun before they could know of the request may have brought some back
            home.wait_for_others([TAKEDOWN], log=log)
            removal = _found(home, target, request)
            if not (again := _remove_from_store(home, removal)):
                break
            if look == MAX_LOOKS:
                raise DataError(
                    f"{target.kind} {target.kept_value} came back to {home.store} {look} times while it was removed "
                    f"({again}); end what writes there, look at the right to delete, and ask for the same again"
                )
            pages, gone = [*pages, *removal.pages], gone + again
        own = remove_from_host(
            home,
            open_index,
            chunk_ids=removal.chunk_ids,
            images=removal.images,
            addresses=removal.addresses,
            names_pages=bool(removal.ids),
            log=log,
        )
        report = TakedownReport(
            target=target.kept_value,
            kind=target.kind,
            is_dry_run=False,
            pages=pages,
            rows=gone.rows,
            pictures=gone.pictures,
            replies=gone.replies,
            fetch_records=own.fetch_records,
            suite_rows=gone.suite_rows,
            index_chunks=own.index_chunks,
            previews=own.previews,
            checkpoints=_checkpoints(home, removal),
            files_left=files_that_still_name(home, removal.images | removal.doc_ids) if removal.ids else [],
            is_shared=home.is_shared,
        )
        request.veiled = sorted({*request.veiled, *map(veiled, removal.images | removal.addresses)})
        request.left, request.is_done = {}, True
        keep_takedown(home, request)
        note_done_here(home, [request])
    return report


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gone:
    """What was removed from what hosts share."""

    rows: Mapping[str, int]
    replies: int
    suite_rows: int
    pictures: int

    def __add__(self, other: "_Gone") -> "_Gone":
        return _Gone(
            rows=dict(Counter(self.rows) + Counter(other.rows)),
            replies=self.replies + other.replies,
            suite_rows=self.suite_rows + other.suite_rows,
            pictures=self.pictures + other.pictures,
        )

    def __bool__(self) -> bool:
        return bool(self.rows or self.replies or self.suite_rows or self.pictures)


def _remove_from_store(home: Home, removal: Removal) -> _Gone:
    return _Gone(
        rows=remove_from_tables(home, removal),
        replies=replies_of(home).remove_about(removal.segments, removal.request_digests),
        suite_rows=remove_from_suites(home, removal.ids, removal.images),
        pictures=sum(home.images.remove(digest) for digest in sorted(removal.images)),
    )


def _found(home: Home, target: Target, request: Takedown) -> Removal:
    """What is to be removed, and the request with all of it written down."""
    removal = find(home, target, request.left)
    known = {veiled(page["url"] or "") for page in removal.pages}
    if target.kind in ("image", "document"):
        request.addresses = sorted({*request.addresses, *known})
    request.doc_ids = sorted({*request.doc_ids, *removal.doc_ids})
    request.chunk_ids = sorted({*request.chunk_ids, *removal.chunk_ids})
    request.left, request.is_done = removal.to_lists(), False
    keep_takedown(home, request)
    return removal


def plan_takedown(home: Home, target: Target) -> TakedownReport:
    """What `take_down` would remove from tables, and the checkpoints that have seen it; nothing is changed."""
    removal = find(home, target, _request_of(home, target).left)
    rows: dict[str, int] = {}
    for asset in home.tables.assets():
        for partition in home.tables.all_partitions(asset):
            for table in home.tables.raw_batches(asset, partition):
                if gone := table.num_rows - without_removed(table, removal).num_rows:
                    rows[asset] = rows.get(asset, 0) + gone
    return TakedownReport(
        target=target.kept_value,
        kind=target.kind,
        is_dry_run=True,
        pages=removal.pages,
        rows=rows,
        pictures=sum(home.images.exists(digest) for digest in removal.images),
        replies=0,
        fetch_records=0,
        suite_rows=0,
        index_chunks={},
        previews=0,
        checkpoints=_checkpoints(home, removal),
        files_left=[],
        is_shared=home.is_shared,
    )


def _request_of(home: Home, target: Target) -> Takedown:
    """The request on the list, or a new one."""
    new = Takedown(kind=target.kind, value=target.kept_value, asked_at=utc_now(), is_done=False)
    return next((request for request in takedowns(home) if request.name == new.name), new)


def _checkpoints(home: Home, removal: Removal) -> list[dict[str, str]]:
    if not removal.ids:
        return []
    return [asdict(one) for one in checkpoints_that_saw(home, frozenset(removal.chunk_ids | removal.qa_ids))]


def remove_from_tables(home: Home, removal: Removal) -> dict[str, int]:
    """Rows taken away or changed by table.

    `rejected_documents` comes first and says why the pages are gone; `crawl_documents` comes last, so that until all
    else is done the pages are found again.
    """
    assets = [asset for asset in home.tables.assets() if asset not in (REJECTED, "crawl_documents")]
    rows: dict[str, int] = {}
    for asset in (REJECTED, *assets, "crawl_documents"):
        for partition in home.tables.all_partitions(asset):
            added = _new_rejections(home, removal, partition) if asset == REJECTED else []
            changed = home.tables.amend(asset, partition, lambda table: without_removed(table, removal), added=added)
            if changed:
                rows[asset] = rows.get(asset, 0) + changed
    return rows


def _new_rejections(home: Home, removal: Removal, crawl: str | None) -> list[dict[str, Any]]:
    known = {
        (row["crawl"], row["source_file"], row["source_row"]) for row in rows_of(home, REJECTED) if row["rule"] == RULE
    }
    return [
        taken_down_row(page)
        for page in removal.pages
        if page["crawl"] == crawl and (crawl, page["source_file"], page["source_row"]) not in known
    ]


def report_text(report: TakedownReport) -> str:
    """The report for a person."""
    verb = "would go" if report.is_dry_run else "removed"
    if report.found_nothing:
        said = "" if report.is_dry_run else "; it is on the list, so a later delivery does not bring it in"
        return f"{report.kind} {report.target}: nothing found{said}"
    lines = [f"{report.kind} {report.target}: {len(report.pages)} pages {verb}"]
    lines += [f"  {page['crawl']}  {page['url'] or page['source_file']}  {page['doc_id']}" for page in report.pages]
    lines += [f"  {number:,} rows of {table}" for table, number in sorted(report.rows.items())]
    lines += [f"  {number:,} chunks of index version {version}" for version, number in report.index_chunks.items()]
    lines += [
        f"  {number:,} {what}"
        for what, number in (
            ("pictures", report.pictures),
            ("kept replies", report.replies),
            ("records of fetches", report.fetch_records),
            ("rows and pictures of suites", report.suite_rows),
            ("previews in Dagster's records", report.previews),
        )
        if number
    ]
    lines += [f"checkpoint {one['folder']}: {one['how']}" for one in report.checkpoints]
    lines += [f"still named in {file}" for file in report.files_left]
    if not report.is_dry_run:
        lines.append("the delivery itself is not changed; checkpoints are made anew by `nyx run`")
        if report.is_shared:
            lines.append(OTHER_HOSTS)
    return "\n".join(lines)
