"""The files by which sentence-transformers opens a checkpoint: stock modules, no code of its own.

Inputs go through the folder's chat template (see backbones/reading_files.py), so a text, a picture, or a message of both
in any order is read as the encoder reads it; the query instruction is the prompt named "query".
"""

import json
from pathlib import Path
from typing import Any

from training_kernels.config import InputConfig

MODULES = (
    ("", "sentence_transformers.base.modules.transformer.Transformer"),
    ("1_Pooling", "sentence_transformers.sentence_transformer.modules.pooling.Pooling"),
    ("2_Normalize", "sentence_transformers.base.modules.normalize.Normalize"),
)


def write_sentence_transformers_files(folder: Path, *, dim: int, inputs: InputConfig, template_settings: Any) -> None:
    """Writes them beside weights (or adapter), tokenizer and processor.

    Args:
        template_settings: what the processor is told whenever it fills the chat template.
    """
    forward = {"method": "forward", "method_output_name": "last_hidden_state"}
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(MODULES)]
    _write_json(folder / "modules.json", modules)
    transformer = {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": forward, "image": forward, "message": {**forward, "format": "structured"}},
        "module_output_name": "token_embeddings",
        "max_seq_length": inputs.max_tokens,
        "processing_kwargs": {"text": {"add_special_tokens": False}, "chat_template": template_settings},
    }
    _write_json(folder / "sentence_bert_config.json", transformer)
    _write_json(folder / "1_Pooling" / "config.json", {"embedding_dimension": dim, "pooling_mode": "lasttoken"})
    _write_json(folder / "2_Normalize" / "config.json", {"module_input_name": "sentence_embedding"})
    model = {
        "model_type": "SentenceTransformer",
        "prompts": {"query": inputs.query_instruction, "document": ""},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    }
    _write_json(folder / "config_sentence_transformers.json", model)


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
