"""Which examples stand together in a batch: an order that is a function of the seed, no answer twice in a batch.

The plan is made for all ranks together: a rank takes its share of the joined batch (objective.share_of), so that the
batches, and with them the gradients, are the same for any number of ranks.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training_kernels.config import SamplingConfig, TrainConfig
from training_kernels.errors import DataError
from training_kernels.examples import Example, ExampleSet

ALONE, FEW, CAPPED, DRAWN_OUT = "alone", "small_batch", "source_cap", "source_weight"
DROP_REASONS = {
    ALONE: "no example was left to stand in a batch with it",
    FEW: "a batch holds no positive twice, and too few examples with other positives were left to stand in one with it "
    "(sampling.least_share)",
    CAPPED: "its source has more examples than cap_by_source takes in an epoch",
    DRAWN_OUT: "weight_by_source takes a share of its source in an epoch, and it was not drawn",
}


@dataclass(frozen=True, slots=True)
class Dropped:
    """An example that an epoch (0-based) leaves out, and the rule by which: a key of DROP_REASONS."""

    epoch: int
    example_id: str
    source: str
    rule: str


class BatchPlan:
    """The batches of a whole run by step (0-based); any step's is at hand without those before it."""

    def __init__(self, examples: Sequence[Example], batches: Sequence[np.ndarray], dropped: Sequence[Dropped]) -> None:
        self._examples, self._batches = examples, batches
        self.dropped = tuple(dropped)
        """What the planned epochs leave out, by epoch."""

    def __len__(self) -> int:
        """Steps of the run."""
        return len(self._batches)

    def __getitem__(self, step: int) -> list[Example]:
        """The joined batch of all ranks at a step."""
        return [self._examples[position] for position in self._batches[step]]

    def __iter__(self) -> Iterator[list[Example]]:
        return (self[step] for step in range(len(self)))

    def drops(self) -> list[dict[str, Any]]:
        """For a report: how often each rule dropped an example of each source, over all epochs, most first, and why."""
        counts = Counter((one.source, one.rule) for one in self.dropped)
        return [
            {"source": source, "rule": rule, "times": times, "reason": DROP_REASONS[rule]}
            for (source, rule), times in counts.most_common()
        ]


def plan_batches(training: ExampleSet, config: TrainConfig) -> BatchPlan:
    """The batches of a whole run, in order: `epochs` passes, at most those of `max_steps` steps.

    Raises DataError where no two examples have different positives, for there would be nothing to tell apart, and where
    the recipe names a source that no example has.
    """
    examples = training.examples
    keys = _Keys(training)
    max_batches = config.max_steps * config.batches_per_step
    if len(set(keys.positive_N.tolist())) < 2:
        raise DataError(
            f"{len(examples)} examples with fewer than two different positives cannot train a retriever; add examples"
        )
    _require_known_sources(keys.sources, config.sampling)
    batches: list[np.ndarray] = []
    dropped: list[Dropped] = []
    for epoch in range(config.epochs):
        if len(batches) >= max_batches:
            break
        generator = np.random.default_rng([config.seed, epoch])
        kept, left_out = _drawn(keys, generator, config.sampling)
        filled, not_placed = _filled(keys, kept, generator, size=config.batch_size, sampling=config.sampling)
        batches += filled
        for position, rule in left_out + not_placed:
            dropped.append(Dropped(epoch, examples[position].example_id, examples[position].source, rule))
    if not batches:
        raise DataError(
            f"the sources' weights and caps of recipe {config.name!r} leave no batch of {len(examples)} examples; raise them"
        )
    return BatchPlan(examples, batches[:max_batches], dropped)


class _Keys:
    """What of each example decides where it may stand, as numbers. N examples."""

    def __init__(self, training: ExampleSet) -> None:
        examples, cluster = training.examples, training.cluster_by_document
        self.positive_N = _numbered(cluster.get(example.positive, example.positive) for example in examples)
        self.query_N = _numbered(example.query for example in examples)
        self.sources = sorted({example.source for example in examples})
        number_by_source = {source: number for number, source in enumerate(self.sources)}
        self.source_N = np.array([number_by_source[example.source] for example in examples], dtype=np.int64)


