"""Commands in a mount name space of their own, where a folder is read-only or as small as a test wants. Needs no root."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def read_only(folder: Path, command: Sequence[str], **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command for which a folder is on a read-only disk."""
    return _shut_in('mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"', folder, command, env)


def on_small_disk(folder: Path, num_bytes: int, command: Sequence[str], **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command for which a folder is an empty disk of this size; what it wrote there is gone afterwards."""
    return _shut_in(f'mount -t tmpfs -o size={num_bytes} none "$0" && exec "$@"', folder, command, env)


def _shut_in(
    script: str, folder: Path, command: Sequence[str], env: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    shut_in = ["unshare", "-Urm"]
    if subprocess.run([*shut_in, "true"], capture_output=True).returncode:
        pytest.skip("this kernel gives no user name spaces (unshare -Urm)")
    whole = os.environ | {"PYTHONPATH": str(ROOT)} | env
    return subprocess.run(
        [*shut_in, "sh", "-c", script, str(folder), *command], env=whole, capture_output=True, text=True, timeout=300
    )
