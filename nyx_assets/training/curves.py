"""The curves of a training run as small pictures in Markdown, for the Dagster UI."""

from collections.abc import Mapping
from typing import Any

from nyx_assets.figures import training_plots


def curves_markdown(report: Mapping[str, Any]) -> str:
    """Loss by dim, dev score, gradient norm, learning rate and throughput of a run's report, as pictures."""
    return " ".join(plot.markdown for plot in training_plots(report))
