"""The main job: everything that is not current, in dependency order, in this process, with the report a person wants.

What is current is decided from what is stored (materialization.is_current), so a run that was killed goes on where it
stopped, a run with nothing changed does nothing, and neither needs Dagster's own records. Each piece of work is an
ordinary Dagster run, so the UI shows it like any other.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import dagster as dg
from dagster import DagsterInstance
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from nyx_assets.failures import attempts_of, cap_of, cause_of, error_of, faults_of, is_failure
from nyx_assets.materialization import (
    BACKFILL_TAGS,
    expected_provenance,
    is_current,
    key_of,
    name_of,
)
from nyx_assets.partitions import CRAWL, ONE_RUN
from nyx_assets.quarantine import note_failures, note_success, quarantined_partitions
from nyx_assets.recovery import MAIN_JOB_TAGS, NO_RETRIES_TAGS, bury_killed_runs, lease_tags, take_partition_out
from nyx_assets.registering import untold_event
from nyx_assets.scope import Scope
from nyx_assets.setting_notes import note_settings
from resources.catalog import drop_foreign_catalog
from resources.home import Home

console = logging.getLogger("nyx")
INTERRUPTED = "DagsterExecutionInterruptedError"
"""How Dagster ends a step when a person asked the process to stop."""


@dataclass(frozen=True, slots=True)
class Level:
    """Assets that can be made one partition after the other, or together if they have no partitions."""

    names: tuple[str, ...]
    is_partitioned: bool


@dataclass
class AssetReport:
    """What became of one asset in a run."""

    made: int = 0
    reused: int = 0
    failed: int = 0
    blocked: int = 0
    """Partitions whose inputs failed, are missing or are quarantined."""
    num_rows: int = 0
    seconds: float = 0.0


@dataclass
class JobReport:
    """What became of a run."""

    by_asset: dict[str, AssetReport] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    """One message a failure, for a person."""
    seconds: float = 0.0
    quarantined: dict[str, str] = field(default_factory=dict)
    """Crawl partitions that failed once too often in this run, with the error."""
    stopped_by_cap: str = ""
    """Why nothing more was made: a cap on calls, tokens or money was reached."""

    @property
    def num_made(self) -> int:
        return sum(asset.made for asset in self.by_asset.values())


def levels(specs: Iterable[dg.AssetSpec]) -> list[Level]:
    """Executable assets in dependency order, cut where a step needs all partitions of the one before it."""
    by_name = {name_of(spec.key): spec for spec in specs}
    depth: dict[str, int] = {}

    def depth_of(name: str) -> int:
        if name not in depth:
            spec, deepest = by_name[name], 0
            for dependency in spec.deps:
                parent = name_of(dependency.asset_key)
                if parent not in by_name:
                    continue
                same_partition = (
                    spec.partitions_def is not None
                    and by_name[parent].partitions_def is not None
                    and not isinstance(dependency.partition_mapping, dg.AllPartitionMapping)
                )
                both_whole = spec.partitions_def is None and by_name[parent].partitions_def is None
                deepest = max(deepest, depth_of(parent) + (0 if same_partition or both_whole else 1))
            depth[name] = deepest
        return depth[name]

    groups: dict[tuple[int, bool], list[str]] = {}
    for name, spec in by_name.items():
        groups.setdefault((depth_of(name), spec.partitions_def is not None), []).append(name)
    return [Level(tuple(names), is_partitioned) for (_, is_partitioned), names in sorted(groups.items())]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The asset graph as the main job walks it."""

    defs: dg.Definitions
    specs: Mapping[str, dg.AssetSpec]
    """Executable assets by name, inputs before what reads them."""
    resources: Mapping[str, Any]
    siblings: Mapping[str, tuple[str, ...]]
    """For each asset, the assets that one function makes together with it, itself included."""
    setting_values: Mapping[str, str] = field(default_factory=dict)
    """What each setting that assets name stands for, as text."""
    max_attempts: int = 3
    """Of one asset of a crawl partition, before the partition is quarantined (NYX_MAX_ATTEMPTS)."""
    give_device_back: Callable[[], None] = lambda: None
    """Called between Dagster runs, some of which wait for VLMs for hours: others may compute meanwhile."""

    def asset_of_node(self, node: str) -> str | None:
        """The first asset that a node makes; None for a node that makes none, such as a check."""
        names = (name for name, spec in self.specs.items() if self.defs.resolve_assets_def(spec.key).op.name == node)
        return next(names, None)

    def code_version_of(self, asset: str) -> str:
        return str(self.specs[asset].code_version)


