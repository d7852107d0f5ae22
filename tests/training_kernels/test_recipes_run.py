"""Every recipe for pretrained backbones trains: two steps on a CPU, on Qwen2.5-VL of the 3B's width and heads, one layer deep."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from training_kernels.backbones.registry import backbone_folder
from training_kernels.backbones.tiny import tiny_config
from training_kernels.documents import Document, Segment
from training_kernels.encoder import Encoder
from training_kernels.errors import ConfigError
from training_kernels.examples import Example, ExampleSet
from training_kernels.recipes import train_recipe
from training_kernels.tokenizer import TINY_TOKENIZER
from training_kernels.trainer import train, with_whole_width

WIDTH = 2048


@pytest.fixture(scope="module")
def shallow_folder(tmp_path_factory) -> Path:
    """A folder in the hub's layout: heads, positions and width of Qwen2.5-VL-3B; all else cut down."""
    folder = tmp_path_factory.mktemp("hub") / "shallow"
    config = tiny_config().to_dict()
    config["text_config"] |= {
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    }
    config["vision_config"] |= {"out_hidden_size": WIDTH}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Qwen2_5_VLModel(Qwen2_5_VLConfig.from_dict(config)).bfloat16().save_pretrained(folder)
    Qwen2VLImageProcessorPil().save_pretrained(folder)
    (folder / "tokenizer.json").write_text(TINY_TOKENIZER.read_text())
    settings = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def training() -> ExampleSet:
    """Six examples of two sources, with pictures, hard negatives and answers; one document is another's near copy."""
    documents, examples = {}, []
    for number in range(6):
        documents[f"q{number}"] = Document.of(f"what is thing {number}")
        documents[f"d{number}"] = Document.of(f"thing {number} looks so", Segment(image=f"picture {number}"))
        examples.append(
            Example(
                example_id=f"e{number}",
                query=f"q{number}",
                positive=f"d{number}",
                negatives=(f"d{(number + 3) % 6}",),
                source=f"source {number % 2}",
                answer=f"answer {number // 2}",
            )
        )
    return ExampleSet(documents, tuple(examples), {"d0": "copies", "d2": "copies"})


@pytest.mark.parametrize("name", ["nyx_paper", "nyx_published", "nyx", "small_gpu", "cpu"])
def test_a_recipe_takes_two_steps_and_its_checkpoint_encodes(shallow_folder, training, pictures, tmp_path, name):
    recipe = train_recipe(name)
    start = backbone_folder(str(shallow_folder), tmp_path)
    passes = 2 * recipe.batches_per_step  # six examples make one batch, or one of each source
    report = train(
        replace(recipe, max_steps=2, epochs=passes),
        training,
        pictures,
        start_from=start,
        out=tmp_path / "out",
        log=lambda line: None,
    )
    # a CPU trains in float32 whatever the recipe says
    assert (report["steps"], report["precision"], report["device"]) == (2, "float32", "cpu")
    assert all(math.isfinite(point["loss"]) and point["gradient_norm"] > 0 for point in report["curve"])
    dims = with_whole_width(recipe, WIDTH).loss.dims
    assert dims[0] == WIDTH
    assert tuple(map(int, report["curve"][0]["loss_by_dim"])) == dims
    adapter = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert any(weight.abs().max() > 0 for part, weight in adapter.items() if "lora_B" in part), "B starts at zero"
    has_vision, has_lengths = (any(word in part for part in adapter) for word in ("visual", "magnitude"))
    assert (has_vision, has_lengths) == (name == "nyx_published",) * 2
    encoder = Encoder.load(tmp_path / "out")
    assert (encoder.dim, encoder.dims, encoder.inputs) == (WIDTH, dims, recipe.inputs)
    embedding_ND = encoder.encode(list(training.documents.values()), pictures, side="candidate")
    assert embedding_ND.shape == (12, WIDTH)
    assert (embedding_ND @ embedding_ND.T)[0, 1:].max() < 0.9999
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["recipe"] == name


def test_a_backbone_whose_checkpoint_could_not_be_written_is_refused_before_the_first_step(
    shallow_folder, training, pictures, tmp_path
):
    partial = tmp_path / "partial"
    shutil.copytree(shallow_folder, partial)
    (partial / "tokenizer_config.json").unlink()
    lines = []
    with pytest.raises(ConfigError, match=r"has no tokenizer_config\.json; save its tokenizer beside its weights"):
        train(
            replace(train_recipe("cpu"), max_steps=2),
            training,
            pictures,
            start_from=backbone_folder(str(partial), tmp_path),
            out=tmp_path / "out",
            log=lines.append,
        )
    assert not lines, "no step was made"


def test_a_recipe_wider_than_the_backbone_is_refused_before_the_first_step(tiny_folder, training, pictures, tmp_path):
    with pytest.raises(ConfigError, match=r"dims \(2048, 1024, 512, 256\) do not fit the backbone's width 128"):
        train(
            train_recipe("nyx_paper"),
            training,
            pictures,
            start_from=tiny_folder,
            out=tmp_path / "out",
            log=lambda line: None,
        )
    assert not (tmp_path / "out").exists()
