"""A backbone in bfloat16, which a GPU has and a CPU only where it is forced: whole runs of the trainer."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from training_kernels import checkpoint
from training_kernels.config import LoraTuning, TrainConfig
from training_kernels.documents import Document, Segment
from training_kernels.encoder import Encoder
from training_kernels.examples import Example, ExampleSet
from training_kernels.export import export
from training_kernels.recipes import tiny
from training_kernels.trainer import train

TUNING_BY_NAME = {
    "LoRA": LoraTuning(rank=4, alpha=16, dropout=0.0),
    "DoRA on both towers": LoraTuning(rank=4, alpha=16, dropout=0.0, tunes_vision=True, is_dora=True),
}
RECIPE = replace(
    tiny(),
    batch_size=8,
    token_budget=1024,
    activations="recomputed",
    optimizer=replace(tiny().optimizer, learning_rate=1e-2),
)


@pytest.fixture(scope="module")
def training() -> ExampleSet:
    documents, examples = {}, []
    for number in range(8):
        documents[f"q{number}"] = Document.of(f"what is thing {number}")
        documents[f"d{number}"] = Document.of(f"thing {number} looks so", Segment(image=f"picture {number}"))
        examples.append(
            Example(
                example_id=f"e{number}",
                query=f"q{number}",
                positive=f"d{number}",
                negatives=(f"d{(number + 3) % 8}",),
                source="things",
            )
        )
    return ExampleSet(documents, tuple(examples))


def step_from(
    start: Path, out: Path, recipe: TrainConfig, training: ExampleSet, pictures
) -> tuple[dict[str, object], dict[int, list[torch.Tensor]]]:
    """The report of a run, and the gradients before each of its steps."""
    gradients: dict[int, list[torch.Tensor]] = {}

    def keep(optimizer, args, kwargs) -> None:
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        assert {weight.dtype for weight in weights} == {torch.float32}, "what learns is never rounded to half precision"
        gradients[len(gradients)] = [weight.grad.clone() for weight in weights]

    hook = register_optimizer_step_pre_hook(keep)
    try:
        report = train(recipe, training, pictures, start_from=start, out=out, log=lambda line: None)
    finally:
        hook.remove()
    return report, gradients


@pytest.mark.parametrize("name", list(TUNING_BY_NAME))
def test_a_step_in_bfloat16_has_the_gradients_of_float32_and_a_checkpoint_its_vectors(
    tiny_folder, training, pictures, tmp_path, monkeypatch, name
):
    recipe = replace(RECIPE, tuning=TUNING_BY_NAME[name])

    def embeddings(folder: Path) -> torch.Tensor:
        documents = list(training.documents.values())
        return torch.from_numpy(Encoder.load(folder).encode(documents, pictures, side="candidate"))

    # A fresh adapter's first half has no gradient, so both precisions go on from one that has learned a little.
    step_from(tiny_folder, tmp_path / "start", replace(recipe, max_steps=3), training, pictures)
    one = replace(recipe, max_steps=1, precision="bfloat16")
    exact, expected = step_from(tmp_path / "start", tmp_path / "exact", one, training, pictures)
    exact_ND = embeddings(tmp_path / "exact")
    monkeypatch.setattr(checkpoint, "pick_dtype", lambda precision, device: torch.bfloat16)
    report, got = step_from(tmp_path / "start", tmp_path / "rounded", one, training, pictures)
    assert (exact["precision"], report["precision"]) == ("float32", "bfloat16")
    assert report["curve"][0]["loss"] == pytest.approx(exact["curve"][0]["loss"], rel=0.02)
    assert report["curve"][0]["loss"] != exact["curve"][0]["loss"], "the backbone was in bfloat16"
    assert len(got[0]) == len(expected[0])
    assert all(gradient.any() for gradient in expected[0])
    cosines = [float(torch.cosine_similarity(*map(torch.flatten, pair), dim=0)) for pair in zip(got[0], expected[0])]
    together = [torch.cat([gradient.flatten() for gradient in gradients[0]]) for gradients in (got, expected)]
    assert torch.cosine_similarity(*together, dim=0) > 0.99
    assert min(cosines) > 0.95, sorted(cosines)[:5]
    rounded_ND = embeddings(tmp_path / "exact")
    assert torch.cosine_similarity(exact_ND, rounded_ND).min() > 0.99
    assert not exact_ND.equal(rounded_ND)
    assert json.loads((tmp_path / "rounded" / "metrics.json").read_text())["precision"] == "bfloat16"


def test_an_export_is_merged_in_float32_whatever_the_device_computes_in(
    tiny_folder, training, pictures, tmp_path, monkeypatch
):
    recipe = replace(RECIPE, tuning=TUNING_BY_NAME["LoRA"], precision="bfloat16", max_steps=3)
    step_from(tiny_folder, tmp_path / "adapter", recipe, training, pictures)
    documents = list(training.documents.values())
    with monkeypatch.context() as patch:
        patch.setattr(
            checkpoint, "pick_dtype", lambda precision, device: getattr(torch, precision)
        )  # as on a GPU that has bfloat16
        export(tmp_path / "adapter", tmp_path / "merged")
    vectors = [
        Encoder.load(tmp_path / name).encode(documents, pictures, side="query") for name in ("adapter", "merged")
    ]
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)
    export(tmp_path / "adapter", tmp_path / "again")
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("merged", "again")]
    assert files[0] == files[1]
