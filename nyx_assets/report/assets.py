"""The report page, made again whenever something that it tells of is."""

from collections.abc import Iterable, Iterator

import dagster as dg

from nyx_assets.materialization import FILE_KEY, Step, settings
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.records import REPORT_SECTIONS
from nyx_assets.report.verdict import verdict_of
from nyx_assets.report.writing import write_report
from resources.home import REPORT_FILE, Home


def report_over(assets: Iterable[dg.AssetSpec]) -> dg.AssetsDefinition:
    """The report on these assets."""

    @dg.asset(
        deps=sorted({spec.key for spec in assets}),
        description="One HTML page without scripts: is the tuned retriever better, by how much, on what; plots, funnel, costs, and examples with their pictures. Also made by `nyx report`.",
        group_name="evaluation",
        kinds={"html"},
        code_version="1",
        metadata={FILE_KEY: str(REPORT_FILE), **settings("evaluation")},
    )
    def report(
        context: dg.AssetExecutionContext, home: dg.ResourceParam[Home], recipe: dg.ResourceParam[PipelineRecipe]
    ) -> Iterator[dg.MaterializeResult]:
        step = Step(context, home)
        sections = write_report(home, home.report_file, recipe=recipe.name)
        with step.tables({"report": REPORT_SECTIONS}) as tables:
            tables["report"].append({"section": title, "is_shown": shown} for title, shown in sections.items())
        verdict = verdict_of(home)
        compared = [f"- against {one.against}, {one.outcome}: {one.words}" for one in verdict.comparisons]
        step.report(
            "report",
            page=dg.MetadataValue.path(str(home.report_file)),
            verdict=dg.MetadataValue.md("\n".join([f"**{verdict.headline}**", "", *compared])),
        )
        step.log(verdict.headline)
        yield from step.results("report")

    return report
