"""The embedded backbone: Qwen2.5-VL's architecture at width 128, random weights from a seed, made where it is needed."""

import json
import shutil
from pathlib import Path

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from training_kernels.errors import IncompleteArtifact
from training_kernels.manifest import WEIGHTS_HERE, Manifest, committed_once, read_manifest, write_manifest
from training_kernels.recipes import tiny
from training_kernels.tokenizer import TINY, TINY_TOKENIZER, load_text_tokenizer

TINY_SEED = 0

WIDTH = 128
"""Choice: the widest at which training on two cores takes about a minute."""

LAYERS = 1
"""Choice: from random weights and some hundred examples, a second layer fits the training queries and finds fewer new
ones (recall@10 of unseen pages 0.52 against 0.74, 40 steps), at 1.7 times the time."""

EMBEDDING_SCALE = 0.2
"""Factor on the token embeddings at the start. Choice: the embedding token's own vector, the same for every document,
then weighs less beside what attention gathers; recall@10 of unseen pages after 40 steps 0.74 against 0.61."""

MAX_POSITIONS = 4096
"""Choice: eight times what the tiny recipe reads of a document."""


def ensure_tiny(folder: Path, *, seed: int, num_layers: int = LAYERS) -> Path:
    """The folder with the tiny backbone, made if it is not complete. Safe for many processes: the same seed, the same files.

    Args:
        num_layers: of the language model.
    """
    try:
        read_manifest(folder)
    except IncompleteArtifact:
        with committed_once(folder) as draft:
            _write_tiny(draft, seed, num_layers)
    return folder


def _write_tiny(folder: Path, seed: int, num_layers: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5_VLModel(tiny_config(num_layers))
        with torch.no_grad():
            model.language_model.embed_tokens.weight *= EMBEDDING_SCALE
    model.save_pretrained(folder)
    shutil.copyfile(TINY_TOKENIZER, folder / "tokenizer.json")
    tokenizer_config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": MAX_POSITIONS,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=1) + "\n", encoding="utf-8")
    inputs = tiny().inputs
    Qwen2VLImageProcessorPil(min_pixels=inputs.min_pixels, max_pixels=inputs.max_pixels).save_pretrained(folder)
    manifest = Manifest(
        kind="backbone",
        backbone=TINY,
        weights=WEIGHTS_HERE,
        base_identity="",
        dim=WIDTH,
        dims=(WIDTH,),
        inputs=inputs,
        precision="float32",
    )
    write_manifest(folder, manifest)


def tiny_config(num_layers: int = LAYERS) -> Qwen2_5_VLConfig:
    """The architecture of Qwen2.5-VL with every size cut down; ratios as in the 3B model where two cores allow."""
    special = load_text_tokenizer(TINY).special_id
    heads = 4
    return Qwen2_5_VLConfig(
        text_config={
            "model_type": "qwen2_5_vl_text",
            "vocab_size": special("<|video_pad|>") + 1,  # the last special token
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": num_layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,  # fewer would squeeze what is gathered into less than the width
            "max_position_embeddings": MAX_POSITIONS,
            # The halves of a head of 32 shared 1 : 1.5 : 1.5 among time, row and column, as the 3B's 16 : 24 : 24.
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": special("<|endoftext|>"),
            "eos_token_id": special("<|im_end|>"),
            "pad_token_id": special("<|endoftext|>"),
        },
        vision_config={
            "model_type": "qwen2_5_vl_vision",
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": heads,
            "out_hidden_size": WIDTH,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 112,
            "fullatt_block_indexes": [1],
        },
        image_token_id=special("<|image_pad|>"),
        video_token_id=special("<|video_pad|>"),
        vision_start_token_id=special("<|vision_start|>"),
        vision_end_token_id=special("<|vision_end|>"),
        tie_word_embeddings=True,
    )
