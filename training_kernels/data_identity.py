"""What a run was trained on, as one digest: equal for equal examples and documents, in whatever files they lay."""

import hashlib
import json
from dataclasses import asdict

from training_kernels.examples import ExampleSet


def data_identity(training: ExampleSet) -> str:
    """SHA-256 of the examples in their order and of every document, pictures by their own digest."""
    digest = hashlib.sha256()
    for example in training.examples:
        digest.update(json.dumps(asdict(example), sort_keys=True).encode() + b"\n")
    for document_id in sorted(training.documents):
        rows = training.documents[document_id].to_rows()
        digest.update(json.dumps([document_id, rows], sort_keys=True).encode() + b"\n")
    return digest.hexdigest()
