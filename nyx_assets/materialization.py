"""What every asset does around its thinking: know what it is made from, commit whole tables, report, be checked."""

import logging
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import dagster as dg
import pyarrow as pa
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.storage.tags import EXTERNALLY_MANAGED_ASSETS_TAG
from dagster._record import copy

from nyx_assets.partitions import CRAWL
from nyx_assets.plots import Plot, plots_markdown
from nyx_assets.previews import markdown_preview
from nyx_assets.progress import Progress
from nyx_assets.quick_records import together
from resources.home import LEDGER, Home
from resources.tables import Commit, Provenance, TableWriter
from training_kernels.errors import AlreadyQuarantined, BudgetReached

PREVIEW_ROWS = 5
PARTITIONS_A_LINE = 50
SECONDS_UNTOLD = 2.0
"""Choice: what is found of one partition of many is in Dagster's records so soon, or with that of 50 others."""
BACKFILL_TAGS = {"nyx/backfill": "yes"}
"""Runs of the main job that make again what a person named."""
BY_ITSELF = ("nyx/main_job", "nyx/refresh")
"""Tags of runs that make what is due; every other run makes what a person named, in the UI or over GraphQL."""
DATA_VERSION_TAG = "dagster/data_version"
CODE_VERSION_TAG = "dagster/code_version"
console = logging.getLogger("nyx")
"""What the command line shows while it runs; the same lines go to Dagster's log."""

SETTINGS_KEY = "nyx/settings"
"""Metadata of an asset: the settings that its content depends on; their digest is part of its code version."""


FILE_KEY = "nyx/file"
"""Metadata of an asset: a file that it keeps beside its table, relative to the home; without it, it is not current."""


STANDS_IN_KEY = "nyx/may_stand_in"
"""Metadata of an asset whose partitions need not agree: one may be made with other settings than its neighbours."""


def settings(*names: str) -> dict[str, Any]:
    """Metadata that says which settings (recipe sections, roles) an asset depends on."""
    return {SETTINGS_KEY: ", ".join(names)}


def name_of(key: dg.AssetKey) -> str:
    """An asset key as our tables write it."""
    return "/".join(key.path)


def key_of(name: str) -> dg.AssetKey:
    return dg.AssetKey(name.split("/"))


def expected_provenance(spec: dg.AssetSpec, partition: str | None, home: Home) -> Provenance:
    """What an asset would be made from if it were made now."""
    inputs = {}
    for dependency in spec.deps:
        name = name_of(dependency.asset_key)
        reads_all = partition is None or isinstance(dependency.partition_mapping, dg.AllPartitionMapping)
        inputs[name] = home.input_version(name, None if reads_all else partition)
    return Provenance(code_version=str(spec.code_version), inputs=inputs)


def is_current(spec: dg.AssetSpec, partition: str | None, home: Home) -> bool:
    """True if what is stored is what would be made now, so that making it again would be wasted."""
    name = name_of(spec.key)
    commit = home.commit(name, partition)
    if commit is None or home.tables.quarantine_reason(name, partition) is not None:
        return False
    file = spec.metadata.get(FILE_KEY)
    if file is not None and not (home.root / file).exists():
        return False
    return commit.provenance.is_as_expected(expected_provenance(spec, partition, home))


