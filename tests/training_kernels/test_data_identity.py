"""The digest of what a run was trained on changes with its content and with nothing else."""

from dataclasses import replace

from training_kernels.data_identity import data_identity
from training_kernels.dev_examples import NO_DEV
from training_kernels.documents import Document, Segment
from training_kernels.examples import Example, ExampleSet

EXAMPLE = Example(example_id="e", query="q", positive="p", negatives=("n",), source="nyxqa")
DOCUMENTS = {"q": Document.of("which moon?"), "p": Document.of(Segment(image="ab"), "Io"), "n": Document.of("an egg")}


DEV = ExampleSet(DOCUMENTS, (replace(EXAMPLE, example_id="dev"),))


def test_the_order_of_documents_does_not_count_and_everything_else_does():
    training = ExampleSet(DOCUMENTS, (EXAMPLE,))
    first = data_identity(training, DEV)
    assert data_identity(ExampleSet(dict(reversed(DOCUMENTS.items())), (EXAMPLE,)), DEV) == first
    second = replace(EXAMPLE, example_id="f")
    others = [
        (ExampleSet({**DOCUMENTS, "n": Document.of("an egg ")}, (EXAMPLE,)), DEV),
        (ExampleSet({**DOCUMENTS, "p": Document.of(Segment(image="ac"), "Io")}, (EXAMPLE,)), DEV),
        (ExampleSet(DOCUMENTS, (replace(EXAMPLE, negatives=()),)), DEV),
        (ExampleSet(DOCUMENTS, (EXAMPLE, second)), DEV),
        (ExampleSet(DOCUMENTS, (second, EXAMPLE)), DEV),
        (ExampleSet(DOCUMENTS, (EXAMPLE,), {"p": "k", "n": "k"}), DEV),
        (training, NO_DEV),
        (training, replace(DEV, documents={**DOCUMENTS, "n": Document.of("an egg ")})),
        (DEV, training),
    ]
    assert len({first, *(data_identity(*other) for other in others)}) == 10
