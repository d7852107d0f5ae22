"""A batch that does not fit is refused with what to lower, and training goes on from where it was."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from tests.training_kernels.running import command, environment, finish, kill_after_state, newest_state, write_task
from training_kernels.errors import OutOfMemory
from training_kernels.memory import is_out_of_memory, memory_errors_explained
from training_kernels.recipes import tiny

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
        "512 tokens each",
        "passes of 100,000 tokens",
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
    ],
    ids=["python", "cuda", "cpu allocator"],
)
def test_every_allocator_is_understood(error):
    with pytest.raises(OutOfMemory, match="Set activations=recomputed"), explained(activations="kept"):
        raise error
    assert is_out_of_memory(error)


def explained(**changes):
    config = replace(tiny(), **changes)
    return memory_errors_explained(config, torch.device("cpu"), step=3, num_documents=192, state="It is safe.")


def test_the_advice_is_a_setting_that_still_helps():
    for changes, advice in (
        ({"activations": "recomputed", "token_budget": 4096}, "Lower token_budget, to 2,048 say; the gradient stays"),
        ({"activations": "recomputed", "token_budget": 512}, "lower inputs.max_tokens or inputs.max_pixels"),
    ):
        with pytest.raises(OutOfMemory, match=advice), explained(**changes):
            raise MemoryError


def test_other_errors_pass_as_they_are():
    with pytest.raises(RuntimeError, match="shapes differ"), explained():
        raise RuntimeError("shapes differ")
