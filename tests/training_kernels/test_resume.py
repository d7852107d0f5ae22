"""A run that is killed at any step and started again ends with the bytes of one that was not."""

import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from tests.training_kernels.running import LORA, command, finish, kill_after_state, newest_state, write_task
from training_kernels import state
from training_kernels.dev_examples import NO_DEV
from training_kernels.distributed import Ranks
from training_kernels.examples import read_examples
from training_kernels.recipes import tiny

TIMED = ("queries_per_second", "tokens_per_second", "memory_bytes")


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Path:
    return write_task(tmp_path_factory.mktemp("task"), num_pictures=24)


def weights(out: Path) -> bytes:
    (file,) = out.glob("*model.safetensors")
    return file.read_bytes()


def curve(out: Path) -> list[dict]:
    points = json.loads((out / "metrics.json").read_text())["curve"]
    return [{name: value for name, value in point.items() if name not in TIMED} for point in points]


@pytest.mark.long
@pytest.mark.parametrize(
    "how",
    [(LORA,), ("tuning=FullTuning()",), (LORA, "vision_cache_bytes=10_000_000"), (LORA, "vision_cache_bytes=9_000")],
    ids=["LoRA with dropout", "full", "pictures kept on disk", "some pictures kept on disk"],
)
def test_a_run_killed_at_random_steps_ends_with_the_same_bytes(examples, tiny_folder, tmp_path, how):
    draw = random.Random(len(how[-1]))
    settings = (
        "max_steps=48", "batches_per_step=2", "state.every_steps=1", "dev.every_steps=5", "activations=recomputed", *how,
    )  # fmt: skip
    keeps_pictures = "vision_cache" in how[-1]
    out, calm = tmp_path / "run" / "out", tmp_path / "calm" / "out"
    start = out.parent / "backbone" / "tiny"
    told = command(examples, out, start, *settings)
    shutil.copytree(tiny_folder, start)
    finish(told)
    out.parent.rename(calm.parent)
    shutil.copytree(tiny_folder, start)  # anew: what is kept of pictures lies beside it
    reached = []
    for target in (draw.randrange(1, 8), draw.randrange(8, 16)):
        reached.append(kill_after_state(told, out, step=target, seconds=draw.random() * 0.3))
        assert not out.exists()
    assert 0 < reached[0] < reached[1] < 24
    said = finish(told)
    assert f"going on at step {reached[1] + 1}" in said
    assert weights(out) == weights(calm)
    assert curve(out) == curve(calm)
    report, expected = (json.loads((folder / "metrics.json").read_text()) for folder in (out, calm))
    assert report["dev"] == expected["dev"]
    assert (report["best_step"], report["resumed_at_step"]) == (expected["best_step"], reached[1])
    assert (out / "manifest.json").read_bytes() == (calm / "manifest.json").read_bytes()
    assert sorted(path.name for path in out.parent.iterdir()) == ["backbone", "out"], "the state goes when it is done"
    assert (out.parent / "backbone" / "vision_cache").is_dir() == keeps_pictures


def test_the_threads_of_a_cpu_are_part_of_a_run_and_those_beside_a_gpu_are_not(examples, tiny_folder, monkeypatch):
    monkeypatch.setattr(state, "device_name", str)
    training, threads = read_examples(examples), torch.get_num_threads()

    def parts(device: str) -> list[dict]:
        made = []
        for number in (1, 2):
            torch.set_num_threads(number)
            made.append(
                state.run_parts(tiny(), training, NO_DEV, tiny_folder, Ranks.current("ddp"), torch.device(device))
            )
        return made

    try:
        (one, two), (gpu, same) = parts("cpu"), parts("cuda")
    finally:
        torch.set_num_threads(threads)
    assert (one["threads"], two["threads"]) == (1, 2)
    assert one | {"threads": 2} == two
    assert gpu == same


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("--set", "optimizer.learning_rate=0.001"), "recipe.optimizer.learning_rate"),
        pytest.param(("--seed", "9"), "recipe.seed", marks=pytest.mark.long),
    ],
    ids=["recipe", "seed"],
)
def test_another_run_does_not_go_on_from_this_ones_state(examples, tiny_folder, tmp_path, change, named):
    out = tmp_path / "out"
    settings = ("max_steps=12", "state.every_steps=1")
    told = command(examples, out, tiny_folder, *settings)
    assert kill_after_state(told, out, step=3, seconds=0.0) < 12
    said = finish([*told, *change])
    assert f"is of another run ({named}); moved to out.state.old, training starts anew" in said
    assert "going on" not in said
    fresh = tmp_path / "fresh"
    finish([*command(examples, fresh, tiny_folder, *settings), *change])
    assert weights(out) == weights(fresh)
    assert newest_state(tmp_path / "out.state") == -1
    assert (tmp_path / "out.state.old").is_dir()


def test_other_examples_start_anew_and_a_smaller_token_budget_goes_on(examples, tiny_folder, tmp_path):
    out = tmp_path / "out"
    settings = ("max_steps=16", "state.every_steps=1")
    reached = kill_after_state(command(examples, out, tiny_folder, *settings), out, step=3, seconds=0.0)
    again = command(examples, out, tiny_folder, *settings, "token_budget=256", "state.every_steps=2")
    later = kill_after_state(again, out, step=reached + 2, seconds=0.0)
    assert later > reached
    fewer = write_task(tmp_path / "fewer", num_examples=50)
    assert "of another run (dev_documents, dev_examples, documents, examples)" in finish(
        command(fewer, out, tiny_folder, *settings)
    )