@dataclass
class Step:
    """One step of one asset function: its partition, its provenance, and what it has to report."""

    context: dg.AssetExecutionContext
    home: Home
    one_of_many: str | None = None
    """The partition, in a run of several."""
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    _start: float = field(default_factory=time.monotonic)
    _seconds: float | None = None
    _expected: dict[str, Provenance] = field(init=False)

    def __post_init__(self) -> None:
        """Note the inputs before any is read: one that another run puts in place meanwhile is not taken as read."""
        specs = list(self.context.assets_def.specs)
        own = {spec.key for spec in specs}
        self._expected = {
            name_of(spec.key): expected_provenance(spec, self.partition, self.home)
            for spec in specs
            if own.isdisjoint(dependency.asset_key for dependency in spec.deps)
        }

    @property
    def partition(self) -> str | None:
        if self.one_of_many is not None:
            return self.one_of_many
        return self.context.partition_key if self.context.has_partition_key else None

    def log(self, message: str) -> None:
        """Say something to whoever watches, in the Dagster UI or at the command line."""
        self.context.log.info(message)
        console.info(
            "%s%s: %s",
            self.context.op_execution_context.op.name,
            f" {self.partition}" if self.partition else "",
            message,
        )

    def progress(self, what: str, total: int | None, *, beside: Callable[[], str] = str) -> Progress:
        """A counter that says every few seconds how far this step is, and what `beside` has to say."""
        return Progress(self.log, what, total, beside=beside)

    def provenance(self, name: str) -> Provenance:
        """What the asset of this name is being made from: its inputs as they were when the step began.

        Where partitions need not agree (STANDS_IN_KEY), one that a person has made again stands in for what it replaces:
        a later run with the settings of before leaves it, and makes only what depends on it.
        """
        spec = self.context.assets_def.get_asset_spec(key_of(name))
        expected = self._expected.get(name) or expected_provenance(spec, self.partition, self.home)
        tags = self.context.run.tags.keys()
        is_made_by_itself = tags & set(BY_ITSELF) and not tags & BACKFILL_TAGS.keys()
        if self.partition is None or is_made_by_itself or not spec.metadata.get(STANDS_IN_KEY):
            return expected
        before = self.home.tables.commit(name, self.partition)
        return expected if before is None else expected.put_in_place_of(before.provenance)

    @contextmanager
    def tables(self, schemas: Mapping[str, pa.Schema]) -> Iterator[dict[str, TableWriter]]:
        """Writers of this step's tables by asset name; they are committed in the order given, the last one last.

        Name the table that others read last: while it is not there, the step counts as not done.
        """
        provenance = {name: self.provenance(name) for name in schemas}
        work = f"{', '.join(schemas)}{f' of {self.partition}' if self.partition else ''}"
        with ExitStack() as stack:
            stack.callback(self.home.mirror.send, LEDGER)
            require_held = stack.enter_context(self.home.held(work, log=self.log))
            writers = {}
            for name, schema in reversed(list(schemas.items())):
                writers[name] = stack.enter_context(
                    self.home.tables.write(name, schema, partition=self.partition, provenance=provenance[name])
                )
            yield writers
            require_held()

    def report(self, name: str, **metadata: Any) -> None:
        """Add metadata to an asset's materialization; numbers first, six entries at most."""
        self.metadata.setdefault(name, {}).update(metadata)

    def preview(self, name: str, columns: Sequence[str], plots: Iterable[Plot | None] = ()) -> None:
        """Add the first rows of a committed table, pictures included, below the plots that there are of it."""
        batch = next(self.home.tables.batches(name, partition=self.partition), None)
        rows = batch.slice(0, PREVIEW_ROWS).to_pylist() if batch else []
        shown = [*plots_markdown(plots), markdown_preview(rows, columns, self.home.images)]
        self.report(name, preview=dg.MetadataValue.md("\n\n".join(shown)))

    def results(self, *names: str) -> Iterator[dg.MaterializeResult]:
        """One result an asset, with row count, seconds, column schema and data version from content."""
        for name in names:
            commit, metadata = self._made(name)
            yield dg.MaterializeResult(
                key_of(name), data_version=dg.DataVersion(commit.data_version), metadata=metadata
            )

    def events(self, *names: str, is_last: bool = True) -> Iterator[dg.AssetMaterialization]:
        """The same of one partition of several, as events of their own: a result has one data version for all.

        Columns are those of the asset, and shown of the partition that is reported last.
        """
        for name in names:
            commit, metadata = self._made(name, shows_columns=is_last)
            tags = {DATA_VERSION_TAG: commit.data_version, CODE_VERSION_TAG: commit.provenance.code_version}
            yield dg.AssetMaterialization(key_of(name), partition=self.partition, metadata=metadata, tags=tags)

    def _made(self, name: str, *, shows_columns: bool = True) -> tuple[Commit, dict[str, Any]]:
        """What was committed, and what is to be reported of it."""
        seconds = time.monotonic() - self._start if self._seconds is None else self._seconds
        commit = self.home.commit(name, self.partition)
        if commit is None:
            raise AssertionError(f"{name} reports a result but committed nothing")
        where = f" {self.partition}" if self.partition else ""
        console.info("%s%s: %s rows in %.1f s", name, where, f"{commit.num_rows:,}", seconds)
        metadata: dict[str, Any] = {"dagster/row_count": commit.num_rows, "seconds": round(seconds, 3)}
        if shows_columns and self.home.tables.commit(name, self.partition) is not None:
            metadata["dagster/column_schema"] = column_schema(self.home.tables.schema(name, self.partition))
        return commit, {**metadata, **self.metadata.get(name, {})}

    def stop_clock(self) -> None:
        """Its work is done; what is reported later is not later made."""
        self._seconds = time.monotonic() - self._start


Made = dg.MaterializeResult | dg.AssetMaterialization | dg.AssetCheckEvaluation
"""What an asset function yields that makes one partition or many."""

