"""sentence-transformers on the same small Qwen2.5-VL as ours: the same weights, tokens, pixels and pooling.

The backbone is the real architecture with random weights; its vision tower costs 0.90 of its language model a visual
token (0.91 in the 3B model: 0.63 B weights at four patches a token, against 2.77 B).
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads would steal the other side's time
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from transformers import AutoProcessor, Qwen2_5_VLConfig, Qwen2_5_VLModel, Qwen2_5_VLProcessor, Qwen2TokenizerFast
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.processing_utils import ProcessorMixin

from training_kernels.backbones.registry import open_backbone
from training_kernels.backbones.tiny import tiny_config
from training_kernels.config import InputConfig
from training_kernels.documents import Document, Segment
from training_kernels.encoder import Encoder
from training_kernels.tokenizer import TINY_TOKENIZER

WIDTH, LAYERS = 256, 4
VISION_WIDTH, VISION_LAYERS = 128, 4

CPU = torch.device("cpu")

MAX_VISUAL_TOKENS = 400
"""Source: the pixel budget of the published code, 400 x 28 x 28."""

TEMPLATE = (
    "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{% endfor %}<|im_end|>"
)
"""What our encoder makes of a document: its parts in order, and the embedding token."""


class PictureProcessor(Qwen2_5_VLProcessor):
    """Qwen2.5-VL's processor without its video half, which needs torchvision."""

    def __init__(self, image_processor=None, tokenizer=None, chat_template=None, **kwargs) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "pixel_values", "image_grid_thw", "mm_token_type_ids"]


AutoProcessor.register(Qwen2_5_VLConfig, PictureProcessor, exist_ok=True)


class MadePictures:
    """Pictures in memory, decoded, so that neither side is timed reading files."""

    def __init__(self, picture_by_digest: Mapping[str, Image.Image]) -> None:
        self._picture_by_digest = picture_by_digest

    def open(self, digest: str) -> Image.Image:
        return self._picture_by_digest[digest]

    def size(self, digest: str) -> tuple[int, int]:
        picture = self._picture_by_digest[digest]
        return picture.height, picture.width


def made_picture(generator: np.random.Generator, *, visual_tokens: float) -> Image.Image:
    """Smooth noise of about so many visual tokens as it comes; both sides scale what is above the pixel budget."""
    ratio = generator.uniform(0.6, 1.7)
    height = int(28 * (visual_tokens / ratio) ** 0.5)
    width = int(28 * (visual_tokens * ratio) ** 0.5)
    coarse = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def made_text(generator: np.random.Generator, *, num_words: int) -> str:
    """Words drawn from a small English vocabulary, more than one token long here and there."""
    words = np.array(
        [
            "the",
            "of",
            "moon",
            "volcano",
            "river",
            "steam",
            "egg",
            "minutes",
            "map",
            "south",
            "history",
            "a",
            "and",
            "in",
            "for",
            "painting",
            "bridge",
            "northern",
            "temperature",
            "observation",
            "together",
            "island",
            "harbour",
            "century",
        ]
    )
    return " ".join(generator.choice(words, size=num_words))


def toy_config() -> Qwen2_5_VLConfig:
    """The sizes at which one CPU thread takes a step in seconds."""
    config = tiny_config().to_dict()
    config["text_config"] |= {
        "hidden_size": WIDTH,
        "intermediate_size": 704,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [8, 12, 12]},
        "layer_types": ["full_attention"] * LAYERS,
        "max_window_layers": LAYERS,
    }
    config["vision_config"] |= {
        "depth": VISION_LAYERS,
        "hidden_size": VISION_WIDTH,
        "intermediate_size": 256,
        "out_hidden_size": WIDTH,
        "fullatt_block_indexes": [VISION_LAYERS - 1],
    }
    return Qwen2_5_VLConfig.from_dict(config)


def three_b_config() -> Qwen2_5_VLConfig:
    """The sizes of Qwen2.5-VL-3B, 3,754,622,976 weights. Source: config.json of Qwen/Qwen2.5-VL-3B-Instruct."""
    config = tiny_config().to_dict()
    config["text_config"] |= {
        "vocab_size": 151_936,
        "hidden_size": 2048,
        "intermediate_size": 11_008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128_000,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        "layer_types": ["full_attention"] * 36,
        "max_window_layers": 36,
        "rms_norm_eps": 1e-6,
    }
    config["vision_config"] |= {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 2048,
        "fullatt_block_indexes": [7, 15, 23, 31],
    }
    return Qwen2_5_VLConfig.from_dict(config)


def make_weights(
    folder: Path,
    *,
    seed: int,
    config: Qwen2_5_VLConfig | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device = CPU,
) -> Path:
    """A folder that both sides load: model, tokenizer, picture processor and chat template.

    Args:
        config: of the sizes; by default the toy's.
        device: where the weights are drawn, since the large ones take minutes on a CPU.
    """
    torch.manual_seed(seed)
    with device:
        model = Qwen2_5_VLModel(config or toy_config())
    model.to(dtype).save_pretrained(folder)
    del model
    shutil.copyfile(TINY_TOKENIZER, folder / "tokenizer.json")
    tokenizer = Qwen2TokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.padding_side, tokenizer.model_max_length = "right", 4096
    pictures = Qwen2VLImageProcessorPil(min_pixels=4 * 784, max_pixels=MAX_VISUAL_TOKENS * 784)
    PictureProcessor(pictures, tokenizer, TEMPLATE).save_pretrained(folder)
    return folder


def open_ours(
    folder: Path, *, dims: tuple[int, ...] = (WIDTH,), dtype: torch.dtype = torch.float32, device: torch.device = CPU
) -> Encoder:
    """Our encoder on the folder."""
    backbone = open_backbone(folder, dtype=dtype, device=device)
    inputs = InputConfig(max_tokens=4096, min_pixels=4 * 784, max_pixels=MAX_VISUAL_TOKENS * 784, query_instruction="")
    return Encoder(backbone, inputs, dims=dims)


def open_peer(
    folder: Path, *, width: int = WIDTH, dtype: torch.dtype = torch.float32, device: torch.device = CPU
) -> SentenceTransformer:
    """The library's own modules on the same folder: last-token pooling and normalisation."""
    transformer = Transformer(str(folder), model_kwargs={"dtype": dtype})
    return SentenceTransformer(
        modules=[transformer, Pooling(width, pooling_mode="lasttoken"), Normalize()], device=str(device)
    )


def peer_inputs(documents: Sequence[Document], pictures: MadePictures) -> list[object]:
    """The same documents in the library's own forms: a string, a picture, or both under their names."""
    return [_peer_input(document.segments, pictures) for document in documents]


def _peer_input(segments: tuple[Segment, ...], pictures: MadePictures) -> object:
    parts = {
        segment.kind: segment.text if segment.image is None else pictures.open(segment.image) for segment in segments
    }
    if len(parts) != len(segments):
        raise ValueError(f"the library's form holds one text and one picture, got {len(segments)} segments")
    return parts if len(parts) > 1 else next(iter(parts.values()))
