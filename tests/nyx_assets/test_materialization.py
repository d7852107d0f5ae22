"""What every asset does around its thinking, in real Dagster runs over real tables."""

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from PIL import Image

from nyx_assets.failures import attempts_of, cap_of
from nyx_assets.materialization import (
    DATA_VERSION_TAG,
    Made,
    Step,
    blocking_check,
    column_schema,
    each_partition,
    expected_provenance,
    is_current,
    key_of,
    name_of,
    settings,
)
from nyx_assets.partitions import CRAWL, EVERY_CRAWL, ONE_RUN
from nyx_assets.recipes import pipeline_recipe
from nyx_assets.records import SEGMENTS
from resources.artifacts import MANIFEST
from resources.home import Home
from resources.tables import Commit, Provenance
from training_kernels.documents import Document, Segment
from training_kernels.errors import BudgetReached, DataError

ROWS = pa.schema([("id", pa.string()), ("segments", SEGMENTS)])


def write(home: Home, name: str, partition: str | None, *ids: str) -> str:
    with home.tables.write(name, ROWS, partition=partition, provenance=Provenance(code_version="1")) as table:
        table.append({"id": one, "segments": Document.of(one).to_rows()} for one in ids)
    commit = home.tables.commit(name, partition)
    assert commit is not None
    return commit.data_version


def materialize(
    home: Home, asset: dg.AssetsDefinition, *checks: dg.AssetChecksDefinition, partition: str | None = None
):
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(CRAWL.name), ["p"])
        return dg.materialize(
            [asset, *checks], instance=instance, resources={"home": home}, partition_key=partition, raise_on_error=False,
        )  # fmt: skip


def test_names_of_assets_with_folders_go_there_and_back() -> None:
    assert name_of(dg.AssetKey(["finetuned", "chunk_embeddings"])) == "finetuned/chunk_embeddings"
    assert key_of("finetuned/chunk_embeddings") == dg.AssetKey(["finetuned", "chunk_embeddings"])
    assert settings("qa", "teacher") == {"nyx/settings": "qa, teacher"}


