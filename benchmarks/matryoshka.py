"""What Matryoshka training is worth at each dim, against the same training without it: python -m benchmarks.matryoshka.

Ours is trained at every dim, the peer at full width alone, from the same weights on the same examples in the same order for
as many steps; both are then cut to each dim. Asked for is one of 2,048 scenes of several things that nobody trained on.
What comes out holds for the steps that were taken: while little is learnt, a short prefix loses little without Matryoshka
as well, and there is no benefit to see.
"""

import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from benchmarks.learning import NUM_LAYERS
from benchmarks.report import Comparison, argument_parser, comparison_of
from benchmarks.scene_training import recall_at_1, scene_recipe, trained_on_scenes
from benchmarks.scenes import Scene, Task, held_out_pairs, scenes_of_things
from training_kernels.encoder import Encoder

POOL = 2_048
THINGS = 2
TRAINED_SCENES = 30_000

TASK_PAIR: tuple[Task, Task] = ("text to picture", "picture to text")

WEIGHT_BY_DIM = ((128, 1.0), (64, 1.0), (32, 1.0), (16, 1.0), (8, 1.0))
"""Choice: equal weights, since each dim is asked for alike here; the paper's give its narrow dims a fifth."""

DIMS = tuple(dim for dim, _ in WEIGHT_BY_DIM)

STEPS, SEEDS = 1_000, 1
"""Choice: either arm takes some five minutes of one core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benefit(Comparison):
    """Ours is trained with Matryoshka, the peer without; both are cut to `dim`. R@1 is the mean of both directions."""

    dim: int
    ours_by_seed: tuple[float, ...]
    peer_by_seed: tuple[float, ...]
    untrained: float
    """Median over seeds."""
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """R@1 by dim of one seed."""

    matryoshka: dict[int, float]
    full_width_alone: dict[int, float]
    untrained: dict[int, float]


def one_seed(
    seed: int,
    *,
    num_steps: int,
    folder: Path,
    pool: int = POOL,
    trained_scenes: int = TRAINED_SCENES,
    num_things: int = THINGS,
) -> Arms:
    """Both arms, trained and asked."""
    scenes = scenes_of_things(num_things, num_scenes=pool + trained_scenes, seed=seed)
    held_out, trained_on = range(pool), range(pool, len(scenes))
    recipe = scene_recipe(num_steps=num_steps, seed=seed)
    with_it, without_it = (
        trained_on_scenes(
            scenes,
            trained_on,
            replace(recipe, name=name, loss=replace(recipe.loss, weight_by_dim=weights)),
            tasks=TASK_PAIR,
            folder=folder,
            num_layers=NUM_LAYERS,
        )
        for name, weights in (("matryoshka", WEIGHT_BY_DIM), ("full-width-alone", WEIGHT_BY_DIM[:1]))
    )
    return Arms(
        matryoshka=_found(with_it.trained, scenes, held_out, seed),
        full_width_alone=_found(without_it.trained, scenes, held_out, seed),
        untrained=_found(with_it.untrained, scenes, held_out, seed),
    )


def _found(weights: Path, scenes: Sequence[Scene], held_out: Sequence[int], seed: int) -> dict[int, float]:
    encoder = Encoder.load(weights)
    by_task = [
        recall_at_1(encoder, *held_out_pairs(scenes, held_out, task=task, seed=seed), scenes, dims=DIMS)
        for task in TASK_PAIR
    ]
    return {dim: statistics.mean(found[dim] for found in by_task) for dim in DIMS}


def benefits(arms: Sequence[Arms], *, num_steps: int, pool: int = POOL) -> list[Benefit]:
    """One row a dim, widest first."""
    rows = []
    for dim in DIMS:
        ours = [one.matryoshka[dim] for one in arms]
        peers = [one.full_width_alone[dim] for one in arms]
        floor = 1 / pool  # an arm that found nothing is taken to have found what chance finds
        compared = comparison_of(
            f"matryoshka, cut to {dim}",
            [(max(our, floor), max(peer, floor)) for our, peer in zip(ours, peers, strict=True)],
            unit=f"R@1 among {pool:,} scenes never trained",
        )
        rows.append(
            Benefit(
                **asdict(compared),
                dim=dim,
                ours_by_seed=tuple(ours),
                peer_by_seed=tuple(peers),
                untrained=statistics.median(one.untrained[dim] for one in arms),
                steps=num_steps,
            )
        )
    return rows


def print_benefits(rows: Sequence[Benefit], *, as_json: bool) -> None:
    """A line each for a program, or a table for a person."""
    if as_json:
        for row in rows:
            print(json.dumps(asdict(row)))
        return
    first = rows[0]
    print(f"{first.unit}, {first.steps} steps, seeds: {len(first.ours_by_seed)}, on {first.machine}")
    print(f"{'dim':>4} {'with':>7} {'without':>8} {'ratio':>7} {'spread':>15} {'untrained':>10}")
    for row in rows:
        spread = f"{row.spread[0]:.2f} to {row.spread[1]:.2f}"
        print(f"{row.dim:>4} {row.ours:>7.3f} {row.peer:>8.3f} {row.ratio:>7.2f} {spread:>15} {row.untrained:>10.4f}")


def main() -> None:
    parser = argument_parser(__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS, help="of either arm")
    parser.add_argument("--things", type=int, default=THINGS, help="of a scene, at most 4")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    arms = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        with tempfile.TemporaryDirectory() as name:
            arms.append(one_seed(seed, num_steps=options.steps, folder=Path(name), num_things=options.things))
    print_benefits(benefits(arms, num_steps=options.steps), as_json=options.json)


if __name__ == "__main__":
    main()
