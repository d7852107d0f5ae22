"""The curves of a training run as small pictures in Markdown, for the Dagster UI."""

from collections.abc import Mapping
from typing import Any

from nyx_assets.figures import training_plots


def curves_markdown(report: Mapping[str, Any], beside: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Loss by dim, dev score, gradient norm, learning rate and throughput of a run's report, as pictures.

    Args:
        beside: reports of other runs by name, whose dev score stands in the same picture.
    """
    return " ".join(plot.markdown for plot in training_plots(report, beside or {}))
