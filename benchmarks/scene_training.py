"""A training run on scenes by the trainer that users run, and how many held-out scenes are found with what it learnt.

Shape letters: N scenes, D embedding width, F columns of a prefix.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.scenes import Scene, ScenePictures, Task, training_set
from training_kernels.backbones.tiny import ensure_tiny
from training_kernels.config import SamplingConfig, TrainConfig
from training_kernels.documents import Document
from training_kernels.encoder import Encoder
from training_kernels.recipes import tiny
from training_kernels.trainer import train

BATCH_SIZE = 128

LEARNING_RATE = 1.5e-3
"""Choice: three times that of `tiny`, whose few pages it would fit sooner than understand. Measured: 3e-3 finds fewer
scenes after the same steps (0.43 against 0.50 of pictures by caption, 400 steps)."""


def scene_recipe(*, num_steps: int, seed: int) -> TrainConfig:
    """`tiny` for examples without end, each seen once: what it does against fitting few of them by heart is not needed."""
    start = tiny()
    return replace(
        start,
        name="scenes",
        optimizer=replace(start.optimizer, learning_rate=LEARNING_RATE, warmup_share=0.05),
        state=replace(start.state, every_seconds=60.0),
        sampling=SamplingConfig(batches="one_source"),  # Choice: the kind of a document tells no candidate from another
        batch_size=BATCH_SIZE,
        negatives_per_query=0,
        epochs=1,
        max_steps=num_steps,
        seed=seed,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneRun:
    """What a training run took, and where it began and ended."""

    untrained: Path
    trained: Path
    num_steps: int
    seconds: float
    """From the first example made to the checkpoint written."""
    processor_seconds: float
    """Of all cores."""


def trained_on_scenes(
    scenes: Sequence[Scene],
    numbers: Sequence[int],
    config: TrainConfig,
    *,
    tasks: Sequence[Task],
    folder: Path,
    num_layers: int = 1,
) -> SceneRun:
    """Trains the tiny backbone, its weights drawn from the recipe's seed, on the scenes of these numbers alone."""
    untrained = ensure_tiny(folder / f"untrained-{config.seed}", seed=config.seed, num_layers=num_layers)
    trained = folder / f"{config.name}-{config.seed}"
    start, start_processor = time.perf_counter(), time.process_time()
    examples = training_set(
        scenes,
        numbers,
        tasks=tasks,
        num_examples=-(-config.max_steps * config.batch_size // len(tasks)),
        seed=config.seed,
    )
    report = train(config, examples, ScenePictures(scenes), start_from=untrained, out=trained, log=lambda line: None)
    return SceneRun(
        untrained=untrained,
        trained=trained,
        num_steps=report["steps"],
        seconds=time.perf_counter() - start,
        processor_seconds=time.process_time() - start_processor,
    )


def recall_at_1(
    encoder: Encoder,
    queries: Sequence[Document],
    answers: Sequence[Document],
    scenes: Sequence[Scene],
    *,
    dims: Sequence[int],
) -> dict[int, float]:
    """Share of the queries whose answer, row by row, comes first among all answers, at each prefix of the embedding."""
    pictures = ScenePictures(scenes)
    query_ND = encoder.encode(queries, pictures, side="query")
    answer_ND = encoder.encode(answers, pictures, side="candidate")
    found = {}
    for dim in dims:
        query_NF, answer_NF = _unit(query_ND[:, :dim]), _unit(answer_ND[:, :dim])
        found[dim] = float(((query_NF @ answer_NF.T).argmax(1) == np.arange(len(queries))).mean())
    return found


def _unit(embedding_NF: np.ndarray) -> np.ndarray:
    return embedding_NF / np.linalg.norm(embedding_NF, axis=1, keepdims=True)
