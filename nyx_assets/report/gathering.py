"""Everything that the page says, read from the home: its sections, and what the missing ones wait for."""

from dataclasses import dataclass
from typing import Any

from nyx_assets.figures import (
    blame_plot,
    funnel_plot,
    link_rot_plot,
    metric_name,
    mined_similarities,
    preference_similarities,
    recall_by_k,
    rejections_plot,
    score_by_dim,
    training_plots,
)
from nyx_assets.plots import Plot
from nyx_assets.report.examples import examples_of
from nyx_assets.report.funnel import (
    costs,
    dropped_negatives,
    dropped_pages,
    dropped_pairs,
    dropped_public,
    funnel_table,
    funnel_totals,
    stand_ins,
)
from nyx_assets.report.lineage import checkpoints, live_index, table_versions
from nyx_assets.report.reading import Row, has_table, rows_of, selected
from nyx_assets.report.verdict import METRIC, SPLIT, SUITE, main_scores, verdict_of
from nyx_assets.retrievers import FINETUNED, PROMOTED
from resources.home import Home

WITHOUT = ("report", "catalog")
"""Made after all that the page tells of."""
SHOWN_METRICS = ("recall@1", "recall@5", "recall@10", "mrr", METRIC)
MAX_POINTS = 40_000
"""Choice: of a histogram; more change nothing that is seen. Ids are hashes, so the first rows are a fair draw."""
MAX_WRONG = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page: shown if what it needs is made."""

    name: str
    title: str
    needs: str
    """A table, or "rankings" or "checkpoints", which are files."""
    is_shown: bool


def page_of(home: Home, *, recipe: str) -> dict[str, Any]:
    """What the template reads. A section whose table is not made is left out and named among the missing."""
    totals = funnel_totals(home)
    trained = [one for one in checkpoints(home) if one.metrics and one.retriever != PROMOTED.name]  # it is one of them
    examples = examples_of(home)
    tables = table_versions(home, without=WITHOUT)
    made = {
        "examples": bool(examples),
        "training": bool(trained),
        **{name: has_table(home, table) for name, (_, table) in SECTIONS.items()},
    }
    sections = [
        Section(name=name, title=title, needs=needs, is_shown=made[name])
        for name, (title, needs) in (SECTIONS | FILE_SECTIONS).items()
    ]
    return {
        "recipe": recipe,
        "home_name": home.root.name,
        "as_of": max((table["written_at"] for table in tables), default=""),
        "verdict": verdict_of(home),
        "stand_ins": stand_ins(home),
        "sections": {section.name: section for section in sections},
        "scores": score_table(home),
        "differences": differences(home),
        "score_plots": _some(
            [recall_by_k(main_scores(home)), score_by_dim(main_scores(home, every_dim=True), metric=METRIC)]
        ),
        "data_plots": _data_plots(home, totals),
        "training": [(one.retriever, training_plots(one.metrics)[:2]) for one in trained if one.metrics["curve"]],
        "answers": answer_rows(home),
        "answer_gains": answer_gains(home),
        "rounds": feedback_rounds(home),
        "funnel": funnel_table(totals),
        "dropped": [
            (title, rows)
            for title, rows in (
                ("Pages and pictures", dropped_pages(home)),
                ("Questions and answers", dropped_pairs(home)),
                ("Hard negatives", dropped_negatives(home)),
                ("Rows of public sets", dropped_public(home)),
            )
            if rows
        ],
        "blame": rows_of(home, "blame_split"),
        "blame_plot": blame_plot(rows_of(home, "blame_split")),
        "wrong": selected(
            home,
            "wrong_answers",
            "SELECT * FROM wrong_answers QUALIFY row_number() OVER (PARTITION BY blame ORDER BY retriever = 'finetuned' "
            f"DESC, qa_id) <= {MAX_WRONG // 2} ORDER BY blame, qa_id LIMIT {MAX_WRONG}",
        ),
        "modalities": [
            row for row in rows_of(home, "modality_report") if (row["suite"], row["split"]) == (SUITE, SPLIT)
        ],
        "index_settings": rows_of(home, "index_settings"),
        "costs": costs(home),
        "examples": examples,
        "checkpoints": checkpoints(home),
        "live": live_index(home),
        "tables": tables,
    }


SECTIONS = {
    "scores": ("Retrievers side by side", "retrieval_scores"),
    "differences": ("Differences with intervals", "retrieval_differences"),
    "answers": ("What the answers gain", "rag_scores"),
    "blame": ("Why answers are wrong", "blame_split"),
    "modalities": ("By modality", "modality_report"),
    "index_settings": ("Width and precision", "index_settings"),
    "funnel": ("The funnel", "qa_funnel"),
}
"""Title and table, in the order of the page."""

FILE_SECTIONS = {
    "training": ("Training", "checkpoints"),
    "examples": ("Example questions", "rankings of the evaluation"),
}


def score_table(home: Home) -> dict[str, Any]:
    """A line a retriever at full width, with the generator's F1 beside; the best of each metric is marked."""
    by_retriever: dict[str, dict[str, float]] = {}
    for row in main_scores(home):
        by_retriever.setdefault(row["retriever"], {})[row["metric"]] = row["value"]
    answers = reversed(rows_of(home, "rag_scores"))  # of several generators the first counts, which is the role's
    f1 = {row["retriever"]: row["value"] for row in answers if row["metric"] == "token_f1"}
    metrics = [metric for metric in SHOWN_METRICS if any(metric in scores for scores in by_retriever.values())]
    best = {metric: max(scores.get(metric, 0.0) for scores in by_retriever.values()) for metric in metrics}
    return {
        "header": [metric_name(metric) for metric in metrics],
        "rows": [
            (name, [(scores.get(metric), scores.get(metric) == best[metric]) for metric in metrics], f1.get(name))
            for name, scores in by_retriever.items()
        ],
        "bounds": [(name, f1[name]) for name in ("none", "golden") if name in f1],
    }