FAILED_PARTITIONS_KEY = "failed partitions"
"""Metadata of the failure of a run of several partitions: the kind of error and its message, by partition."""


def each_partition(
    context: dg.AssetExecutionContext, home: Home, make: Callable[[Step], None], *names: str
) -> Iterator[Made]:
    """What an asset function yields that makes one partition, or any number of them in one run.

    A partition that fails does not keep the others from being made; the step fails at the end, and says which.

    Args:
        make: makes the tables of these names for the step's partition.
    """
    if context.has_partition_key:
        step = Step(context, home)
        make(step)
        yield from step.results(*names)
        return
    made, errors = [], {}
    partitions = context.partition_keys
    for number, partition in enumerate(partitions, start=1):
        step = Step(context, home, one_of_many=partition)
        try:
            make(step)
        except Exception as error:  # noqa: BLE001 (raised again below, when the others are made)
            context.log.error(f"partition {partition} failed: {type(error).__name__}: {error}")
            errors[partition] = error
            if isinstance(error, BudgetReached):  # the others would be refused as well
                break
        else:
            step.stop_clock()
            made.append(step)
        if number % PARTITIONS_A_LINE == 0:
            context.log.info(f"{number:,} of {len(partitions):,} partitions")
    if not errors:
        with _reporting_ourselves(context):
            for name in names:
                yield dg.MaterializeResult(key_of(name))
    told = [event for step in made for event in step.events(*names, is_last=step is made[-1])]
    with together(context.instance):
        for event in told[:-1]:
            context.log_event(event)
    yield from told[-1:]  # whatever was logged becomes part of the run's result with it
    if errors:
        yield from _checked_ourselves(context, home, made, names)
        first, cause = next(iter(errors.items()))
        raise dg.Failure(
            f"{len(errors)} of {len(partitions)} partitions failed, e.g. {first}: {type(cause).__name__}: {cause}",
            metadata={
                FAILED_PARTITIONS_KEY: dg.MetadataValue.json(
                    {partition: [type(one).__name__, str(one)] for partition, one in errors.items()}
                )
            },
        ) from cause


