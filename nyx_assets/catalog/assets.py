"""catalog.duckdb, rebuilt last."""

from collections.abc import Iterable, Iterator

import dagster as dg

from nyx_assets.materialization import FILE_KEY, Step, name_of
from nyx_assets.records import CATALOG
from resources.catalog import FILE, build_catalog
from resources.home import Home


def catalog_over(assets: Iterable[dg.AssetSpec]) -> dg.AssetsDefinition:
    """The catalogue of these assets: it is made again whenever one of them is."""
    keys = sorted({spec.key for spec in assets})

    @dg.asset(
        deps=keys,
        description="catalog.duckdb: a view of each table, what each was made from, and a row for each VLM call. Open it read-only.",
        group_name="catalog",
        kinds={"duckdb"},
        code_version="2",
        pool="catalog",
        metadata={FILE_KEY: FILE},
    )
    def catalog(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[dg.MaterializeResult]:
        step = Step(context, home)
        names = build_catalog(home, [name_of(key) for key in keys])
        with step.tables({"catalog": CATALOG}) as tables:
            tables["catalog"].append({"name": name} for name in names)
        step.report("catalog", path=str(home.root / FILE))
        yield from step.results("catalog")

    return catalog