def differences(home: Home) -> dict[str, list[Row]]:
    """Pairs of retrievers with the interval of their difference, on the main test questions and on other suites."""
    rows = [row for row in rows_of(home, "retrieval_differences") if row["split"] == SPLIT and row["metric"] == METRIC]
    return {
        "main": [row for row in rows if row["suite"] == SUITE],
        "others": [row for row in rows if row["suite"] != SUITE],
    }


def answer_rows(home: Home) -> list[dict[str, Any]]:
    """A line for each generator and what it was shown, with its grades by metric."""
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows_of(home, "rag_scores"):
        line = {
            "generator": row["generator"],
            "shown": row["retriever"],
            "num_queries": row["num_queries"],
            "grades": {},
        }
        lines.setdefault((row["generator"], row["retriever"]), line)["grades"][row["metric"]] = row
    return list(lines.values())


def answer_gains(home: Home) -> list[Row]:
    """What the tuned retriever's windows are worth against every other, by generator and metric."""
    return [
        row
        if row["retriever"] == FINETUNED.name
        else row
        | {
            "retriever": row["against"],
            "against": row["retriever"],
            "difference": -row["difference"],
            "interval_low": -row["interval_high"],
            "interval_high": -row["interval_low"],
        }
        for row in rows_of(home, "rag_differences")
        if FINETUNED.name in (row["retriever"], row["against"]) and row["metric"] == "token_f1"
    ]


def feedback_rounds(home: Home) -> list[Row]:
    """The feedback rounds behind the present finetuned checkpoint; none if there was one round only."""
    current = home.commit("finetuned_checkpoint", None)
    rows = rows_of(home, "feedback_rounds")
    is_of_it = any(row["is_chosen"] and current and row["checkpoint"] == current.data_version for row in rows)
    return rows if is_of_it else []


def _data_plots(home: Home, totals: list[Row]) -> list[Plot]:
    negatives = selected(home, "negatives", f"SELECT * FROM negatives ORDER BY qa_id, rank LIMIT {MAX_POINTS}")
    preferences = selected(
        home,
        "feedback_preferences",
        f"SELECT role, similarity FROM feedback_preferences ORDER BY qa_id, window_rank LIMIT {MAX_POINTS}",
    )
    rejected = {rule: number for total in totals for rule, number in total["rules"].items()}
    return _some(
        [
            funnel_plot(totals),
            rejections_plot("Rejected by rule", rejected, unit="chunks and pairs"),
            mined_similarities(negatives),
            preference_similarities(preferences),
            link_rot_plot(rows_of(home, "link_rot")),
        ]
    )


def _some(plots: list[Plot | None]) -> list[Plot]:
    return [plot for plot in plots if plot is not None]
