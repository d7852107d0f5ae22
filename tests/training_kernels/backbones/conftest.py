"""Every architecture in the hub's layout: random weights of its own kind, saved as the hub's folders are."""

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    Idefics3Config,
    Idefics3Model,
    Qwen2_5_VLModel,
    Qwen3VLConfig,
    Qwen3VLModel,
    SmolVLMConfig,
    SmolVLMModel,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from training_kernels.backbones.tiny import tiny_config
from training_kernels.tokenizer import TINY_TOKENIZER

ARCHITECTURES = ("qwen2_5_vl", "qwen3_vl", "idefics3", "smolvlm")

WIDTH = 64


def idefics_tokens(text: str) -> str:
    """The tiny vocabulary with the special tokens of Idefics3 in place of Qwen's."""
    names = {
        "<|im_end|>": "<end_of_utterance>",
        "<|vision_start|>": "<fake_token_around_image>",
        "<|vision_end|>": "<global-img>",
        "<|vision_pad|>": "<row_1_col_1>",
        "<|image_pad|>": "<image>",
        "<|video_pad|>": "<|im_end|>",
    }
    tokenizer = json.loads(text)
    for token in tokenizer["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    return json.dumps(tokenizer, ensure_ascii=False)


def save_qwen(folder: Path, model_type: str) -> None:
    if model_type == "qwen2_5_vl":
        model, patch = Qwen2_5_VLModel(tiny_config()), 14
    else:
        tiny, patch = tiny_config(), 16
        config = Qwen3VLConfig(
            text_config={
                "model_type": "qwen3_vl_text",
                "vocab_size": tiny.text_config.vocab_size,
                "hidden_size": WIDTH,
                "intermediate_size": 96,
                "num_hidden_layers": 3,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "head_dim": 32,
                "max_position_embeddings": 4096,
                "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [6, 5, 5]},
            },
            vision_config={
                "model_type": "qwen3_vl_vision",
                "depth": 3,
                "hidden_size": 48,
                "intermediate_size": 64,
                "num_heads": 4,
                "out_hidden_size": WIDTH,
                "patch_size": patch,
                "spatial_merge_size": 2,
                "temporal_patch_size": 2,
                "num_position_embeddings": 64,
                "deepstack_visual_indexes": [0, 1],
            },
            image_token_id=tiny.image_token_id,
            video_token_id=tiny.video_token_id,
            vision_start_token_id=tiny.vision_start_token_id,
            vision_end_token_id=tiny.vision_end_token_id,
            tie_word_embeddings=True,
        )
        model = Qwen3VLModel(config)
    model.save_pretrained(folder)
    side = 2 * patch
    Qwen2VLImageProcessorPil(
        patch_size=patch, size={"shortest_edge": 4 * side**2, "longest_edge": 16_384 * side**2}
    ).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(TINY_TOKENIZER.read_text())
    # as the hub's folder has it: a list of extra tokens, a template for chats
    tokenizer = {
        "tokenizer_class": "Qwen2Tokenizer",
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>", "<|image_pad|>"],
        "chat_template": "{{ 'a chat' }}",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 4096,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))


def save_idefics(folder: Path, model_type: str, *, width: int = WIDTH) -> None:
    config_class, model_class = (
        (Idefics3Config, Idefics3Model) if model_type == "idefics3" else (SmolVLMConfig, SmolVLMModel)
    )
    config = config_class(
        text_config={
            "model_type": "llama",
            "vocab_size": 8192,
            "hidden_size": width,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "pad_token_id": 8191,
        },
        vision_config={
            "hidden_size": 48,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 128,
            "patch_size": 16,
        },
        scale_factor=2,
        image_token_id=8190,
    )
    model_class(config).save_pretrained(folder)
    Idefics3ImageProcessorPil(
        size={"longest_edge": 512}, max_image_size={"longest_edge": 128}, return_row_col_info=True
    ).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(idefics_tokens(TINY_TOKENIZER.read_text()))
    tokenizer = {
        "tokenizer_class": "GPT2Tokenizer",
        "additional_special_tokens": ["<fake_token_around_image>", "<image>", "<end_of_utterance>"],
        "bos_token": "<|im_start|>",
        "eos_token": "<end_of_utterance>",
        "pad_token": "<|im_end|>",
        "padding_side": "left",
        "model_max_length": 4096,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))


@pytest.fixture(scope="session")
def hub_folders(tmp_path_factory) -> dict[str, Path]:
    """A folder in the hub's layout for each architecture."""
    folders = {}
    for seed, model_type in enumerate(ARCHITECTURES):
        folder = tmp_path_factory.mktemp("hub") / model_type
        folder.mkdir()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            (save_qwen if model_type.startswith("qwen") else save_idefics)(folder, model_type)
        folders[model_type] = folder
    return folders


@pytest.fixture(params=ARCHITECTURES)
def hub_folder(request, hub_folders) -> Path:
    return hub_folders[request.param]
