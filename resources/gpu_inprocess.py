"""Training in this process, on its GPU where there is one, else on the CPU."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from resources.gpu import TrainJob
from resources.images import FolderImageStore
from training_kernels.dev_examples import read_dev_examples
from training_kernels.document_pictures import DocumentPictures
from training_kernels.examples import read_examples
from training_kernels.recipes import train_recipe


class InProcessLauncher:
    """Needs no set-up; the caller waits until the checkpoint is complete.

    Args:
        take_device: called before training, to choose this process's device.
    """

    def __init__(self, take_device: Callable[[], None] = lambda: None) -> None:
        self.take_device = take_device

    def train(self, job: TrainJob, *, log: Callable[[str], None]) -> dict[str, Any]:
        from training_kernels.trainer import train

        self.take_device()
        config = replace(train_recipe(job.recipe), seed=job.seed)
        training = read_examples(job.examples)
        dev = read_dev_examples(job.examples, training)
        return train(
            config,
            training,
            DocumentPictures(FolderImageStore(job.images), [training, dev]),
            dev=dev,
            start_from=job.start_from,
            out=job.out,
            log=log,
        )
