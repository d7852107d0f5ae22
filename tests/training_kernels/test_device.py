"""What makes steps on a GPU repeatable is set before torch looks for it, and what cannot be repeated says why."""

import os
import subprocess
import sys

import pytest
import torch

from training_kernels import device
from training_kernels.device import CUBLAS_SETTING, repeatable
from training_kernels.errors import ConfigError

CUDA = torch.device("cuda", 0)
SAYS = f"import os, sys, %s; print(os.environ['{CUBLAS_SETTING}'], 'torch' in sys.modules)"


@pytest.mark.long
@pytest.mark.parametrize(
    "entry", ["nyx_assets.__main__", "nyx_assets.definitions", "training_kernels.__main__", "training_kernels.export"]
)
def test_every_entry_sets_what_cublas_reads_and_leaves_a_users_own(entry):
    said = []
    for own in ({}, {CUBLAS_SETTING: ":16:8"}):
        env = {name: value for name, value in os.environ.items() if name != CUBLAS_SETTING} | own
        done = subprocess.run([sys.executable, "-c", SAYS % entry], env=env, capture_output=True, text=True, check=True)
        said.append(done.stdout.split())
    assert [value for value, _ in said] == [":4096:8", ":16:8"]
    assert said[0][1] == str(entry == "training_kernels.export"), "torch is used where it is imported, not before"


@pytest.mark.parametrize(
    ("torch_says", "advice"),
    [
        (
            "Deterministic behavior was enabled, but this operation is not deterministic because it uses CuBLAS; set "
            "CUBLAS_WORKSPACE_CONFIG=:4096:8",
            r"Start this process with CUBLAS_WORKSPACE_CONFIG=:4096:8 or :16:8 in its environment \(now ':0:0'; it counts "
            r"from the first use of the GPU on\), or set is_repeatable=false",
        ),
        (
            "cumsum_cuda_kernel does not have a deterministic implementation",
            "there is no such kernel: set is_repeatable=f",
        ),
    ],
    ids=["cuBLAS", "a kernel"],
)
def test_what_cannot_be_repeated_says_what_would_help(monkeypatch, torch_says, advice):
    monkeypatch.setattr(device, "device_name", str)
    monkeypatch.setenv(CUBLAS_SETTING, ":0:0")
    with pytest.raises(ConfigError, match=advice), repeatable(CUDA, is_asked=True):
        raise RuntimeError(torch_says)
    with repeatable(CUDA, is_asked=True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(RuntimeError, match="shapes differ"), repeatable(CUDA, is_asked=True):
        raise RuntimeError("shapes differ")