def _numbered(values: Iterable[str]) -> np.ndarray:
    """Each value's number in order of first appearance."""
    number_by_value: dict[str, int] = {}
    return np.array([number_by_value.setdefault(value, len(number_by_value)) for value in values], dtype=np.int64)


def _require_known_sources(sources: Sequence[str], sampling: SamplingConfig) -> None:
    named = {source for source, _ in (*sampling.weight_by_source, *sampling.cap_by_source)}
    if unknown := sorted(named - set(sources)):
        raise DataError(f"the recipe's sampling names sources {unknown}, which no example has; there are {sources}")


def _drawn(
    keys: _Keys, generator: np.random.Generator, sampling: SamplingConfig
) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Positions of the examples of an epoch, shuffled, and those left out with the rule.

    An example of a source of weight 2.3 is there twice, and with a chance near 0.3 a third time: as many as make the
    source's total right.
    """
    weights, caps = dict(sampling.weight_by_source), dict(sampling.cap_by_source)
    kept: list[np.ndarray] = []
    left_out: list[tuple[int, str]] = []
    for number, source in enumerate(keys.sources):
        positions = generator.permutation(np.flatnonzero(keys.source_N == number))
        weight = weights.get(source, 1.0)
        whole, part = int(weight), round(len(positions) * (weight - int(weight)))
        taken = np.concatenate([*[positions] * whole, positions[:part]])
        if whole == 0:
            left_out += [(int(position), DRAWN_OUT) for position in positions[part:]]
        cap = caps.get(source, len(taken))
        gone = np.setdiff1d(taken[cap:], taken[:cap])
        left_out += [(int(position), CAPPED) for position in gone]
        kept.append(taken[:cap])
    return generator.permutation(np.concatenate(kept)), left_out


def _filled(
    keys: _Keys, positions: np.ndarray, generator: np.random.Generator, *, size: int, sampling: SamplingConfig
) -> tuple[list[np.ndarray], list[tuple[int, str]]]:
    """Batches of these examples, none much smaller than the largest, and the positions of those left out with the rule.

    In one-source mode the sources' batches are shuffled among each other; a source's own order, in which only its last
    batches may be short, is kept. A source that cannot fill batches has its largest one, so that none is lost whole.
    """
    if sampling.batches == "mixed":
        groups = [positions]
    else:
        groups = [positions[keys.source_N[positions] == number] for number in range(len(keys.sources))]
    filled = [list(_batches_of(keys, group, size=size)) for group in groups]
    least = sampling.least_share * max((len(batch) for batches in filled for batch in batches), default=0)
    made: list[list[np.ndarray]] = []
    left_out: list[tuple[int, str]] = []
    for batches in filled:
        largest = max(batches, key=len, default=None)
        made.append([])
        for batch in batches:
            if len(batch) > 1 and (len(batch) >= least or batch is largest):
                made[-1].append(batch)
            else:
                left_out += [(int(position), FEW if len(batch) > 1 else ALONE) for position in batch]
    turns = generator.permutation(np.repeat(np.arange(len(made)), [len(batches) for batches in made]))
    queues = [iter(batches) for batches in made]
    return [next(queues[turn]) for turn in turns], left_out


def _batches_of(keys: _Keys, positions: np.ndarray, *, size: int) -> Iterator[np.ndarray]:
    """Every position in one batch, none of which holds a query or positive twice, in time all but linear in their number.

    Each example goes into the first batch that has room and comes after the last ones with its query and its positive.
    The first batch with room at or after another is found as in a union-find, with path halving.
    """
    batches: list[list[int]] = []
    onward: list[int] = []  # of a full batch: a later one, on the way to the next with room; of another: itself
    after_query: dict[int, int] = {}
    after_positive: dict[int, int] = {}
    for position, query, positive in zip(
        positions.tolist(), keys.query_N[positions].tolist(), keys.positive_N[positions].tolist(), strict=True
    ):
        place = max(after_query.get(query, 0), after_positive.get(positive, 0))
        while place < len(batches) and onward[place] != place:
            if onward[place] < len(batches):
                onward[place] = onward[onward[place]]
            place = onward[place]
        if place == len(batches):
            batches.append([])
            onward.append(place)
        batches[place].append(position)
        if len(batches[place]) == size:
            onward[place] = place + 1
        after_query[query] = after_positive[positive] = place + 1
    yield from (np.array(batch, dtype=np.int64) for batch in batches)
