"""Run by test_distributed.py under torchrun: a run that diverges while its checkpoints take long to write."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import record

from training_kernels import trainer
from training_kernels.distributed import joined_ranks
from training_kernels.examples import read_examples
from training_kernels.images import PictureFolder
from training_kernels.recipes import tiny

SECONDS = 2.0
"""That a checkpoint takes: many times what torchrun takes to notice a rank that raised."""

write = trainer.write_checkpoint


def write_slowly(*told: object, **named: object) -> None:
    time.sleep(SECONDS)
    write(*told, **named)


@record
def main(arguments: Sequence[str]) -> None:
    examples, start_from, out = map(Path, arguments)
    trainer.write_checkpoint = write_slowly
    config = replace(
        tiny(),
        batch_size=16,
        epochs=100,
        max_steps=30,
        optimizer=replace(tiny().optimizer, learning_rate=0.5, warmup_share=0.9),
        divergence=replace(tiny().divergence, max_rise=1e-6, steps=2),
        state=replace(tiny().state, every_steps=1),
    )
    with joined_ranks():
        trainer.train(
            config, read_examples(examples), PictureFolder(str(examples)), start_from=start_from, out=out, log=print
        )


if __name__ == "__main__":
    main(sys.argv[1:])
