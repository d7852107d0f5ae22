"""The code location as Dagster loads it from workspace.yaml."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def validated(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    dagster = Path(sys.executable).with_name("dagster")
    here = {name: value for name, value in os.environ.items() if not name.startswith("NYX_")}
    return subprocess.run(
        [dagster, "definitions", "validate", "-w", ROOT / "workspace.yaml"],
        env={**here, **env},
        cwd=folder,
        capture_output=True,
        text=True,
    )


def test_the_definitions_are_valid_and_loading_them_writes_nothing(tmp_path: Path) -> None:
    made = validated(tmp_path)
    assert made.returncode == 0, made.stderr
    assert "Validation successful for code location nyx" in made.stdout + made.stderr
    assert list(tmp_path.rglob("*")) == []


def test_an_environment_that_makes_no_sense_is_no_code_location(tmp_path: Path) -> None:
    made = validated(tmp_path, NYX_RECIPE="papr")
    assert made.returncode != 0
    assert "recipe 'papr' is unknown" in made.stdout + made.stderr
