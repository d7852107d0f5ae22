"""The launcher seam: runs a training recipe, here or under torchrun, and brings its report back."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """One training run, as `python -m training_kernels RECIPE EXAMPLES OUT` would be told it."""

    recipe: str
    examples: Path
    """Folder with documents.parquet and examples.parquet (training_kernels/examples.py)."""
    images: str
    """Root of the content-addressed picture folder."""
    start_from: Path
    """Backbone folder, or a checkpoint folder to go on from."""
    out: Path
    """Folder to write; complete when its manifest.json exists."""
    seed: int


class Launcher(Protocol):
    """Runs training jobs on whatever device it stands for."""

    def train(self, job: TrainJob, *, log: Callable[[str], None]) -> dict[str, Any]:
        """The training report (metrics by name, curves, seconds), after `job.out` is complete."""
        ...
