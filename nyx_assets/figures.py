"""Which plots there are: each a pure function of rows of a table, or of a training run's report. None where there is
nothing to show.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from nyx_assets.plots import Bar, Plot, bar_plot, histogram_plot, line_plot

Row = Mapping[str, Any]

FLOAT32_BYTES = 4
NOTHING: Mapping[str, Any] = MappingProxyType({})
MAX_BARS = 24
"""Choice: as many as can be read; the tables have the rest."""


def recall_by_k(scores: Iterable[Row]) -> Plot | None:
    """Recall@k of each retriever at its full width.

    Args:
        scores: rows of retrieval_scores, of one suite and split, over all queries.
    """
    widest = _widest(rows := list(scores))
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row["metric"].startswith("recall@") and row["dim"] == widest[row["retriever"]]:
            lines.setdefault(row["retriever"], []).append((float(row["metric"].partition("@")[2]), row["value"]))
    if not lines:
        return None
    ks = sorted({k for line in lines.values() for k, _ in line})
    places = {k: math.log2(k) for k in ks}
    drawn = {name: [(places[k], value) for k, value in line] for name, line in lines.items()}
    ticks = [(places[k], f"{k:g}") for k in ks]
    return line_plot("Recall by k", drawn, x="k: hits looked at", y="Recall@k", x_ticks=ticks, from_zero=True)


def score_by_dim(scores: Iterable[Row], *, metric: str) -> Plot | None:
    """A metric of each retriever at each Matryoshka dim, with the bytes of a float32 vector; rows as of recall_by_k.

    A retriever without embeddings is a level line.
    """
    rows = [row for row in scores if row["metric"] == metric]
    dims = sorted({row["dim"] for row in rows if row["dim"]})
    if not dims:
        return None
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for dim in [row["dim"]] if row["dim"] else [dims[0], dims[-1]]:
            lines.setdefault(row["retriever"], []).append((math.log2(dim), row["value"]))
    ticks = [(math.log2(dim), f"{dim}\n{FLOAT32_BYTES * dim:,} B") for dim in dims]
    return line_plot("Score by embedding width", lines, x="", y=metric_name(metric), x_ticks=ticks, from_zero=True)


def training_plots(report: Mapping[str, Any], beside: Mapping[str, Mapping[str, Any]] = NOTHING) -> list[Plot]:
    """Loss by dim, dev score, gradient norm, learning rate, throughput and memory of a run's report.

    Args:
        beside: reports of other runs by name, whose dev score stands in the same plot.
    """
    curve = report["curve"]

    def of(name: str) -> list[tuple[float, float]]:
        return [(point["step"], point[name]) for point in curve]

    by_dim = {
        f"{dim} dims": [(point["step"], point["loss_by_dim"][dim]) for point in curve]
        for dim in curve[0]["loss_by_dim"]
    }
    plots = [line_plot("Loss", {"weighted sum": of("loss"), **by_dim}, x="step", y="nats")]
    dev = {
        f"{name} {metric_name(metric)}".strip(): [(point["step"], point[metric]) for point in run["dev"]]
        for name, run in {"": report, **beside}.items()
        for metric in ("ndcg@10", "recall@10")
        if run["dev"]
    }
    if dev:
        plots.append(line_plot("Dev score", dev, x="step", y="score"))
    memory = [(step, value / 2**30) for step, value in of("memory_bytes")]
    return [
        *plots,
        line_plot("Gradient norm", {"": of("gradient_norm")}, x="step", y="norm"),
        line_plot("Learning rate", {"": of("learning_rate")}, x="step", y="rate"),
        line_plot("Throughput", {"": of("queries_per_second")}, x="step", y="queries/s"),
        line_plot("Memory", {"": memory}, x="step", y="GiB"),
    ]


def mined_similarities(negatives: Iterable[Row]) -> Plot | None:
    """Scores of golden chunks and of the hard negatives kept beside them, by the miner; rows of `negatives`."""
    rows = list(negatives)
    positive_by_query = {row["qa_id"]: row["positive_score"] for row in rows if row["positive_score"] is not None}
    if not positive_by_query:
        return None
    miner = rows[0]["miner"]
    samples = {"golden chunk": list(positive_by_query.values()), "hard negative": [row["score"] for row in rows]}
    unit = "BM25 score" if miner == "bm25" else f"cosine by {miner}"
    return histogram_plot("Golden chunks and hard negatives", samples, x=f"{unit} to the question")


def preference_similarities(preferences: Iterable[Row], *, by: str = "pretrained") -> Plot | None:
    """Cosines, by the retriever that found them, of the windows that the generator answered from, and of those that
    became negatives."""
    samples: dict[str, list[float]] = {"positive": [], "negative": []}
    for row in preferences:
        if row["role"] in samples and row["similarity"] is not None:
            samples[row["role"]].append(row["similarity"])
    if not all(samples.values()):
        return None
    named = {"answered from it": samples["positive"], "failed": samples["negative"]}
    return histogram_plot("Windows of the feedback", named, x=f"cosine by {by} to the question")


def funnel_plot(totals: Sequence[Row]) -> Plot | None:
    """Kept and rejected by step; steps that rejected nothing are left out, but for the first and the last of a unit.

    Args:
        totals: rows of qa_funnel summed over partitions (funnels.summed).
    """
    if not totals:
        return None
    ends = {rows[place]["check"] for unit in ("chunk", "pair") if (rows := _of(totals, unit)) for place in (0, -1)}
    shown = [row for row in totals if row["num_rejected"] or row["check"] in ends]
    bars = [
        Bar(
            label=f"{row['check']} ({row['unit']}s)" if row["unit"] == "chunk" else row["check"],
            lengths=(row["num_out"], row["num_rejected"]),
            value=f"{row['num_out']:,}" + (f" −{row['num_rejected']:,}" if row["num_rejected"] else ""),
        )
        for row in shown
    ]
    return bar_plot("Funnel by step", ["kept", "rejected"], bars, x="chunks, then pairs")


def rejections_plot(title: str, number_by_rule: Mapping[str, int], *, unit: str) -> Plot | None:
    """How many each rule rejected, most first."""
    most = Counter(number_by_rule).most_common(MAX_BARS)
    bars = [Bar(label=rule, lengths=(number,), value=f"{number:,}") for rule, number in most]
    return bar_plot(title, ["rejected"], bars, x=unit) if bars else None


def link_rot_plot(rows: Iterable[Row]) -> Plot | None:
    """Pictures on the web that were had and lost, by host, most lost first; rows of link_rot."""
    had: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for row in rows:
        (had if row["rule"] == "taken" else lost)[row["host"]] += row["num_references"]
    hosts = sorted(had.keys() | lost.keys(), key=lambda host: (-lost[host], host))[:MAX_BARS]
    bars = [
        Bar(label=host, lengths=(had[host], lost[host]), value=f"{lost[host] / (had[host] + lost[host]):.0%} lost")
        for host in hosts
    ]
    return bar_plot("Pictures on the web by host", ["had", "lost"], bars, x="references") if bars else None


def blame_plot(rows: Iterable[Row]) -> Plot | None:
    """Outcomes of each retriever's answers, by generator where there are several; rows of blame_split."""
    names = {"right": "right", "misread": "misread", "below_window": "below window", "not_retrieved": "not retrieved"}
    given = list(rows)
    several = len({row["generator"] for row in given}) > 1
    shares: dict[str, dict[str, float]] = {}
    for row in given:
        label = f"{row['retriever']}, {row['generator']}" if several else row["retriever"]
        shares.setdefault(label, {})[row["outcome"]] = row["share"] * 100
    bars = [
        Bar(
            label=label,
            lengths=tuple(by_outcome.get(name, 0.0) for name in names),
            value=f"{by_outcome.get('right', 0.0):.0f} % right",
        )
        for label, by_outcome in shares.items()
    ]
    return bar_plot("Who is to blame", list(names.values()), bars, x="% of answers") if bars else None


def metric_name(metric: str) -> str:
    """As it is written for people: nDCG@10, Recall@1, MRR."""
    name, at, k = metric.partition("@")
    return {"ndcg": "nDCG", "mrr": "MRR", "map": "MAP", "token_f1": "F1"}.get(name, name.capitalize()) + at + k


def _widest(rows: Iterable[Row]) -> dict[str, int]:
    widest: dict[str, int] = {}
    for row in rows:
        widest[row["retriever"]] = max(row["dim"], widest.get(row["retriever"], 0))
    return widest


def _of(totals: Sequence[Row], unit: str) -> list[Row]:
    return [row for row in totals if row["unit"] == unit]
