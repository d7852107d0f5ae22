"""The digest of what a run was trained on changes with its content and with nothing else."""

from dataclasses import replace

from training_kernels.data_identity import data_identity
from training_kernels.documents import Document, Segment
from training_kernels.examples import Example, ExampleSet

EXAMPLE = Example(example_id="e", query="q", positive="p", negatives=("n",), source="nyxqa")
DOCUMENTS = {"q": Document.of("which moon?"), "p": Document.of(Segment(image="ab"), "Io"), "n": Document.of("an egg")}


def test_the_order_of_documents_does_not_count_and_everything_else_does():
    first = data_identity(ExampleSet(DOCUMENTS, (EXAMPLE,)))
    assert data_identity(ExampleSet(dict(reversed(DOCUMENTS.items())), (EXAMPLE,))) == first
    second = replace(EXAMPLE, example_id="f")
    others = [
        ExampleSet({**DOCUMENTS, "n": Document.of("an egg ")}, (EXAMPLE,)),
        ExampleSet({**DOCUMENTS, "p": Document.of(Segment(image="ac"), "Io")}, (EXAMPLE,)),
        ExampleSet(DOCUMENTS, (replace(EXAMPLE, negatives=()),)),
        ExampleSet(DOCUMENTS, (EXAMPLE, second)),
        ExampleSet(DOCUMENTS, (second, EXAMPLE)),
    ]
    assert len({first, *map(data_identity, others)}) == 6