def test_an_asset_reports_rows_columns_code_and_content(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    @dg.multi_asset(
        specs=[dg.AssetSpec(name, deps=["pages"], code_version="7") for name in ("kept", "dropped")],
        partitions_def=CRAWL,
    )
    def sorting(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[dg.MaterializeResult]:
        step = Step(context, home)
        with step.tables({"dropped": ROWS, "kept": ROWS}) as tables:
            tables["kept"].append({"id": one, "segments": Document.of(one).to_rows()} for one in ("a", "b"))
        step.log("sorted")
        step.report("kept", share=0.25)
        step.report("kept", share=0.5)
        yield from step.results("kept", "dropped")

    pages = write(home, "pages", "p", "x")
    with caplog.at_level(logging.INFO, logger="nyx"):
        result = materialize(home, sorting, partition="p")
    assert result.success
    assert "sorting p: sorted" in caplog.text
    events = {name_of(event.asset_key): event.materialization for event in result.get_asset_materialization_events()}
    assert set(events) == {"kept", "dropped"}
    kept, commit = events["kept"], home.commit("kept", "p")
    assert commit is not None
    assert kept.metadata["dagster/row_count"].value == commit.num_rows == 2
    assert kept.metadata["share"].value == 0.5
    assert [column.name for column in kept.metadata["dagster/column_schema"].value.columns] == ["id", "segments"]
    assert kept.tags[DATA_VERSION_TAG] == commit.data_version
    assert kept.tags["dagster/code_version"] == "7"
    assert commit.provenance == Provenance(code_version="7", inputs={"pages": pages})
    assert events["dropped"].metadata["dagster/row_count"].value == 0


def test_an_input_that_is_replaced_while_a_step_reads_is_not_taken_as_read(home: Home) -> None:
    @dg.asset(deps=["pages"], code_version="1", partitions_def=CRAWL)
    def copied(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[dg.MaterializeResult]:
        step = Step(context, home)
        rows = home.tables.read("pages", partition="p").select(ROWS.names).to_pylist()
        write(home, "pages", "p", "another run's")
        with step.tables({"copied": ROWS}) as tables:
            tables["copied"].append(rows)
        yield from step.results("copied")

    pages = write(home, "pages", "p", "x")
    assert materialize(home, copied, partition="p").success
    commit = home.commit("copied", "p")
    assert commit is not None
    assert commit.provenance.inputs == {"pages": pages}
    (spec,) = copied.specs
    assert not is_current(spec, "p", home), "it is made again of what came meanwhile"


def test_tables_are_committed_in_the_order_given_the_last_one_last(home: Home) -> None:
    """What others read last is there last: a kill between two commits leaves the step undone."""

    @dg.multi_asset(specs=[dg.AssetSpec(name, code_version="1") for name in ("first", "second", "third")])
    def three(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[dg.MaterializeResult]:
        step = Step(context, home)
        with step.tables({"first": ROWS, "second": ROWS, "third": ROWS}) as tables:
            tables["second"].append([{"id": 5, "segments": None}])  # is of another type, which comes out at its commit
        yield from step.results("first", "second", "third")

    result = materialize(home, three)
    assert not result.success
    assert home.commit("first", None) is not None
    assert home.commit("second", None) is None
    assert home.commit("third", None) is None


def test_a_preview_shows_the_first_rows_with_their_pictures(home: Home, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), "green").save(tmp_path / "p.png")
    limits = pipeline_recipe("tiny").pictures
    digest = home.images.put((tmp_path / "p.png").read_bytes(), limits=limits).digest

    @dg.asset(code_version="1")
    def pages(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[dg.MaterializeResult]:
        step = Step(context, home)
        with step.tables({"pages": ROWS}) as tables:
            segments = Document.of("a green field", Segment(image=digest)).to_rows()
            tables["pages"].append({"id": f"row {row}", "segments": segments} for row in range(50))
        step.preview("pages", ["id", "segments"])
        yield from step.results("pages")

    (event,) = materialize(home, pages).get_asset_materialization_events()
    shown = event.materialization.metadata["preview"].value
    assert "row 4" in shown
    assert "row 5" not in shown
    assert shown.count("data:image/jpeg;base64,") == 5


def test_an_asset_that_promises_a_table_and_writes_none_is_found(home: Home) -> None:
    @dg.asset(code_version="1")
    def forgetful(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[dg.MaterializeResult]:
        yield from Step(context, home).results("forgetful")

    assert not materialize(home, forgetful).success


def spec(*deps: object, code_version: str = "1", partitioned: bool = True) -> dg.AssetSpec:
    partitions = CRAWL if partitioned else None
    return dg.AssetSpec("made", deps=[*deps], code_version=code_version, partitions_def=partitions)  # type: ignore[list-item]


def make(home: Home, described: dg.AssetSpec, partition: str | None, *ids: str) -> None:
    provenance = expected_provenance(described, partition, home)
    with home.tables.write("made", ROWS, partition=partition, provenance=provenance) as table:
        table.append({"id": one, "segments": None} for one in ids)


def test_inputs_are_those_of_the_partition_or_whole_where_it_says_so(home: Home) -> None:
    here, other = write(home, "pages", "p", "a"), write(home, "pages", "q", "b")
    clusters = write(home, "clusters", None, "k")
    folder = home.artifacts.folder("checkpoint", "w")
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text("{}")
    weights = Commit(data_version="w", num_rows=1, provenance=Provenance(code_version="1"), written_at="")
    home.artifacts.publish("checkpoint", folder, weights)
    inputs = expected_provenance(spec("pages", "clusters", "checkpoint", "missing"), "p", home).inputs
    assert inputs == {"pages": here, "clusters": clusters, "checkpoint": "w", "missing": ""}
    whole = expected_provenance(spec(dg.AssetDep("pages", partition_mapping=EVERY_CRAWL)), "p", home).inputs["pages"]
    assert whole == expected_provenance(spec("pages", partitioned=False), None, home).inputs["pages"]
    assert whole not in (here, other)


def test_it_is_current_until_code_or_input_changes_or_it_is_quarantined(home: Home) -> None:
    write(home, "pages", "p", "a")
    described = spec("pages")
    assert not is_current(described, "p", home)
    make(home, described, "p", "m")
    assert is_current(described, "p", home)
    assert not is_current(spec("pages", code_version="2"), "p", home)
    assert not is_current(spec("pages", "clusters"), "p", home)
    write(home, "pages", "p", "a")
    assert is_current(described, "p", home), "equal content is no change"
    write(home, "pages", "p", "b")
    assert not is_current(described, "p", home)
    write(home, "pages", "p", "a")
    home.tables.quarantine("made", "p", "why")
    assert not is_current(described, "p", home)


def checked_rows(fault: object) -> tuple[dg.AssetsDefinition, dg.AssetChecksDefinition]:
    @dg.asset(code_version="1", partitions_def=CRAWL)
    def rows(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[dg.MaterializeResult]:
        step = Step(context, home)
        with step.tables({"rows": ROWS}):
            pass
        yield from step.results("rows")

    def rows_are_good(home: Home, partition: str | None) -> list[str]:
        """No fault in them."""
        if isinstance(fault, Exception):
            raise fault
        return list(itertools.repeat(f"{fault} in {partition}", 12)) if fault else []

    return rows, blocking_check("rows", partitioned=True, find_faults=rows_are_good)


def test_a_check_says_what_it_found_and_quarantines_its_partition_alone(home: Home) -> None:
    write(home, "rows", "q", "a")
    result = materialize(home, *checked_rows("a hole"), partition="p")
    (evaluation,) = result.get_asset_check_evaluations()
    assert not result.success
    assert not evaluation.passed
    assert evaluation.blocking
    assert evaluation.partition == "p"
    assert evaluation.metadata["faults"].value == 12
    assert str(evaluation.metadata["examples"].value).splitlines() == ["- a hole in p"] * 10
    assert home.tables.quarantine_reason("rows", "p") == "rows_are_good: a hole in p"
    assert home.tables.quarantine_reason("rows", "q") is None


def test_a_check_that_finds_nothing_passes(home: Home) -> None:
    result = materialize(home, *checked_rows(None), partition="p")
    (evaluation,) = result.get_asset_check_evaluations()
    assert result.success
    assert evaluation.passed
    assert home.tables.quarantine_reason("rows", "p") is None


def test_what_could_not_be_checked_is_quarantined(home: Home) -> None:
    assert not materialize(home, *checked_rows(DataError("unreadable")), partition="p").success
    assert home.tables.quarantine_reason("rows", "p") == "rows_are_good: it did not end"


def test_a_cap_that_is_reached_ends_a_run_of_many_and_what_was_made_before_it_stays(home: Home) -> None:
    tried = []

    @dg.asset(code_version="1", partitions_def=CRAWL, backfill_policy=ONE_RUN)
    def capped(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[Made]:
        def make(step: Step) -> None:
            tried.append(step.partition)
            with step.tables({"capped": ROWS}):
                if step.partition == "c":
                    raise DataError("torn")
                if step.partition == "d":
                    raise BudgetReached("NYX_MAX_CALLS=2 is reached")

        yield from each_partition(context, home, make, "capped")

    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(CRAWL.name), list("bcdef"))
        result = dg.materialize(
            [capped], instance=instance, resources={"home": home}, raise_on_error=False,
            tags={"dagster/asset_partition_range_start": "b", "dagster/asset_partition_range_end": "f"},
        )  # fmt: skip
        (failed,) = result.get_step_failure_events()
        assert tried == ["b", "c", "d"], "the others would be refused as well"
        assert cap_of(failed) == "NYX_MAX_CALLS=2 is reached"
        assert home.tables.partitions("capped") == ["b"]
        assert instance.get_materialized_partitions(dg.AssetKey("capped")) == {"b"}


def test_after_a_failed_step_a_check_that_a_disk_ended_is_told_as_trouble_of_the_disk(home: Home) -> None:
    @dg.asset(code_version="1", partitions_def=CRAWL, backfill_policy=ONE_RUN)
    def torn(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[Made]:
        def make(step: Step) -> None:
            with step.tables({"torn": ROWS}):
                if step.partition == "b":
                    raise DataError("torn")

        yield from each_partition(context, home, make, "torn")

    def rows_are_whole(home: Home, partition: str | None) -> list[str]:
        """No row is torn."""
        if partition == "d":
            raise PermissionError("the disk is read-only")
        return ["half a row"] if partition == "c" else []

    check = blocking_check("torn", partitioned=True, find_faults=rows_are_whole)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(CRAWL.name), list("abcd"))
        result = dg.materialize(
            [torn, check], instance=instance, resources={"home": home}, raise_on_error=False,
            tags={"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "d"},
        )  # fmt: skip
    assert {one.partition: one.passed for one in result.get_asset_check_evaluations()} == {
        "a": True, "c": False, "d": False,
    }  # fmt: skip
    attempts = attempts_of(result.all_events, None, asset_of_node=str, code_version_of=lambda asset: "1")
    kinds = {attempt.crawl: attempt.error_kind for attempt in attempts}
    assert kinds == {"b": "DataError", "c": "check", "d": "PermissionError"}
    assert home.tables.partitions("torn") == ["a"]


def test_a_check_is_named_and_described_by_its_function() -> None:
    _, check = checked_rows(None)
    (described,) = check.check_specs
    assert (described.name, described.description, described.blocking) == ("rows_are_good", "No fault in them.", True)


def test_columns_are_shown_with_their_types() -> None:
    shown = column_schema(pa.schema([("id", pa.string()), ("vector", pa.list_(pa.float32(), 3))]))
    assert [(column.name, column.type) for column in shown.columns] == [
        ("id", "string"), ("vector", "fixed_size_list<item: float>[3]"),
    ]  # fmt: skip
