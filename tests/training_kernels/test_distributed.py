"""Several processes train as one: the same gradients, the same weights, each document of the joined batch once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training_kernels.rank_gradients import MAX_NORM
from tests.training_kernels.running import (
    LORA,
    command,
    environment,
    finish,
    finish_torchrun,
    finished,
    kill_torchrun_after_state,
    torchrun,
    write_task,
)

SCRIPT = Path(__file__).with_name("rank_gradients.py")
DIVERGENCE = Path(__file__).with_name("rank_divergence.py")


def gradients(folder: Path, start_from: Path, *, processes: int, distribution: str) -> dict:
    out = folder / f"{processes}-{distribution}.pt"
    python = torchrun(processes) if processes > 1 else [sys.executable]
    finished([*python, str(SCRIPT), str(start_from), str(out), distribution])
    return torch.load(out)


@pytest.fixture(scope="module")
def one_process(tiny_folder, tmp_path_factory) -> dict:
    return gradients(tmp_path_factory.mktemp("one"), tiny_folder, processes=1, distribution="ddp")


@pytest.mark.parametrize(
    ("distribution", "processes"),
    [("ddp", 2), pytest.param("ddp", 3, marks=pytest.mark.long), pytest.param("fsdp", 3, marks=pytest.mark.long)],
)
def test_gradients_of_ranks_equal_those_of_one_process_with_the_joined_batch(
    one_process, tiny_folder, tmp_path, distribution, processes
):
    many = gradients(tmp_path, tiny_folder, processes=processes, distribution=distribution)
    assert many.keys() == one_process.keys()
    for way, expected in one_process.items():
        got = many[way]
        assert expected["norm"] > MAX_NORM, "clipping must be part of what is compared"
        assert got["norm"] == pytest.approx(expected["norm"], rel=1e-5), way
        assert got["loss"] == pytest.approx(expected["loss"], rel=1e-6), way
        assert got["loss_by_dim"] == pytest.approx(expected["loss_by_dim"], rel=1e-5), way
        assert got["gradients"].keys() == expected["gradients"].keys(), way
        assert any("visual" in name for name in expected["gradients"]) == ("full" in way and not way.endswith(" 0"))
        for name, gradient in expected["gradients"].items():
            torch.testing.assert_close(got["gradients"][name], gradient, atol=1e-6, rtol=0, msg=f"{way} {name}")


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Path:
    return write_task(tmp_path_factory.mktemp("task"))


SETTINGS = (
    "max_steps=6",
    "state.every_steps=1",
    "dev.every_steps=3",
    "activations=recomputed",
    "optimizer.learning_rate=0.001",
)


@pytest.fixture(scope="module")
def alone(examples, tiny_folder, tmp_path_factory) -> Path:
    """What one process makes of it."""
    out = tmp_path_factory.mktemp("alone") / "out"
    finish(command(examples, out, tiny_folder, *SETTINGS))
    return out


@pytest.mark.parametrize("distribution", [pytest.param("ddp", marks=pytest.mark.long), "fsdp"])
def test_two_processes_end_with_the_weights_of_one(examples, alone, tiny_folder, tmp_path, distribution):
    finish_torchrun(
        command(examples, tmp_path / "two", tiny_folder, *SETTINGS, f"distribution={distribution}"), processes=2
    )
    folders = (alone, tmp_path / "two")
    one, two = (load_file(folder / "model.safetensors") for folder in folders)
    start = load_file(tiny_folder / "model.safetensors")
    assert one.keys() == two.keys()
    changed = 0.0
    for name, weight in one.items():
        changed = max(changed, float((weight - start[name]).abs().max()))
        # Adam makes a full step of rounding noise, so single weights may differ; together they must not
        assert float((two[name] - weight).norm()) <= 0.02 * float((weight - start[name]).norm()) + 1e-6, name
    assert changed > 1e-3
    reports = [json.loads((folder / "metrics.json").read_text()) for folder in folders]
    assert [report["processes"] for report in reports] == [1, 2]
    assert reports[0]["tokens"] <= reports[1]["tokens"] <= reports[0]["tokens"] * 1.1, (
        "only what fills up is read twice"
    )
    assert [point["loss"] for point in reports[1]["curve"]] == pytest.approx(
        [point["loss"] for point in reports[0]["curve"]], rel=1e-3
    )


@pytest.mark.long
@pytest.mark.parametrize("distribution", ["ddp", "fsdp"])
def test_two_processes_killed_together_end_with_the_same_bytes(examples, tiny_folder, tmp_path, distribution):
    settings = ("max_steps=16", "state.every_steps=1", "dev.every_steps=9", f"distribution={distribution}", LORA)
    finish_torchrun(command(examples, tmp_path / "calm", tiny_folder, *settings), processes=2)
    out = tmp_path / "killed"
    told = command(examples, out, tiny_folder, *settings)
    reached = kill_torchrun_after_state(told, out, processes=2, step=5, seconds=0.1)
    assert 5 <= reached < 16
    said = finish_torchrun(told, processes=2)
    (step,) = [int(part.split(",")[0]) for part in said.split("going on at step ")[1:]]
    assert step > reached, "ranks may outlive their parent by a step"
    files = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("calm", "killed")]
    assert files[0] == files[1]


@pytest.mark.long
def test_after_a_divergence_all_ranks_wait_until_the_good_weights_are_written(examples, tiny_folder, tmp_path):
    told = [*torchrun(2), str(DIVERGENCE), str(examples), str(tiny_folder), str(tmp_path / "out")]
    done = subprocess.run(told, env=environment(), capture_output=True, text=True, timeout=300)
    good = tmp_path / "out.state" / "last_good"
    assert done.returncode != 0
    assert f"are in {good}, to go on from by --start-from" in done.stderr
    assert (good / "manifest.json").is_file(), done.stderr[-3000:]
