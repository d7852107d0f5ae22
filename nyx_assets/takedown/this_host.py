"""What a host has for itself of what was taken down: its index, its report, Dagster's previews, its log of fetches.

Where hosts share a home, the one that is asked for a takedown removes it from the store; each of the others has a part of
its own that only it can reach, and removes from that at its next `nyx run` or `nyx takedown`. Which requests it is done
with stands in `<NYX_LOCAL>/takedowns_here.json`.
"""

import json
import shutil
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nyx_assets.index_versions import VERSIONS, refresh_table, remove_drafts
from nyx_assets.takedown.stores import remove_from_index, remove_previews, remove_training_examples
from nyx_assets.taken_down import Takedown, Veiled, takedowns
from resources.fetch_log import FetchLog
from resources.home import Home
from resources.vector_index import VectorIndex

FETCHED = "fetch"
DONE_HERE = "takedowns_here.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPart:
    """What a host removed of its own."""

    index_chunks: Mapping[str, int] = field(default_factory=dict)
    """Chunks taken out of each version of the index."""
    fetch_records: int = 0
    previews: int = 0
    """Entries of Dagster's records whose preview was blanked."""


def remove_from_host(
    home: Home,
    open_index: Callable[[], VectorIndex],
    *,
    chunk_ids: Collection[str],
    images: Collection[str],
    addresses: Collection[str],
    names_pages: bool,
    log: Callable[[str], None],
) -> OwnPart:
    """Take chunks out of the index, which may be shared, and pictures and pages out of what only this host has.

    Args:
        names_pages: pages or pictures were found, so that previews, report and rankings may name them.

    Raises IndexUnavailable while another process holds the index.
    """
    index_chunks: dict[str, int] = {}
    with home.alone("index", log=log), home.held("index", log=log):
        home.index_mirror.bring(VERSIONS)
        if chunk_ids and (home.root / "index").is_dir():
            remove_drafts(home)
            index = open_index()
            try:
                index_chunks = remove_from_index(home, index, chunk_ids)
                refresh_table(home, index)
            finally:
                index.close()
    fetched = home.root / FETCHED
    fetch_records = FetchLog(str(fetched)).remove(images, addresses) if fetched.is_dir() else 0
    previews = remove_previews(home) if names_pages else 0
    rankings = home.trec_folder.relative_to(home.root).as_posix()
    home.mirror.remove(rankings)  # they name questions and chunks; the next evaluation writes them
    shutil.rmtree(home.trec_folder, ignore_errors=True)
    if names_pages:
        remove_training_examples(home)
        home.report_file.unlink(missing_ok=True)  # it quotes pages; the next run writes it again
    return OwnPart(index_chunks=index_chunks, fetch_records=fetch_records, previews=previews)


def catch_up(home: Home, open_index: Callable[[], VectorIndex], *, log: Callable[[str], None]) -> OwnPart | None:
    """Remove from this host what other hosts took down since it last looked; None where there is nothing to do.

    It waits while a main job of this host is at work, which may train on what is removed.
    """
    if not not_done_here(home):
        return None
    with home.alone("main_job", log=log):
        requests = not_done_here(home)  # another process of this host may have been first
        if not requests:
            return None
        log(
            f"taking down on this host what others took down: {', '.join(f'{one.kind} {one.value}' for one in requests)}"
        )
        veiled = Veiled(digest for one in requests for digest in one.veiled)
        done = remove_from_host(
            home,
            open_index,
            chunk_ids={chunk_id for one in requests for chunk_id in one.chunk_ids},
            images=veiled,
            addresses=veiled,
            names_pages=True,
            log=log,
        )
        note_done_here(home, requests)
    chunks = sum(done.index_chunks.values())
    log(
        f"taken out of what this host has of its own: {chunks:,} chunks of the index, {done.fetch_records:,} records of "
        f"fetches, {done.previews:,} previews"
    )
    return done


def not_done_here(home: Home) -> list[Takedown]:
    """Finished requests that this host has not removed its own part of. A home in one folder has no other part."""
    if not home.is_shared:
        return []
    done = _done_here(home)
    found = [one for one in takedowns(home) if one.is_done and any(_state(one))]
    return [one for one in found if done.get(one.name) != _state(one)]


def note_done_here(home: Home, requests: Sequence[Takedown]) -> None:
    """Remember that this host's part of these requests is removed, as far as they go now."""
    if not home.is_shared:
        return
    beside = home.root / f".{DONE_HERE}.{uuid.uuid4().hex}"
    beside.write_text(json.dumps(_done_here(home) | {one.name: _state(one) for one in requests}, indent=1))
    beside.replace(_place(home))


def _state(request: Takedown) -> list[int]:
    """Grows when asking again has found more."""
    return [len(request.doc_ids), len(request.chunk_ids), len(request.veiled)]


def _done_here(home: Home) -> dict[str, list[int]]:
    try:
        return json.loads(_place(home).read_text())
    except FileNotFoundError:
        return {}


def _place(home: Home) -> Path:
    return home.root / DONE_HERE
