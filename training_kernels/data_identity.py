"""What the weights of a run were learnt from and chosen by, as one digest: equal for equal content, in whatever files it lay."""

import hashlib
import json
from dataclasses import fields

from training_kernels.examples import Example, ExampleSet

FIELDS = sorted(field.name for field in fields(Example))


def data_identity(training: ExampleSet, dev: ExampleSet) -> str:
    """SHA-256 of the training examples in their order, of their documents, pictures by their own digest, and of which of
    these are near copies; and of the dev examples and documents."""
    digest, encode = hashlib.sha256(), json.JSONEncoder(sort_keys=True).encode
    for examples in (training, dev):
        digest.update(f"{len(examples.examples)} examples\n".encode())
        for example in examples.examples:  # not by asdict, which copies every value: ten times as long
            digest.update(encode({name: getattr(example, name) for name in FIELDS}).encode() + b"\n")
        for document_id in sorted(examples.documents):
            digest.update(encode([document_id, examples.documents[document_id].to_rows()]).encode() + b"\n")
    for pair in sorted(training.cluster_by_document.items()):
        digest.update(encode(pair).encode() + b"\n")
    return digest.hexdigest()
