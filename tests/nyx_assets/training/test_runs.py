"""A training run is named by everything it depends on, and a finished one is not run again."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nyx_assets.training.runs import trained_checkpoint
from resources.gpu import TrainJob
from resources.home import Home
from resources.tables import Provenance
from training_kernels.config import InputConfig
from training_kernels.dev_examples import NO_DEV, read_dev_examples
from training_kernels.documents import Document
from training_kernels.examples import Example, ExampleSet, read_examples
from training_kernels.manifest import Manifest, committed_folder, write_manifest

DOCUMENTS = {name: Document.of(f"text of {name}") for name in ("q1", "q2", "c1", "c2")}
EXAMPLES = [
    Example(example_id="q1", query="q1", positive="c1", negatives=("c2",), source="nyxqa"),
    Example(example_id="q2", query="q2", positive="c2", negatives=(), source="nyxqa"),
]

DEV = ExampleSet(
    {"q3": Document.of("text of q3"), "c3": Document.of("text of c3")},
    (Example(example_id="q3", query="q3", positive="c3", negatives=(), source="nyxqa"),),
)
POINT = {
    "step": 1, "loss": 0.25, "loss_by_dim": {"2": 0.25}, "gradient_norm": 1.0, "learning_rate": 0.1,
    "queries_per_second": 5.0, "memory_bytes": 2**20,
}  # fmt: skip
REPORT = {"loss": 0.25, "curve": [POINT], "dev": []}


def weights(folder: Path, content: str) -> Path:
    """A complete folder whose identity is its content."""
    with committed_folder(folder) as draft:
        (draft / "weights.bin").write_text(content)
        (draft / "metrics.json").write_text(json.dumps(REPORT))
        inputs = InputConfig(max_tokens=8, min_pixels=1, max_pixels=1, query_instruction="")
        manifest = Manifest(
            kind="full",
            backbone="b",
            weights=".",
            base_identity="",
            dim=2,
            dims=(2,),
            inputs=inputs,
            precision="float32",
        )
        write_manifest(draft, manifest)
    return folder


class PenAndPaper:
    """A launcher that writes down what it was asked, as weights."""

    def __init__(self) -> None:
        self.jobs: list[TrainJob] = []

    def train(self, job: TrainJob, *, log: Callable[[str], None]) -> dict[str, Any]:
        self.jobs.append(job)
        examples = read_examples(job.examples)
        dev = read_dev_examples(job.examples, examples)
        weights(job.out, f"{job.recipe} {job.seed} {sorted(examples.documents)} {examples.examples} {dev.examples}")
        return {}


def run(home: Home, launcher: PenAndPaper, *, code_version: str = "1", **changes: Any) -> dict[str, Any]:
    start = home.root / "backbones" / "untrained"
    if not start.exists():
        weights(start, "untrained")
    told = {
        "documents": DOCUMENTS, "examples": EXAMPLES, "dev": DEV, "training_recipe": "smoke", "start_from": str(start), "seed": 42,
        **changes,
    }  # fmt: skip
    training = ExampleSet(told.pop("documents"), tuple(told.pop("examples")), told.pop("clusters", {}))
    provenance = Provenance(code_version=code_version, inputs={"training_manifest": "m"})
    return trained_checkpoint(
        home, "pretrained_checkpoint", training, launcher=launcher, provenance=provenance,
        log=lambda line: None, **told,
    )  # fmt: skip


def test_the_result_is_published_with_what_it_was_made_from(home: Home) -> None:
    launcher = PenAndPaper()
    report = run(home, launcher)
    artifact = home.artifacts.require("pretrained_checkpoint")
    curves = report.pop("curves")
    assert report == {"examples": 2, "folder": str(artifact.folder), "metrics": {"loss": 0.25}}
    assert curves.startswith("![Loss, nats by step.")
    assert artifact.commit.num_rows == 2
    assert artifact.commit.provenance.inputs == {"training_manifest": "m"}
    (job,) = launcher.jobs
    assert (job.recipe, job.seed, job.out) == ("smoke", 42, artifact.folder)
    assert not job.examples.exists(), (
        "examples that were trained on are in the tables; a copy would grow with every run"
    )


def test_the_dev_score_of_another_checkpoint_stands_beside_that_of_the_run(home: Home) -> None:
    other = weights(home.root / "other", "w")
    points = [{"step": step, "ndcg@10": score, "recall@10": 0.5} for step, score in ((1, 0.25), (9, 0.75), (20, 0.5))]
    (other / "metrics.json").write_text(json.dumps(REPORT | {"dev": points}))
    report = run(home, PenAndPaper(), beside={"pretrained": other})
    assert report["metrics"] == {"loss": 0.25, "best_dev_ndcg@10_of_pretrained": 0.75}
    picture = (
        next(part for part in report["curves"].split("![") if part.lower().startswith("dev"))
        .split("base64,")[1]
        .split(")")[0]
    )
    drawn = base64.b64decode(picture).decode()
    assert "pretrained nDCG@10" in drawn


def test_a_finished_run_is_not_run_again(home: Home) -> None:
    launcher = PenAndPaper()
    run(home, launcher)
    first = home.artifacts.require("pretrained_checkpoint")
    run(home, launcher, code_version="2")
    again = home.artifacts.require("pretrained_checkpoint")
    assert len(launcher.jobs) == 1
    assert again.commit.data_version == first.commit.data_version
    assert again.commit.provenance.code_version == "2"


def test_a_run_that_was_killed_is_run_again(home: Home) -> None:
    launcher = PenAndPaper()
    run(home, launcher)
    (home.artifacts.require("pretrained_checkpoint").folder / "manifest.json").unlink()
    run(home, launcher)
    assert len(launcher.jobs) == 2
    assert home.artifacts.current("pretrained_checkpoint") is not None


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 43},
        {"training_recipe": "smoke_feedback"},
        {"examples": EXAMPLES[:1]},
        {"examples": [EXAMPLES[1], EXAMPLES[0]]},
        {"examples": [replace(EXAMPLES[0], negatives=()), EXAMPLES[1]]},
        {"documents": {**DOCUMENTS, "c2": Document.of("another text")}},
        {"examples": [replace(EXAMPLES[0], answer="io"), EXAMPLES[1]]},
        {"clusters": {"c1": "c1", "c2": "c1"}},
        {"dev": NO_DEV},
    ],
    ids=["seed", "recipe", "fewer", "order", "negatives", "text", "answer", "near copies", "dev"],
)
def test_whatever_changes_makes_another_run(home: Home, change: dict[str, Any]) -> None:
    launcher = PenAndPaper()
    run(home, launcher)
    run(home, launcher, **change)
    assert len({job.out for job in launcher.jobs}) == 2


def test_other_starting_weights_make_another_run_and_a_copy_of_them_does_not(home: Home, tmp_path: Path) -> None:
    launcher = PenAndPaper()
    run(home, launcher)
    run(home, launcher, start_from=str(weights(tmp_path / "copy", "untrained")))
    assert len(launcher.jobs) == 1
    run(home, launcher, start_from=str(weights(tmp_path / "other", "trained for a day")))
    assert len(launcher.jobs) == 2
