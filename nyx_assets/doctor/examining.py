"""All checks, cheap ones first."""

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from nyx_assets.doctor.catalogue import examine_catalogue, examine_tables
from nyx_assets.doctor.clock import examine_clock
from nyx_assets.doctor.dagster_records import examine_dagster_home, examine_records
from nyx_assets.doctor.device import examine_device
from nyx_assets.doctor.findings import Finding, bad, one_line
from nyx_assets.doctor.landing import examine_landing
from nyx_assets.doctor.leases import examine_leases
from nyx_assets.doctor.live_index import examine_index
from nyx_assets.doctor.locks import examine_locks
from nyx_assets.doctor.setting_names import examine_setting_names
from nyx_assets.doctor.storage import examine_disk, examine_drafts, examine_home
from nyx_assets.doctor.takedowns import examine_takedowns
from nyx_assets.doctor.versions import examine_packages, examine_python
from resources.home import Home
from resources.settings import Settings
from resources.stores import is_url
from resources.vector_index import VectorIndex
from training_kernels.errors import NyxError


def examine(
    settings: Settings,
    home: Home,
    open_index: Callable[[], VectorIndex],
    *,
    needed_bytes: Callable[[], float],
    env: Mapping[str, str] = os.environ,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[Finding]:
    """A finding for each check that asks no server; a check that cannot be made is a finding as well.

    Args:
        needed_bytes: how many bytes the next run is likely to write.
    """
    checks: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("python", examine_python),
        ("packages", examine_packages),
        ("settings", lambda: examine_setting_names(env)),
        ("gpu", lambda: examine_device(settings.train_processes, needs_gpu=settings.needs_gpu)),
        ("clock", lambda: examine_clock(home, now())),
        ("home", lambda: examine_home(home)),
        ("disk", lambda: examine_disk(home, needed_bytes())),
        ("drafts", lambda: examine_drafts(home)),
        ("locks", lambda: examine_locks(home)),
        *([("leases", lambda: examine_leases(home))] if home.is_shared else []),
        ("tables", lambda: examine_tables(home)),
        ("catalogue", lambda: examine_catalogue(home)),
        ("DAGSTER_HOME", lambda: examine_dagster_home(env, home)),
        ("Dagster's records", lambda: examine_records(home)),
        ("landing folder", lambda: examine_landing(home, settings.crawl)),
        ("index", lambda: examine_index(home, open_index, is_served=is_url(settings.index_uri or ""))),
        *([("takedowns", lambda: examine_takedowns(home))] if home.is_shared else []),
    )
    for name, check in checks:
        yield guarded(name, check)


def guarded(name: str, check: Callable[[], Finding]) -> Finding:
    """The finding, or that the check could not be made: the other checks go on."""
    try:
        return check()
    except (NyxError, OSError, ValueError) as error:
        return bad(name, f"could not be examined: {one_line(error)[:300]}", "mend what it names, then ask again")


def moment_text() -> str:
    """Now, to the microsecond: no two requests of doctors are equal."""
    return datetime.now(UTC).isoformat()


def is_well(findings: list[Finding]) -> bool:
    return not any(finding.verdict == "bad" for finding in findings)
