"""What a person reads at the end of a run, and when they ask how things stand."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from dagster import DagsterInstance

from nyx_assets.main_job import JobReport, Pipeline
from nyx_assets.materialization import is_current
from nyx_assets.partitions import CRAWL
from nyx_assets.quarantine import quarantine_lines, quarantined_partitions
from resources.home import Home
from resources.settings import ROLES


def job_report_json(report: JobReport, home: Home) -> dict[str, Any]:
    """The report of a run as data."""
    return {
        "home": str(home.root),
        "seconds": round(report.seconds, 1),
        "made": report.num_made,
        "assets": {
            name: {
                "made": asset.made,
                "reused": asset.reused,
                "failed": asset.failed,
                "blocked": asset.blocked,
                "rows": asset.num_rows,
                "seconds": round(asset.seconds, 1),
            }
            for name, asset in report.by_asset.items()
        },
        "failures": report.failures,
        "scores": scores_of(home),
        "report": str(home.report_file) if home.report_file.is_file() else None,
    }


def job_report_text(report: JobReport, home: Home, pipeline: Pipeline) -> str:
    """The report of a run for a person: what was made and reused, scores, stand-ins, failures."""
    lines = [
        "",
        _table(
            ["asset", "made", "reused", "failed", "blocked", "rows made", "seconds"],
            [
                [
                    name,
                    asset.made,
                    asset.reused,
                    asset.failed,
                    asset.blocked,
                    f"{asset.num_rows:,}",
                    f"{asset.seconds:.1f}",
                ]
                for name, asset in report.by_asset.items()
            ],
        ),
        "",
    ]
    if report.num_made or report.failures:
        lines.append(f"{report.num_made} tables and folders were made in {report.seconds:.0f} s.")
    else:
        lines.append(f"Nothing was recomputed: everything is current ({report.seconds:.1f} s).")
    scores = scores_of(home)
    if scores:
        lines += [
            "",
            "Held-out NyxQA questions (test split), golden chunk among all chunks:",
            _table(
                ["retriever", "Recall@1", "Recall@10", "MRR", "nDCG@10", "answer F1"],
                [
                    [
                        row["retriever"],
                        *(
                            _number(row.get(metric))
                            for metric in ("recall@1", "recall@10", "mrr", "ndcg@10", "token_f1")
                        ),
                    ]
                    for row in scores
                ],
            ),
        ]
    lines += _stand_in_lines(pipeline)
    if report.failures:
        lines += [
            "",
            f"{len(report.failures)} failures; what they did not touch is done, and the next run goes on from here:",
        ]
        lines += [f"  - {failure}" for failure in report.failures]
    if home.report_file.is_file():
        lines += ["", f"Report:  {home.report_file}"]
    lines += ["", f'Search:  nyx search "…"      Ask:  duckdb {home.root / "catalog.duckdb"}      Look:  make up']
    return "\n".join(lines)


def scores_of(home: Home) -> list[dict[str, Any]]:
    """Test scores of each retriever at full width, with the generator's F1 beside; [] before the first evaluation."""
    if home.commit("retrieval_scores", None) is None or home.commit("rag_scores", None) is None:
        return []
    rows = [
        row
        for row in home.tables.read("retrieval_scores").to_pylist()
        if row["suite"] == "nyxqa" and row["split"] == "test" and row["modality"] == "all"
    ]
    by_retriever: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["dim"]):  # the widest comes last and stays
        by_retriever.setdefault(row["retriever"], {"retriever": row["retriever"]})[row["metric"]] = row["value"]
    for row in home.tables.read("rag_scores").to_pylist():  # of several generators the first, which is the role's
        by_retriever.setdefault(row["retriever"], {"retriever": row["retriever"]}).setdefault(
            row["metric"], row["value"]
        )
    return list(by_retriever.values())


def status_rows(pipeline: Pipeline, instance: DagsterInstance, home: Home) -> list[dict[str, Any]]:
    """How every asset stands: partitions that are current, stale, missing or quarantined, and rows.

    Those that a backfill made with other settings than these are current; `backfilled` says how many they are.
    """
    partitions = sorted(instance.get_dynamic_partitions(str(CRAWL.name)))
    rows = []
    for name, spec in pipeline.specs.items():
        states: Counter[str] = Counter()
        num_rows = 0
        for partition in partitions if spec.partitions_def is not None else [None]:
            commit = home.commit(name, partition)
            num_rows += commit.num_rows if commit else 0
            if commit is None:
                states["missing"] += 1
            elif home.tables.quarantine_reason(name, partition) is not None:
                states["quarantined"] += 1
            elif is_current(spec, partition, home):
                states["current"] += 1
                states["backfilled"] += commit.provenance.code_version != str(spec.code_version)
            else:
                states["stale"] += 1
        rows.append(
            {
                "asset": name,
                **{state: states[state] for state in ("current", "stale", "missing", "quarantined")},
                "rows": num_rows,
                "backfilled": states["backfilled"],
            }
        )
    return rows


def status_text(rows: Sequence[dict[str, Any]], home: Home) -> str:
    """How things stand, for a person."""
    table = _table(
        [name for name in rows[0] if name != "backfilled"],
        [
            [f"{value:,}" if isinstance(value, int) else value for name, value in row.items() if name != "backfilled"]
            for row in rows
        ],
    )
    kept = [
        f"{row['asset']}: {row['backfilled']:,} partitions stay as a backfill made them, with other settings than now"
        for row in rows
        if row["backfilled"]
    ]
    live = (
        [row for row in home.tables.read("final_index").to_pylist() if row["is_live"]]
        if home.commit("final_index", None)
        else []
    )
    out = quarantine_lines(quarantined_partitions(home))
    said = [f"live index: version {row['version']}, {row['num_chunks']:,} chunks, dim {row['dim']}" for row in live]
    return "\n".join(
        [
            f"home {home.root}, crawl {home.crawl}",
            "",
            table,
            "",
            *(said or ["no index is live yet"]),
            *kept,
            *out,
        ]
    )


def _stand_in_lines(pipeline: Pipeline) -> list[str]:
    played = [role for role in ROLES if pipeline.resources[role].is_stand_in]
    if not played:
        return []
    return [
        "",
        f"No VLM was asked: {', '.join(played)} played by the offline stand-in, which writes cloze questions and copies "
        "answers.",
        "Its scores show that the pipeline runs, not how good a retriever is. Real models: set NYX_<ROLE>_BASE_URL and "
        "NYX_<ROLE>_MODEL.",
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Columns in line: the first to the left, the others to the right."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )
