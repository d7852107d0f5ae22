"""What a run was trained on, as one digest: equal for equal examples and documents, in whatever files they lay."""

import hashlib
import json
from dataclasses import fields

from training_kernels.examples import Example, ExampleSet

FIELDS = sorted(field.name for field in fields(Example))


def data_identity(training: ExampleSet) -> str:
    """SHA-256 of the examples in their order and of every document, pictures by their own digest."""
    digest, encode = hashlib.sha256(), json.JSONEncoder(sort_keys=True).encode
    for example in training.examples:  # not by asdict, which copies every value: ten times as long
        digest.update(encode({name: getattr(example, name) for name in FIELDS}).encode() + b"\n")
    for document_id in sorted(training.documents):
        digest.update(encode([document_id, training.documents[document_id].to_rows()]).encode() + b"\n")
    return digest.hexdigest()
