"""Dev examples for training: held-out pairs whose golden chunk a checkpoint should find, used to choose among weights.

Pairs of the test split are never read here.
"""

from resources.home import Home
from training_kernels.documents import Document
from training_kernels.examples import Example, ExampleSet


def dev_examples(home: Home) -> ExampleSet:
    """One example a pair of NyxQA's dev split, in order of id, with the documents that they name."""
    pairs = {row["qa_id"]: row for row in home.tables.read("filtered_qa").to_pylist() if row["split"] == "dev"}
    documents = {qa_id: Document.from_rows(pair["question"]) for qa_id, pair in sorted(pairs.items())}
    wanted = {pair["chunk_id"] for pair in pairs.values()}
    for partition in home.tables.partitions("chunked_corpus"):
        for batch in home.tables.batches("chunked_corpus", partition=partition, columns=["chunk_id", "segments"]):
            documents |= {
                row["chunk_id"]: Document.from_rows(row["segments"])
                for row in batch.to_pylist()
                if row["chunk_id"] in wanted
            }
    examples = (
        Example(example_id=qa_id, query=qa_id, positive=pair["chunk_id"], negatives=(), source="nyxqa")
        for qa_id, pair in sorted(pairs.items())
    )
    return ExampleSet(documents, tuple(examples))
