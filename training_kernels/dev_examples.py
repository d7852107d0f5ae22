"""Examples that training is scored on and never trained on: the folder `dev` of an examples folder, itself such a folder."""

from pathlib import Path

from training_kernels.errors import DataError
from training_kernels.examples import ExampleSet, read_examples, write_examples

DEV_FOLDER = "dev"
"""Inside an examples folder; optional."""

NO_DEV = ExampleSet({}, ())


def write_dev_examples(folder: Path, dev: ExampleSet) -> None:
    """Writes the dev examples of an examples folder; nothing where there are none."""
    if dev.examples:
        write_examples(folder / DEV_FOLDER, dev.documents, dev.examples)


def read_dev_examples(folder: Path, training: ExampleSet) -> ExampleSet:
    """The dev examples of an examples folder; none where it has no such folder.

    Raises what read_examples raises, and DataError for a dev example that is trained on as well.
    """
    if not (folder / DEV_FOLDER).is_dir():
        return NO_DEV
    dev = read_examples(folder / DEV_FOLDER)
    trained = {(example.query, example.positive) for example in training.examples}
    for row, example in enumerate(dev.examples):
        if (example.query, example.positive) in trained:
            raise DataError(
                f"dev example {example.example_id!r} (row {row}) is trained on as well, so its score would say nothing; "
                "leave it out of one of the two files"
            )
    return dev
