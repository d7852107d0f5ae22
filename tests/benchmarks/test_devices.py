"""The GPU benchmarks run through, on a CPU at small sizes by the code that a GPU takes."""

import argparse
import json

import pytest
import torch

from benchmarks import devices, loss, step
from benchmarks.contrastive_steps import Side, require_like_gradients
from benchmarks.devices import PEAK_BY_DEVICE_NAME, present_device, utilisation


def rows_of(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_step_in_bfloat16_with_lora_is_compared_in_pairs_and_operations_a_second(capsys):
    options = "--json --device cpu --tuning lora --precision bfloat16 --pairs 6 --peer-mini-batch 4 --rounds 1"
    step.main(options.split())
    pairs, arithmetic = rows_of(capsys)
    assert pairs["name"].startswith("step, toy, lora, bfloat16, 6 pairs")
    assert "gradients of cosine 0.99" in pairs["name"] or "gradients of cosine 1.0" in pairs["name"]
    assert (pairs["unit"], arithmetic["ratio"]) == ("pairs/s", pairs["ratio"])
    assert "utilisation not known and not known" in arithmetic["unit"]
    assert 0 < arithmetic["ours"] < 100


def test_the_loss_is_compared_in_passes_and_operations_a_second(capsys):
    loss.main(["--json", "--device", "cpu", "--sizes", "48", "--cached-size", "16", "--rounds", "1"])
    rows = rows_of(capsys)
    assert [row["unit"].split(",")[0] for row in rows] == ["passes/s", "TFLOP/s that the loss asks for"] * 3
    assert rows[1]["ours"] == pytest.approx(rows[0]["ours"] * 6 * 48 * 48 * 2048 / 1e12)


def side(*inputs: float) -> Side:
    """Whose gradient is its inputs."""
    model = torch.nn.Linear(len(inputs), 1, bias=False)

    def backward() -> float:
        model(torch.tensor(inputs)).sum().backward()
        return 0.0

    return Side(model, backward, torch.optim.SGD(model.parameters()))


def test_sides_of_other_gradients_are_not_timed():
    assert require_like_gradients(side(1.0, 1.0, 1.0), side(2.0, 2.0, 2.0)) == pytest.approx(1.0)
    with pytest.raises(AssertionError, match=r"cosine is -0\.333, below 0\.99; nothing was timed"):
        require_like_gradients(side(1.0, 1.0, 1.0), side(1.0, -1.0, -1.0))


@pytest.mark.parametrize("name", ["gpu", "cpu:1", "cuda:x", "cuda:-1"])
def test_a_device_of_another_name_is_refused(name):
    with pytest.raises(argparse.ArgumentTypeError, match="allowed are cpu, cuda and cuda:NUMBER"):
        present_device(name)


def test_a_gpu_that_is_not_there_is_refused_with_what_torch_sees(capsys):
    absent = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(SystemExit):
        loss.main(["--device", absent])
    assert f"got '{absent}', but torch {torch.__version__} sees" in capsys.readouterr().err


def test_utilisation_is_the_share_of_the_peak_of_a_device_on_record(monkeypatch):
    monkeypatch.setattr(devices.torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    gpu = torch.device("cuda", 0)
    assert utilisation(494.7e12, gpu, torch.bfloat16) == "50.0%"
    assert utilisation(6.69e12, gpu, torch.float32) == "10.0%"
    assert utilisation(1e12, gpu, torch.float64) == "not known"
    monkeypatch.setattr(devices.torch.cuda, "get_device_name", lambda device: "another")
    assert "another" not in PEAK_BY_DEVICE_NAME
    assert utilisation(1e12, gpu, torch.bfloat16) == "not known"


@pytest.mark.gpu
def test_on_a_gpu_memory_is_compared_as_well(capsys):
    step.main(["--json", "--device", "cuda", "--size", "toy", "--pairs", "6", "--rounds", "1"])
    loss.main(["--json", "--device", "cuda", "--sizes", "512", "--cached-size", "0", "--rounds", "1"])
    rows = rows_of(capsys)
    assert [row["unit"].split()[0] for row in rows] == ["pairs/s", "TFLOP/s", "MiB", "passes/s,", "TFLOP/s", "MiB"]
    assert all(row["ours"] > 0 and torch.cuda.get_device_name() in row["machine"] for row in rows)
