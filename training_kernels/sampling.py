"""Which examples stand together in a batch: an order that is a function of the seed, no positive twice in a batch."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from training_kernels.config import TrainConfig
from training_kernels.errors import DataError
from training_kernels.examples import Example


def plan_batches(examples: Sequence[Example], config: TrainConfig) -> list[list[Example]]:
    """The batches of a whole run, in order: `epochs` passes, at most `max_steps` batches.

    Raises DataError where no two examples have different positives: there would be nothing to tell apart.
    """
    if len({example.positive for example in examples}) < 2:
        raise DataError(
            f"{len(examples)} examples with fewer than two different positives cannot train a retriever; add examples"
        )
    generator = np.random.default_rng(config.seed)
    batches = (
        batch for _ in range(config.epochs) for batch in epoch_batches(examples, generator, size=config.batch_size)
    )
    return list(islice(batches, config.max_steps))


def epoch_batches(examples: Sequence[Example], generator: np.random.Generator, *, size: int) -> Iterator[list[Example]]:
    """Every example once, shuffled; one whose query or positive stands in the batch already waits for the next.

    A batch of a single example, which can only come last, is left out: it has nothing to be told apart from.
    """
    waiting = deque(examples[position] for position in generator.permutation(len(examples)))
    while waiting:
        batch: list[Example] = []
        taken: set[str] = set()
        put_off: list[Example] = []
        while waiting and len(batch) < size:
            example = waiting.popleft()
            if taken.isdisjoint((example.query, example.positive)):
                batch.append(example)
                taken.update((example.query, example.positive))
            else:
                put_off.append(example)
        waiting.extendleft(reversed(put_off))
        if len(batch) > 1:
            yield batch
