"""Do Dagster's records open, and is DAGSTER_HOME a place that Dagster takes?"""

import time
from collections.abc import Mapping
from pathlib import Path

import yaml
from dagster import DagsterInstance
from dagster._core.errors import DagsterError
from sqlalchemy.exc import SQLAlchemyError

from nyx_assets.doctor.findings import Finding, bad, good, note, one_line
from nyx_assets.recovery import UNFINISHED, dead_runs
from resources.home import Home

LATE_SECONDS = 120.0
"""Choice: Dagster's daemons say every half minute that they live."""


def examine_dagster_home(env: Mapping[str, str], home: Home) -> Finding:
    """Whether the UI and the daemon, which go by DAGSTER_HOME, look where `nyx` writes."""
    own = home.root / "dagster"
    value = env.get("DAGSTER_HOME")
    if not value:
        return good("DAGSTER_HOME", f"not set here; `nyx` and `make up` use {own}")
    folder = Path(value)
    if not folder.is_absolute() or not folder.is_dir():
        return bad(
            "DAGSTER_HOME",
            f"{value} is no folder named from the root, and Dagster takes nothing else",
            'export DAGSTER_HOME="$(nyx dagster-home)"',
        )
    if folder.resolve() != own.resolve():
        return note(
            "DAGSTER_HOME",
            f"{value}, while `nyx` keeps its runs in {own}: the UI started from this shell shows others",
            'if that is not meant: export DAGSTER_HOME="$(nyx dagster-home)"',
        )
    return good("DAGSTER_HOME", value)


def examine_records(home: Home) -> Finding:
    """Whether the storage behind Dagster answers, whether its daemon is alive, and which runs hang."""
    folder = home.root / "dagster"
    if not folder.is_dir():
        return note("Dagster's records", f"{folder} is not there yet", "`nyx run` or `nyx dagster-home` makes it")
    try:
        with DagsterInstance.from_config(str(folder)) as instance:
            num_runs = instance.get_runs_count()
            num_partitions = len(instance.get_dynamic_partitions("crawl"))
            unfinished = [run.run_id for run in instance.get_runs() if run.status in UNFINISHED]
            dead = [record.dagster_run.run_id for record in dead_runs(instance)]
            beats = [one.timestamp for one in instance.get_daemon_heartbeats().values()]
    except (DagsterError, SQLAlchemyError, yaml.YAMLError, OSError) as error:
        return bad(
            "Dagster's records",
            f"{folder} does not open: {one_line(error)[:300]}",
            f"restore it, or move {folder} away and run `nyx run`: tables are kept, and it is told of them again",
        )
    said = f"{num_runs:,} runs, {num_partitions:,} crawl partitions, {len(unfinished)} unfinished"
    if dead:
        return note(
            "Dagster's records",
            f"{said}; killed and not ended yet: {', '.join(run[:8] for run in dead)}",
            "the next `nyx run`, or the sensor killed_runs of `make up`, ends them",
        )
    if not beats or time.time() - max(beats) > LATE_SECONDS:
        return note(
            "Dagster's records", f"{said}; no daemon is running", "`make up` for sensors, schedules and backfills"
        )
    return good("Dagster's records", f"{said}; the daemon lives")
