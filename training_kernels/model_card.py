"""A checkpoint told to people: what it is, what it was trained on, its numbers, and three ways to use it."""

from collections.abc import Mapping
from typing import Any

import yaml

from training_kernels.manifest import Manifest

CARD = """\
---
{front_matter}---

# A retriever for documents of text and pictures

One embedding for any mix of text and pictures in order: {dim} numbers of unit length, the last hidden state of an
embedding token behind the document.{dims}

| | |
|---|---|
| backbone | {backbone} |
| what this folder holds | {kind} |
| recipe | `recipe.json` |
| trained on, and chosen by | data with SHA-256 `{data_identity}` |
| read of a document | at most {max_tokens:,} tokens; pictures scaled to {min_pixels:,} to {max_pixels:,} pixels |
| before every query | {query_instruction} |

## Numbers of the training run

{numbers}

They say how training went, not how well documents are found: measure that on your own documents.

## How to use it

With this project, pictures named by the SHA-256 of their file:

```python
from training_kernels.documents import Document, Segment
from training_kernels.encoder import Encoder
from training_kernels.images import PictureFolder

encoder = Encoder.load("FOLDER")
document = Document.of("a moon", Segment(image="PICTURE_SHA256"), "with volcanoes")
vectors = encoder.encode([document], PictureFolder("PICTURES"), side="candidate")
```

With sentence-transformers; a message keeps texts and pictures in any order, `truncate_dim` takes a shorter prefix:

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("FOLDER")
content = [{{"type": "text", "text": "a moon"}}, {{"type": "image", "image": "moon.png"}}]
candidates = model.encode_document([[{{"role": "user", "content": content}}]])  # messages, texts or pictures: one kind a call
queries = model.encode_query(["which moon has volcanoes?"], truncate_dim={narrowest}, normalize_embeddings=True)
```

Of input longer than {max_tokens:,} tokens it reads a text alone as `Encoder` does. With pictures in it, it raises "Mismatch in
`image` token count" where the cut falls before or into a picture, and where it falls behind the last one it gives another
vector, without a word, since the embedding token is cut off. Leave the cutting of such input to `Encoder`.

With transformers{and_peft}, which cuts nothing; the embedding is the normalised last hidden state of the last token:

```python
{plain}
processor = AutoProcessor.from_pretrained("FOLDER")
messages = [[{{"role": "user", "content": content}}]]
inputs = processor.apply_chat_template(messages, tokenize=True, return_dict=True, return_tensors="pt")
vector = model(**inputs).last_hidden_state[0, -1]
```
"""

LOADED_WHOLE = """\
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained("FOLDER")"""

LOADED_AS_ADAPTER = """\
from peft import PeftModel
from transformers import AutoModel, AutoProcessor

model = PeftModel.from_pretrained(AutoModel.from_pretrained({base!r}{revision}), "FOLDER")"""


def model_card(manifest: Manifest, metrics: Mapping[str, Any], *, base: str) -> str:
    """The text of README.md, with YAML front matter as model hubs read it.

    Args:
        metrics: the run's record; its single numbers and words are shown, curves are not.
        base: what the adapter stands on, or the weights that training started from, as libraries name it.
    """
    is_adapter = manifest.kind == "adapter"
    front_matter = {
        "base_model": base,
        "library_name": "peft" if is_adapter else "sentence-transformers",
        "pipeline_tag": "feature-extraction",
        "tags": [
            "sentence-transformers",
            "feature-extraction",
            "multimodal",
            "retrieval",
            *(["lora"] if is_adapter else []),
            *(["matryoshka"] if len(manifest.dims) > 1 else []),
        ],
    }
    widths = ", ".join(str(dim) for dim in manifest.dims)
    revision = f", revision={manifest.revision!r}" if manifest.revision else ""
    return CARD.format(
        front_matter=yaml.safe_dump(front_matter, sort_keys=False),
        dim=manifest.dim,
        dims=f"\nTrained to work at its first {widths} numbers alone, each prefix normalised again." if widths else "",
        backbone=f"{manifest.backbone}{f' at {manifest.revision}' if manifest.revision else ''}",
        kind="an adapter (peft); the backbone is loaded beside it" if is_adapter else "all weights (safetensors)",
        data_identity=manifest.data_identity or "unknown",
        max_tokens=manifest.inputs.max_tokens,
        min_pixels=manifest.inputs.min_pixels,
        max_pixels=manifest.inputs.max_pixels,
        query_instruction=f"`{manifest.inputs.query_instruction}`" if manifest.inputs.query_instruction else "nothing",
        numbers=_table(metrics),
        narrowest=manifest.dims[-1],
        and_peft=" and peft" if is_adapter else "",
        plain=LOADED_AS_ADAPTER.format(base=base, revision=revision) if is_adapter else LOADED_WHOLE,
    )


def _table(metrics: Mapping[str, Any]) -> str:
    rows = [(name, value) for name, value in metrics.items() if isinstance(value, int | float | str)]
    shown = [f"| {name} | {f'{value:.4g}' if isinstance(value, float) else value} |" for name, value in rows]
    return "\n".join(["| | |", "|---|---|", *shown])