@contextmanager
def _reporting_ourselves(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Keep Dagster from reporting every partition alike, with one data version for all: each is reported by itself."""
    tags = cast("dict[str, str]", context.run.tags)
    tags[EXTERNALLY_MANAGED_ASSETS_TAG] = "true"
    try:
        yield
    finally:
        del tags[EXTERNALLY_MANAGED_ASSETS_TAG]


_CHECKS: dict[tuple[str, str], Callable[[Home, str | None], dg.AssetCheckEvaluation]] = {}
"""By asset and name, the blocking checks of this process: where they find a fault, they quarantine."""
ERROR_KIND_KEY = "error kind"
"""Metadata of the evaluation of a check that did not end: the class of the error that ended it."""


def _checked_ourselves(
    context: dg.AssetExecutionContext, home: Home, made: Sequence[Step], names: Sequence[str]
) -> Iterator[dg.AssetCheckEvaluation]:
    """Evaluations of the blocking checks of these assets, which Dagster does not run after a step that fails.

    Without them a table with faults would be neither counted as an attempt of its partition nor asked for again.
    """
    evaluations: list[dg.AssetCheckEvaluation] = []
    for step in made:
        for (asset, name), check in _CHECKS.items():
            if asset not in names or home.tables.quarantine_reason(asset, step.partition) is not None:
                continue  # a fault is enough
            evaluation = check(home, step.partition)
            if not evaluation.passed:
                context.log.error(f"{asset} of partition {step.partition} is quarantined, its check {name} failed")
            evaluations.append(evaluation)
        if len(evaluations) >= PARTITIONS_A_LINE or step is made[-1]:
            told = _with_targets(context.instance, evaluations)
            with together(context.instance):
                for one in told[:-1]:
                    context.log_event(one)
            yield from told[-1:]
            evaluations = []


def _with_targets(
    instance: dg.DagsterInstance, evaluations: Sequence[dg.AssetCheckEvaluation]
) -> list[dg.AssetCheckEvaluation]:
    """The same, each with the materialization that it is of: what names none counts as of an older one in the daemon."""
    partitions: dict[dg.AssetKey, set[str]] = defaultdict(set)
    for one in evaluations:
        partitions[one.asset_key].add(str(one.partition))
    targets = {}
    for key, wanted in partitions.items():
        ids = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION, wanted)
        latest = dg.AssetRecordsFilter(asset_key=key, storage_ids=list(ids.values()))
        for record in instance.fetch_materializations(latest, limit=len(ids)).records if ids else ():
            targets[key, record.partition_key] = AssetCheckEvaluationTargetMaterializationData(
                storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
            )
    return [copy(one, target_materialization_data=targets.get((one.asset_key, one.partition))) for one in evaluations]


def column_schema(schema: pa.Schema) -> dg.TableSchema:
    """An Arrow schema as Dagster shows it."""
    return dg.TableSchema([dg.TableColumn(column.name, str(column.type)) for column in schema])


def blocking_check(
    asset: str, *, partitioned: bool, find_faults: Callable[[Home, str | None], list[str]]
) -> dg.AssetChecksDefinition:
    """A check that stops what follows; its name and docstring are those of `find_faults`.

    A table with faults is quarantined as well, so that no later step that reads all partitions takes it in; writing
    it again releases it. So is a table that could not be checked: what nobody looked at is not good.
    """

    def evaluate(context: dg.AssetCheckExecutionContext, home: dg.ResourceParam[Home]) -> dg.AssetCheckResult:
        run, begun = context.op_execution_context, time.monotonic()
        if not partitioned or run.has_partition_key:
            faults = faults_of(home, run.partition_key if partitioned else None)
            return dg.AssetCheckResult(passed=not faults, metadata=metadata_of(faults, begun))
        num_failed, examples, evaluations, last_told = 0, [], [], time.monotonic()
        try:
            for partition in run.partition_keys:
                if home.input_version(asset, partition) == "":
                    continue  # it failed before there was anything to check, or another check has found it wrong
                begun_partition = time.monotonic()
                faults = faults_of(home, partition)
                num_failed += bool(faults)
                examples += [f"{partition}: {fault}" for fault in faults[:1]]
                evaluations.append(evaluation_of(partition, metadata_of(faults, begun_partition)))
                if len(evaluations) >= PARTITIONS_A_LINE or time.monotonic() - last_told > SECONDS_UNTOLD:
                    tell(run, evaluations)
                    evaluations, last_told = [], time.monotonic()
        finally:
            tell(run, evaluations)
        # this has no partition: Dagster takes it for a check of the whole asset
        return dg.AssetCheckResult(passed=not num_failed, metadata=metadata_of(examples, begun))

    def evaluate_ourselves(home: Home, partition: str | None) -> dg.AssetCheckEvaluation:
        begun = time.monotonic()
        try:
            return evaluation_of(partition, metadata_of(faults_of(home, partition), begun))
        except Exception as error:  # noqa: BLE001 (the table is quarantined, and it is told)
            kind = type(error).__name__
            return evaluation_of(partition, metadata_of([f"{kind}: {error}"], begun) | {ERROR_KIND_KEY: kind})

    def evaluation_of(partition: str | None, metadata: dict[str, Any]) -> dg.AssetCheckEvaluation:
        return dg.AssetCheckEvaluation(
            asset_key=key_of(asset),
            check_name=find_faults.__name__,
            passed=metadata["faults"] == 0,
            metadata=metadata,
            partition=partition,
        )

    def tell(run: dg.OpExecutionContext, evaluations: list[dg.AssetCheckEvaluation]) -> None:
        told = _with_targets(run.instance, evaluations)
        with together(run.instance):
            for one in told:
                run.log_event(one)  # type: ignore[arg-type]  # taken, and kept by partition, says a test

    def faults_of(home: Home, partition: str | None) -> list[str]:
        if (reason := home.tables.quarantine_reason(asset, partition)) is not None:  # what another found is kept
            where = f", partition {partition}," if partition else ""
            raise AlreadyQuarantined(
                f"table {asset}{where} is quarantined ({reason}); mend the cause and materialize {asset} again"
            )
        faults = ["it did not end"]
        try:
            faults = find_faults(home, partition)
        finally:
            if faults:
                home.tables.quarantine(asset, partition, f"{find_faults.__name__}: {faults[0]}")
        return faults

    def metadata_of(faults: Sequence[str], begun: float) -> dict[str, Any]:
        return {
            "faults": len(faults),
            "seconds": round(time.monotonic() - begun, 3),
            "examples": dg.MetadataValue.md("\n".join(f"- {fault}" for fault in faults[:10])),
        }

    _CHECKS[asset, find_faults.__name__] = evaluate_ourselves
    with warnings.catch_warnings():
        # Dagster marks partitioned checks as a preview; the version is pinned, and a test runs them.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.asset_check(
            asset=key_of(asset),
            name=find_faults.__name__,
            description=find_faults.__doc__,
            blocking=True,
            partitions_def=CRAWL if partitioned else None,
        )(evaluate)