def run_main_job(pipeline: Pipeline, instance: DagsterInstance, home: Home, scope: Scope | None = None) -> JobReport:
    """Make what is not current. A partition that fails is reported and left behind; the others go on without it.

    A machine has one main job of a home at a time; a second one waits, and then finds everything made. A cap that is reached
    ends the run: what follows would be made from the partitions that happened to come first.

    Args:
        scope: the part of the graph that is looked at, and what of it is made although it is current; None: all of it,
            and nothing.
    """
    start = time.monotonic()
    report = JobReport({name: AssetReport() for name in pipeline.specs if scope is None or name in scope.reach})
    with home.alone("main_job", log=console.info):
        bury_killed_runs(instance, home, pipeline.defs.resolve_asset_graph(), log=console.warning)
        home.tables.sweep()
        for file in home.tables.set_aside_torn():
            console.warning("%s was cut off, by a power cut perhaps: set aside as *.torn, and made again", file)
        note_settings(home, pipeline.setting_values)
        drop_foreign_catalog(home)
        _walk(pipeline, instance, home, report, scope)
    if not report.failures:
        report.failures += _left_out(pipeline, report)
    report.seconds = time.monotonic() - start
    return report


def _walk(pipeline: Pipeline, instance: DagsterInstance, home: Home, report: JobReport, scope: Scope | None) -> None:
    """Level by level, and in a level partition by partition."""
    out = {one.crawl for one in quarantined_partitions(home)}
    partitions = sorted(set(instance.get_dynamic_partitions(str(CRAWL.name))) - out)
    for level in levels(pipeline.specs.values()):
        begun = time.monotonic()
        places: list[str | None] = [*partitions] if level.is_partitioned else [None]
        names_at = {
            place: tuple(name for name in level.names if scope is None or scope.reaches(name, place))
            for place in places
        }
        places = [place for place in places if names_at[place]]
        attempted: dict[str | None, dict[str, bool]] = {}
        if scope is not None and level.is_partitioned and not home.is_shared:
            attempted = _make_in_one_run(pipeline, instance, home, names_at, scope, report)
        for done, place in enumerate(_in_turn(home, places)):
            if report.stopped_by_cap:
                return
            if place in report.quarantined:
                continue
            made = _bring_up_to_date(
                pipeline, instance, home, names_at[place], place, report, scope, tried=attempted.get(place, {})
            )
            if made and level.is_partitioned and done + 1 < len(places):
                left = (time.monotonic() - begun) / (done + 1) * (len(places) - done - 1)
                console.info("  %d of %d partitions, about %.0f s left in this stage", done + 1, len(places), left)
        if report.stopped_by_cap:
            return


def _make_in_one_run(
    pipeline: Pipeline,
    instance: DagsterInstance,
    home: Home,
    names_at: Mapping[str | None, Collection[str]],
    scope: Scope,
    report: JobReport,
) -> dict[str | None, dict[str, bool]]:
    """Make again what is cheap (ONE_RUN), many partitions in a run; by partition, what was tried and whether it was made.

    Only where nothing else is to be made before it. A run takes partitions that were registered one after another, as
    Dagster's ranges go.
    """
    tried: dict[str | None, dict[str, bool]] = {place: {} for place in names_at}
    registered = instance.get_dynamic_partitions(str(CRAWL.name))
    for names in dict.fromkeys(pipeline.siblings[name] for here in names_at.values() for name in here):
        if pipeline.defs.resolve_assets_def(key_of(names[0])).backfill_policy != ONE_RUN:
            continue
        parents = {name_of(dependency.asset_key) for name in names for dependency in pipeline.specs[name].deps}

        def is_ready(place: str, names: Sequence[str] = names, parents: set[str] = parents) -> bool:
            is_named = place in names_at and any(scope.makes_again(name, place) for name in names)
            if place in report.quarantined or not is_named:
                return False
            if not all(tried[place].get(name) for name in parents & set(names_at[place]) - set(names)):
                return False
            return all(expected_provenance(pipeline.specs[names[0]], place, home).inputs.values())

        for stretch in _stretches(registered, is_ready):
            if report.stopped_by_cap or len(stretch) < 2:  # one alone is made with what reads it
                continue
            made = _make(pipeline, instance, home, list(names), stretch, report, scope)
            for place in stretch:
                tried[place] |= {name: (name, place) in made for name in names}
    return tried


