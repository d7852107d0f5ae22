"""What every asset does around its thinking: know what it is made from, commit whole tables, report, be checked."""

import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pyarrow as pa

from nyx_assets.partitions import CRAWL
from nyx_assets.plots import Plot, plots_markdown
from nyx_assets.previews import markdown_preview
from nyx_assets.progress import Progress
from resources.home import LEDGER, Home
from resources.tables import Commit, Provenance, TableWriter

PREVIEW_ROWS = 5
DATA_VERSION_TAG = "dagster/data_version"
console = logging.getLogger("nyx")
"""What the command line shows while it runs; the same lines go to Dagster's log."""

SETTINGS_KEY = "nyx/settings"
"""Metadata of an asset: the settings that its content depends on; their digest is part of its code version."""


FILE_KEY = "nyx/file"
"""Metadata of an asset: a file that it keeps beside its table, relative to the home; without it, it is not current."""


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
    return commit.provenance == expected_provenance(spec, partition, home)


@dataclass
class Step:
    """One step of one asset function: its partition, its provenance, and what it has to report."""

    context: dg.AssetExecutionContext
    home: Home
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    _start: float = field(default_factory=time.monotonic)

    @property
    def partition(self) -> str | None:
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

    def progress(self, what: str, total: int | None) -> Progress:
        """A counter that says every few seconds how far this step is."""
        return Progress(self.log, what, total)

    def provenance(self, name: str) -> Provenance:
        """What the asset of this name is being made from."""
        return expected_provenance(self.context.assets_def.get_asset_spec(key_of(name)), self.partition, self.home)

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
        seconds = time.monotonic() - self._start
        for name in names:
            commit = self.home.commit(name, self.partition)
            if commit is None:
                raise AssertionError(f"{name} reports a result but committed nothing")
            where = f" {self.partition}" if self.partition else ""
            console.info("%s%s: %s rows in %.1f s", name, where, f"{commit.num_rows:,}", seconds)
            yield dg.MaterializeResult(
                key_of(name),
                data_version=dg.DataVersion(commit.data_version),
                metadata={**self._standard_metadata(name, commit, seconds), **self.metadata.get(name, {})},
            )

    def _standard_metadata(self, name: str, commit: Commit, seconds: float) -> dict[str, Any]:
        metadata: dict[str, Any] = {"dagster/row_count": commit.num_rows, "seconds": round(seconds, 2)}
        if self.home.tables.commit(name, self.partition) is not None:
            metadata["dagster/column_schema"] = column_schema(self.home.tables.schema(name, self.partition))
        return metadata


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
        run = context.op_execution_context
        partition = run.partition_key if partitioned else None
        faults = ["it did not end"]
        try:
            faults = find_faults(home, partition)
        finally:
            if faults:
                home.tables.quarantine(asset, partition, f"{find_faults.__name__}: {faults[0]}")
        metadata: dict[str, Any] = {
            "faults": len(faults),
            "examples": dg.MetadataValue.md("\n".join(f"- {fault}" for fault in faults[:10])),
        }
        return dg.AssetCheckResult(passed=not faults, metadata=metadata)

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
