"""What the training assets do around a run."""

from types import SimpleNamespace

import pytest

from nyx_assets.recipes import pipeline_recipe
from nyx_assets.rounds import rounds_of
from nyx_assets.training import assets


class Embedders:
    def __init__(self, order: list[str]) -> None:
        self.order = order

    def untrained(self) -> str:
        return "backbone"

    def release(self) -> None:
        self.order.append("released")


@pytest.mark.parametrize("name", ["pretrained", "finetuned"])
def test_the_embedder_of_earlier_steps_leaves_the_device_before_training(monkeypatch, name) -> None:
    order: list[str] = []
    recipe = pipeline_recipe("smoke")
    asset = assets.pretrained_checkpoint if name == "pretrained" else assets.finetuning_asset(rounds_of(1)[0], recipe)
    home = SimpleNamespace(artifacts=SimpleNamespace(require=lambda asset: SimpleNamespace(folder="pretrained")))
    step = SimpleNamespace(
        home=home, log=order.append, provenance=str, report=lambda *told, **named: None, results=lambda *names: iter([])
    )
    monkeypatch.setattr(assets, "Step", lambda context, home: step)
    monkeypatch.setattr(assets, "stopped_before", lambda home, one: "")
    for unneeded in (
        "require_unchanged",
        "pretraining_examples",
        "joint_examples",
        "feedback_examples",
        "dev_examples",
    ):
        monkeypatch.setattr(assets, unneeded, lambda *told, **named: None)
    monkeypatch.setattr(assets, "trained_checkpoint", lambda *told, **named: order.append("trained") or {"curves": ""})
    run = asset.op.compute_fn.decorated_fn
    assert list(run(None, home=home, recipe=recipe, launcher=None, embedders=Embedders(order))) == []
    assert order == ["released", "trained"]