def _stretches(places: Sequence[str], is_in: Callable[[str], bool]) -> list[list[str]]:
    """Runs of neighbours that are in."""
    return [[*group] for wanted, group in groupby(places, key=is_in) if wanted]


def _in_turn(home: Home, partitions: Sequence[str | None]) -> Iterator[str | None]:
    """Each partition while this host holds it against others; what another one is at work on comes last, made by then."""
    busy = []
    for partition in partitions:
        with home.held_if_free(_work_on(partition)) as is_ours:
            if is_ours:
                yield partition
            else:
                busy.append(partition)
    for partition in busy:
        with home.held(_work_on(partition), log=console.info):
            yield partition


def _work_on(partition: str | None) -> str:
    return f"main job of {partition}" if partition else "main job of all partitions together"


def _left_out(pipeline: Pipeline, report: JobReport) -> list[str]:
    """What was not made although nothing failed: a person has to hear of it, since the next run will not mend it."""
    return [
        f"{name} was left out {asset.blocked} times: one of its inputs is missing "
        f"({', '.join(name_of(dependency.asset_key) for dependency in pipeline.specs[name].deps)})"
        for name, asset in report.by_asset.items()
        if asset.blocked
    ]


def _bring_up_to_date(
    pipeline: Pipeline,
    instance: DagsterInstance,
    home: Home,
    names: tuple[str, ...],
    partition: str | None,
    report: JobReport,
    scope: Scope | None,
    *,
    tried: Mapping[str, bool],
) -> bool:
    """Run what is not current until nothing is left; returns whether anything was run.

    More than one round is needed where an input is made again: only then is it known whether its content changed, and
    if it did not, what reads it stays as it is.

    Args:
        tried: what of it was attempted already, and whether it was made.
    """
    again = {name for name in names if scope is not None and scope.makes_again(name, partition)}
    attempted = dict(tried)
    while not report.stopped_by_cap and (work := _ready(pipeline, home, names, partition, attempted, again)):
        made = _make(pipeline, instance, home, work, [partition], report, scope)
        attempted |= {name: (name, partition) in made for name in work}
    for name in names:
        if name in attempted:
            continue
        if name not in again and is_current(pipeline.specs[name], partition, home):
            report.by_asset[name].reused += 1
            if (event := untold_event(home, instance, name, partition)) is not None:
                instance.report_runless_asset_event(event)
        else:
            report.by_asset[name].blocked += 1
    return len(attempted) > len(tried)


def _ready(
    pipeline: Pipeline,
    home: Home,
    names: tuple[str, ...],
    partition: str | None,
    attempted: Mapping[str, bool],
    again: Collection[str],
) -> list[str]:
    """Assets to make now: not current, not tried yet, and with every input there or made in the same run.

    What reads a table that is made in this round waits for the next one if it is current so far, and for the next run
    of the job if making it failed: an older version of it may be there, but work on that would be thrown away.
    """
    work: set[str] = set()
    unsettled: set[str] = set()
    for name in names:
        spec = pipeline.specs[name]
        parents = [name_of(dependency.asset_key) for dependency in spec.deps]
        current = (name not in again or attempted.get(name, False)) and is_current(spec, partition, home)
        waits = current and any(parent in work for parent in parents)
        if any(parent in unsettled for parent in parents) or waits or (not current and name in attempted):
            unsettled.add(name)
        elif not current:
            inputs = expected_provenance(spec, partition, home).inputs
            if all(inputs[parent] or parent in work for parent in parents):
                work |= set(pipeline.siblings[name])
            else:
                unsettled.add(name)
    return [name for name in names if name in work]


