"""One training run: examples written, the launcher called unless the same run was finished before, the result published."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nyx_assets.lineage import note_seen
from nyx_assets.training.curves import curves_markdown
from resources.artifacts import MANIFEST
from resources.gpu import Launcher, TrainJob
from resources.home import Home
from resources.tables import Commit, Provenance, utc_now
from training_kernels.dev_examples import write_dev_examples
from training_kernels.examples import ExampleSet, write_examples
from training_kernels.manifest import identity
from training_kernels.recipes import train_recipe


def trained_checkpoint(
    home: Home,
    asset: str,
    training: ExampleSet,
    *,
    dev: ExampleSet,
    training_recipe: str,
    start_from: str,
    seed: int,
    launcher: Launcher,
    provenance: Provenance,
    log: Callable[[str], None],
    beside: Mapping[str, Path] | None = None,
    kept_under: str | None = None,
) -> dict[str, Any]:
    """Publish the checkpoint of this run as the current one of `asset`; returns what its report says, for metadata.

    A run is named by everything that it depends on: recipe, examples, dev examples, starting weights, seed. If a run of
    that name is complete, it is not run again; if it was killed, it goes on from its last state, which lies beside.

    Args:
        beside: checkpoint folders by name, whose dev curve is drawn beside this run's.
        kept_under: asset under whose name the folder lies; None for `asset`.
    """
    run_id = _run_id(training, dev, training_recipe=training_recipe, start_from=start_from, seed=seed)
    with home.held(asset, log=log) as require_held:
        folder = home.artifacts.folder(kept_under or asset, run_id)
        if (folder / MANIFEST).is_file():
            log(f"run {run_id} is finished already")
        else:
            examples_folder = home.root / "training_examples" / run_id
            write_examples(examples_folder, training.documents, training.examples, training.cluster_by_document)
            write_dev_examples(examples_folder, dev)
            job = TrainJob(
                recipe=training_recipe,
                examples=examples_folder,
                images=home.images.root,
                start_from=Path(start_from),
                out=folder,
                seed=seed,
            )
            launcher.train(job, log=log)
            shutil.rmtree(examples_folder)
        commit = Commit(
            data_version=identity(folder)[:32],
            num_rows=len(training.examples),
            provenance=provenance,
            written_at=utc_now(),
        )
        note_seen(home, folder, [*training.documents, *dev.documents], start_from=start_from)
        require_held()
        home.artifacts.publish(asset, folder, commit)
    return {"examples": len(training.examples), "folder": str(folder), **_headline(folder, beside or {})}


def _run_id(training: ExampleSet, dev: ExampleSet, *, training_recipe: str, start_from: str, seed: int) -> str:
    digest = hashlib.sha256(repr((train_recipe(training_recipe), seed, identity(Path(start_from)))).encode())
    for examples in (training, dev):
        for example in examples.examples:
            digest.update(repr(example).encode())
        for document_id, document in sorted(examples.documents.items()):
            cluster = examples.cluster_by_document.get(document_id)
            digest.update(repr((document_id, document.to_rows(), cluster)).encode())
    return digest.hexdigest()[:20]


def _headline(folder: Path, beside: Mapping[str, Path]) -> dict[str, Any]:
    """What the run's own metrics file says: numbers as they are, curves as pictures in Markdown."""
    report = _report(folder)
    metrics = {name: value for name, value in report.items() if name not in ("curve", "dev")}
    others = {name: _report(other) for name, other in beside.items()}
    for name, other in others.items():
        if other["dev"]:
            metrics[f"best_dev_ndcg@10_of_{name}"] = max(point["ndcg@10"] for point in other["dev"])
    curves = curves_markdown(report, others)
    return {"metrics": metrics, "curves": curves}


def _report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return report
