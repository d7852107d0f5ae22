"""Each architecture on a GPU: it encodes as on the CPU, trains after that in the same process, and goes on after a kill."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training_kernels.running import LORA, command, finish, kill_after_state, write_task
from training_kernels import encoder as encoder_module
from training_kernels.backbones.registry import backbone_folder
from training_kernels.documents import Document, Segment
from training_kernels.encoder import Encoder
from training_kernels.examples import read_examples
from training_kernels.images import PictureFolder
from training_kernels.overrides import with_overrides
from training_kernels.recipes import tiny
from training_kernels.trainer import train

pytestmark = pytest.mark.gpu

PIXELS = ("inputs.min_pixels=3136", "inputs.max_pixels=12544")
SETTINGS = (*PIXELS, "loss.weight_by_dim=((64,1.0),(32,0.2))", "activations=recomputed", "batch_size=8", LORA)


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Path:
    return write_task(tmp_path_factory.mktemp("task"), num_examples=24, num_pictures=6)


@pytest.fixture
def start(hub_folder, tmp_path) -> Path:
    return backbone_folder(str(hub_folder), tmp_path)


def test_embeddings_are_those_of_the_cpu(start, pictures, monkeypatch):
    documents = [Document.of("Io", Segment(image="io"), "a moon"), Document.of("short"), Document.of("long " * 90)]
    vectors = []
    for device in ("cuda", "cpu"):
        monkeypatch.setattr(encoder_module, "pick_device", lambda device=device: torch.device(device))
        loaded = Encoder.load(start)
        inputs = replace(loaded.inputs, min_pixels=3136, max_pixels=12_544)
        encoder = Encoder(loaded.backbone, inputs, dims=loaded.dims)
        assert next(encoder.backbone.model.parameters()).device.type == device
        vectors.append(encoder.encode(documents, pictures, side="candidate"))
    cosines = (vectors[0] * vectors[1]).sum(1)
    assert cosines.min() > 0.99, "a GPU computes these in bfloat16"


def test_a_process_that_has_embedded_can_train(start, examples, tmp_path):
    training = read_examples(examples)
    embedding_ND = Encoder.load(start).encode([Document.of("first use of the GPU")], None, side="query")
    assert np.isfinite(embedding_ND).all()
    report = train(
        with_overrides(tiny(), [*SETTINGS, "max_steps=3", "precision=bfloat16"]),
        training,
        PictureFolder(str(examples)),
        start_from=start,
        out=tmp_path / "out",
        log=lambda line: None,
    )
    assert (report["device"], report["steps"], report["precision"]) == ("cuda:0", 3, "bfloat16")
    assert all(np.isfinite(point["loss"]) for point in report["curve"])
    assert Encoder.load(tmp_path / "out").encode([Document.of("after")], None, side="query").shape[0] == 1


def test_a_run_that_is_killed_goes_on_to_the_same_bytes(start, examples, tmp_path):
    settings = (*SETTINGS, "max_steps=16", "state.every_steps=1", "dev.every_steps=5")
    calm, killed = (command(examples, tmp_path / name, start, *settings) for name in ("calm", "killed"))
    finish(calm)
    reached = kill_after_state(killed, tmp_path / "killed", step=4, seconds=0.0)
    assert f"going on at step {reached + 1}" in finish(killed)
    files = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("calm", "killed")]
    assert files[0] == files[1]
    assert json.loads((tmp_path / "killed" / "metrics.json").read_text())["device"] == "cuda:0"