def _make(
    pipeline: Pipeline,
    instance: DagsterInstance,
    home: Home,
    names: list[str],
    partitions: Sequence[str | None],
    report: JobReport,
    scope: Scope | None,
) -> set[tuple[str, str | None]]:
    """One Dagster run over some assets of one partition, or of several that were registered one after another.

    Returns what was made, each with its partition.
    """
    begun, defs, is_one = time.monotonic(), pipeline.defs, len(partitions) == 1
    tags = MAIN_JOB_TAGS | NO_RETRIES_TAGS | lease_tags(home, _work_on(partitions[0]))
    if scope is not None and scope.again:
        tags |= BACKFILL_TAGS
    if not is_one:
        tags |= {
            ASSET_PARTITION_RANGE_START_TAG: str(partitions[0]),
            ASSET_PARTITION_RANGE_END_TAG: str(partitions[-1]),
        }
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        partition_key=partitions[0] if is_one else None,
        asset_selection=[key_of(name) for name in names],
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
        tags=tags,
    )
    pipeline.give_device_back()
    failed = [event for event in result.all_node_events if is_failure(event)]
    if any(error_of(event).cls_name == INTERRUPTED for event in failed):
        raise KeyboardInterrupt
    failed_nodes = {event.node_name for event in failed}
    made = {
        (name_of(event.asset_key), event.partition)
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }
    seconds = time.monotonic() - begun
    for name in names:
        asset = report.by_asset[name]
        asset.seconds += seconds / len(names)
        for partition in partitions:
            if (name, partition) in made:
                asset.made += 1
                commit = home.commit(name, partition)
                asset.num_rows += commit.num_rows if commit else 0
            elif defs.resolve_assets_def(key_of(name)).op.name in failed_nodes:
                asset.failed += 1
            else:
                asset.blocked += 1
    where = f" of partition {partitions[0]}" if is_one and partitions[0] else ""
    for event in failed:
        report.stopped_by_cap = cap_of(event) or report.stopped_by_cap
    failures = [
        f"{pipeline.asset_of_node(event.node_name) or event.node_name}{where} failed: {cause_of(event)}"
        for event in failed
    ]
    failures += [
        f"{name_of(evaluation.asset_key)}{where or _of_partition(evaluation)} is quarantined, its check {evaluation.check_name} failed: {faults_of(evaluation)}"
        for evaluation in result.get_asset_check_evaluations()
        if not evaluation.passed and (is_one or evaluation.partition is not None)
    ]
    for message in failures:
        report.failures.append(message)
        console.error(message)
    if partitions[0] is not None:
        _count_attempts(pipeline, instance, home, result, made, partitions[0] if is_one else None, report)
    return made


def _of_partition(evaluation: dg.AssetCheckEvaluation) -> str:
    return f" of partition {evaluation.partition}" if evaluation.partition else ""


def _count_attempts(
    pipeline: Pipeline,
    instance: DagsterInstance,
    home: Home,
    result: dg.ExecuteInProcessResult,
    made: set[tuple[str, str | None]],
    partition: str | None,
    report: JobReport,
) -> None:
    """Keep what failed, forget what does no longer, and take out a partition that failed once too often.

    Args:
        partition: that of the run; None for a run of several, whose events name theirs.
    """
    attempts = list(
        attempts_of(
            result.all_events,
            partition,
            asset_of_node=pipeline.asset_of_node,
            code_version_of=pipeline.code_version_of,
        )
    )
    for name, crawl in sorted(made - {(attempt.asset, attempt.crawl) for attempt in attempts}, key=str):
        if crawl is not None:
            note_success(home, name, crawl)
    for attempt in note_failures(home, attempts, run_id=result.run_id, max_attempts=pipeline.max_attempts):
        crawl = attempt.crawl
        report.quarantined[crawl] = attempt.error
        take_partition_out(instance, crawl, f"{attempt.asset}: {attempt.error}")
        message = (
            f"partition {crawl} is quarantined after {pipeline.max_attempts} attempts at {attempt.asset}; what is "
            f"made of all partitions goes on without it. Deliver it again, or: nyx quarantine release {crawl}"
        )
        report.failures.append(message)
        console.error(message)
