"""The in-process launcher runs a job to a complete checkpoint that an embedder opens."""

from pathlib import Path

import torch

from resources.embedder_checkpoint import CheckpointEmbedders
from resources.gpu import TrainJob
from resources.gpu_inprocess import InProcessLauncher
from training_kernels.documents import Document
from training_kernels.examples import Example, write_examples


def test_a_job_ends_in_a_checkpoint_that_opens(tmp_path):
    torch.set_num_threads(1)
    embedders = CheckpointEmbedders(str(tmp_path / "backbones"), "tiny-qwen2.5-vl", str(tmp_path / "images"))
    documents = {f"q{n}": Document.of(f"what is {n}") for n in range(6)}
    documents |= {f"d{n}": Document.of(f"it is {n}") for n in range(6)}
    examples = [
        Example(example_id=f"e{n}", query=f"q{n}", positive=f"d{n}", negatives=(f"d{(n + 1) % 6}",), source="made")
        for n in range(6)
    ]
    write_examples(tmp_path / "examples", documents, examples)
    job = TrainJob(
        recipe="tiny",
        examples=tmp_path / "examples",
        images=str(tmp_path / "images"),
        start_from=Path(embedders.untrained()),
        out=tmp_path / "out",
        seed=9,
    )
    lines: list[str] = []
    report = InProcessLauncher().train(job, log=lines.append)
    assert (report["recipe"], report["seed"], report["examples"]) == ("tiny", 9, 6)
    assert (report["device"], report["precision"]) == ("cpu", "float32")
    assert "recipe tiny on " in lines[0]
    assert "seed 9" in lines[0]
    embedder = embedders.open(str(tmp_path / "out"))
    assert embedder.dims == (128, 64, 32, 16)
    assert embedder.embed([Document.of("it is 3")], side="candidate").shape == (1, 128)
