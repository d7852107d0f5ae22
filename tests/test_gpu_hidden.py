"""Tests say what a CPU does, on a machine with a GPU too."""

import os

import pytest

from tests.conftest import why_no_gpu


def test_a_gpu_is_hidden_from_tests_and_from_what_they_start() -> None:
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_tests_for_a_gpu_are_skipped_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    assert "make test-gpu" in why_no_gpu("not long", [request.node])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "sees no CUDA device" in why_no_gpu("gpu", [request.node])
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert why_no_gpu("gpu", [request.node]) == ""
