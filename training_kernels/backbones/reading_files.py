"""The files by which other libraries read documents as the encoder does: tokenizer, picture processor, chat template.

All of it is stock: the processor's class is one of transformers' own, so the folder opens without this project, without
torchvision, and without running code that came with it.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training_kernels.errors import ConfigError

CHAT_TEMPLATE = """\
{%- set state = namespace(after_text=false) -%}
{%- for message in messages -%}
{%- set parts = [{'type': 'text', 'text': message['content']}] if message['content'] is string else message['content'] -%}
{%- for part in parts -%}
{%- if part['type'] == 'image' -%}
{{- 'PICTURE' -}}
{%- set state.after_text = false -%}
{%- elif part['type'] == 'text' -%}
{%- if state.after_text -%}{{- '\\n' -}}{%- endif -%}
{{- part['text'] -}}
{%- set state.after_text = message['role'] != 'system' -%}
{%- else -%}
{{- raise_exception("a part is of type 'text' or 'image', got '" ~ part['type'] ~ "'; do not mix messages with bare texts or pictures in one batch") -}}
{%- endif -%}
{%- endfor -%}
{%- endfor -%}
{{- 'EMBEDDING_TOKEN' -}}
"""
"""Segments in order, texts that follow each other a newline apart, the instruction (as system message) before them and
the embedding token behind: what training_kernels.encoder renders."""

DROPPED_TOKENIZER_KEYS = ("chat_template", "processor_class", "auto_map", "name_or_path")


def write_reading_files(
    folder: Path,
    *,
    source: Path,
    processor_class: str,
    picture_processor: Mapping[str, Any],
    processor_settings: Mapping[str, Any],
    picture: str,
    embedding_token: str,
    named_tokens: Mapping[str, str],
) -> None:
    """Writes them from the tokenizer in `source`.

    Args:
        processor_class: class of transformers that joins tokenizer and picture processor.
        picture_processor: its settings, the class under `image_processor_type`.
        processor_settings: what the joining class needs beyond the two.
        picture: text that stands for a picture before the processor fills it up with visual tokens.
        named_tokens: special tokens that the joining class asks the tokenizer for, by attribute.
    """
    if not (source / "tokenizer_config.json").is_file():
        raise ConfigError(f"{source} has no tokenizer_config.json; save its tokenizer beside its weights")
    shutil.copyfile(source / "tokenizer.json", folder / "tokenizer.json")
    tokenizer = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    for key in DROPPED_TOKENIZER_KEYS:
        tokenizer.pop(key, None)
    _write_json(
        folder / "tokenizer_config.json",
        {
            **tokenizer,
            "tokenizer_class": "PreTrainedTokenizerFast",  # tokenizer.json as it stands, as the encoder takes it
            "padding_side": "right",
            "model_specific_special_tokens": {**tokenizer.get("model_specific_special_tokens", {}), **named_tokens},
        },
    )
    _write_json(folder / "preprocessor_config.json", dict(picture_processor))
    _write_json(
        folder / "processor_config.json",
        {"processor_class": processor_class, "image_processor": dict(picture_processor), **processor_settings},
    )
    template = CHAT_TEMPLATE.replace("PICTURE", picture).replace("EMBEDDING_TOKEN", embedding_token)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
