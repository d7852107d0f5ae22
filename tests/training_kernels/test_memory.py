"""A batch that does not fit is refused with what to lower, and training goes on from where it was."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from transformers import AutoModel

from tests.training_kernels.running import command, environment, finish, kill_after_state, newest_state, write_task
from training_kernels.encoder import Encoder
from training_kernels.errors import OutOfMemory
from training_kernels.memory import Pass, is_out_of_memory, step_errors_explained, weights_errors_explained
from training_kernels.recipes import tiny, train_recipe

LIMITED = """
import resource, sys
from training_kernels import __main__ as command
from training_kernels import trainer

learn = trainer.train
def train(*told, log, **named):
    def limiting(line):
        log(line)
        if line.startswith("recipe"):
            taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (taken + 40 * 2**20, resource.RLIM_INFINITY))
    return learn(*told, log=limiting, **named)
trainer.train = train
sys.exit(command.main())
"""
"""The command in a process that gets 40 MiB more once the model is loaded."""


def test_a_run_without_memory_says_what_to_lower_and_goes_on_when_it_is_lowered(tiny_folder, tmp_path):
    examples = write_task(tmp_path / "task", num_examples=80)
    out = tmp_path / "out"
    settings = ("max_steps=8", "state.every_steps=1", "batch_size=64", "token_budget=100_000")
    told = command(examples, out, tiny_folder, *settings)
    reached = kill_after_state(told, out, step=2, seconds=0.0)
    failed = subprocess.run(
        [sys.executable, "-c", LIMITED, *told], env=environment(), capture_output=True, text=True, timeout=900
    )
    assert failed.returncode == 1, failed.stderr
    said = failed.stderr
    assert f"OutOfMemory: step {reached + 1} does not fit cpu" in said
    for words in (
        "a batch of 64 queries",
        " tokens with padding (token_budget 100,000, inputs.max_tokens 512)",
        "Set activations=recomputed",
        "GiB",
    ):
        assert words in said
    assert newest_state(out) == reached
    lower = command(examples, out, tiny_folder, *settings[:-1], "token_budget=256", "activations=recomputed")
    assert f"going on at step {reached + 1}" in finish(lower)
    assert len(json.loads((out / "metrics.json").read_text())["curve"]) == 8


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"
        ),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
        torch.distributed.DistBackendError("ncclUnhandledCudaError\nLast error:\nCuda failure 2 'out of memory'"),
    ],
    ids=["python", "cuda", "cpu allocator", "cuBLAS", "cuDNN", "accelerator", "NCCL"],
)
def test_every_allocator_is_understood(error):
    with pytest.raises(OutOfMemory, match="Set activations=recomputed"), explained(activations="kept"):
        raise error
    assert is_out_of_memory(error)


def explained(recipe=None, seen=Pass(4, 1200), **changes):  # noqa: B008
    config = replace(recipe or tiny(), **changes)
    cpu = torch.device("cpu")
    return step_errors_explained(config, cpu, step=3, num_documents=192, last_pass=lambda: seen, state="It is safe.")


@pytest.mark.parametrize("name", ["nyx", "nyx_paper", "nyx_published", "small_gpu"])
def test_a_pass_of_many_documents_is_made_smaller_and_one_of_one_document_shorter(name):
    recipe = train_recipe(name)
    many = rf"the last pass of 7 documents, 2,030 tokens with padding \(token_budget {recipe.token_budget:,}.*Lower token_budget, to 1,015 say; the gradient stays"
    with pytest.raises(OutOfMemory, match=many), explained(recipe, Pass(7, 2030)):
        raise MemoryError
    one = r"1 document, 1,900 tokens with padding .*lower inputs.max_tokens below its 1,900 tokens, or inputs.max_pixels, which changes what is learned\. It is safe"
    with pytest.raises(OutOfMemory, match=one), explained(recipe, Pass(1, 1900)):
        raise MemoryError


def test_the_advice_is_a_setting_that_still_helps():
    for changes, seen, advice in (
        ({}, Pass(40, 4000), "Lower token_budget, to 2,000 say"),
        ({"kept_tokens": 50_000}, Pass(40, 4000), r"Set kept_tokens \(now 50,000\) to 0"),
        ({"kept_tokens": 3000}, Pass(40, 4000), "Lower token_budget, to 2,000 say"),
        ({}, Pass(1, 500), "max_pixels, which changes what is learned, or use LoraTuning"),
        ({}, None, r"the optimizer, .*: take tuning=LoraTuning"),
    ):
        with pytest.raises(OutOfMemory, match=advice), explained(seen=seen, activations="recomputed", **changes):
            raise MemoryError


def test_memory_that_weights_did_not_get_is_told_of_them_and_once():
    cpu = torch.device("cpu")
    told = r"^checkpoint c does not fit cpu, which has .* GiB .*\. Do this\. The allocator said: CUDA error: out of memory$"
    with (
        pytest.raises(OutOfMemory, match=told),
        explained(),
        weights_errors_explained("checkpoint c", cpu, advice="Do this."),
    ):
        raise RuntimeError("CUDA error: out of memory\nmore")


def test_weights_that_get_no_memory_are_not_called_broken(tiny_folder, monkeypatch):
    def none_left(*told, **named):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(AutoModel, "from_pretrained", none_left)
    with pytest.raises(OutOfMemory, match=f"checkpoint {tiny_folder} does not fit cpu"):
        Encoder.load(tiny_folder)


def test_other_errors_pass_as_they_are():
    with pytest.raises(RuntimeError, match="shapes differ"), explained():
        raise RuntimeError("shapes differ")
