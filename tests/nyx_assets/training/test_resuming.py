"""The training of an asset whose process was killed goes on by itself when the asset is made again."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from nyx_assets.training.runs import trained_checkpoint
from resources.gpu_inprocess import InProcessLauncher
from resources.home import Home
from resources.tables import Provenance
from tests.training_kernels.running import environment, write_task
from training_kernels import recipes
from training_kernels.backbones.registry import backbone_folder
from training_kernels.dev_examples import read_dev_examples
from training_kernels.examples import read_examples
from training_kernels.recipes import tiny
from training_kernels.tokenizer import TINY

RECIPE = "tiny_in_small_steps"


def recipe():
    state = replace(tiny().state, every_steps=1)
    return replace(tiny(), name=RECIPE, batch_size=16, epochs=100, max_steps=16, state=state)


def make(root: Path) -> list[str]:
    """What the asset does in its process; returns what it logged."""
    recipes.RECIPES[RECIPE] = recipe
    training = read_examples(root / "task")
    lines: list[str] = []
    trained_checkpoint(
        Home.at(root / "home"),
        "pretrained_checkpoint",
        training,
        dev=read_dev_examples(root / "task", training),
        training_recipe=RECIPE,
        start_from=str(backbone_folder(TINY, root / "backbones")),
        seed=1,
        launcher=InProcessLauncher(),
        provenance=Provenance(code_version="1", inputs={}),
        log=lines.append,
    )
    return lines


@pytest.fixture
def own_recipes(monkeypatch):
    monkeypatch.setattr(recipes, "RECIPES", dict(recipes.RECIPES))


@pytest.mark.long
def test_a_killed_training_goes_on_and_is_published(tmp_path: Path, own_recipes: None) -> None:
    write_task(tmp_path / "task")
    told = [sys.executable, __file__, str(tmp_path)]
    process = subprocess.Popen(told, env=environment(), stdout=subprocess.DEVNULL)
    checkpoints = tmp_path / "home" / "checkpoints" / "pretrained_checkpoint"
    deadline = time.monotonic() + 600
    while not list(checkpoints.glob("*.state/step-*[3-9]")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    home = Home.at(tmp_path / "home")
    assert home.artifacts.current("pretrained_checkpoint") is None
    lines = make(tmp_path)
    assert any("going on at step" in line for line in lines)
    folder = home.artifacts.require("pretrained_checkpoint").folder
    assert [path.name for path in checkpoints.iterdir()] == [folder.name]
    assert not list((tmp_path / "home" / "training_examples").iterdir())


if __name__ == "__main__":
    make(Path(sys.argv[1]))
