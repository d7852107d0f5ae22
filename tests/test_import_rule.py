"""Who may import whom (CONTRIBUTING.md), executed over every module of the project."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("training_kernels", "resources", "nyx_assets", "sensors")
"""Lowest first: a layer imports those before it."""
BESIDE = ("sample_crawl", "benchmarks", "tests")
"""Not part of the house: they may use it, it does not use them; the command line generates the sample crawl."""

DAGSTER_FILES = {
    "assets.py": "wiring of a stage",
    "checks.py": "wiring of a stage",
    "partitions.py": "the one way the pipeline is cut",
    "automation.py": "what a landing brings about by itself",
    "definitions.py": "the composition root",
    "materialization.py": "what every asset does around its thinking",
    "main_job.py": "the main job is a series of Dagster runs",
    "failures.py": "reads what went wrong from Dagster's events",
    "recovery.py": "mends Dagster's records after a kill",
    "registering.py": "tells Dagster of deliveries",
    "reporting.py": "reads Dagster's partitions for the report",
    "planned_work.py": "a plan walks the graph as the main job does",
    "backfilling.py": "a backfill walks the graph as the main job does",
    "past_runs.py": "how long runs took stands in Dagster's records",
    "quick_records.py": "has Dagster's records written without waits",
    "run_processes.py": "has runs say in Dagster's records which process executes them",
    "dagster_records.py": "the doctor opens Dagster's records",
}
"""Files of nyx_assets that may import dagster, each with its reason."""

SEAMS = ("resources/vlm.py", "resources/vector_index.py", "resources/embedder.py", "resources/gpu.py")
VENDORS = frozenset({"torch", "transformers", "peft", "pymilvus", "milvus_lite", "openai", "dagster", "httpx", "faiss"})
HEAVY = frozenset({"torch", "transformers", "peft", "pymilvus", "openai"})
NO_SERVICE = frozenset({"dagster", "openai", "pymilvus", "milvus_lite", "duckdb"})
TORCH_FREE = ("config", "recipes", "documents", "errors", "images", "tokenizer")
"""Kernels that light processes import."""

COMMANDS = ("nyx_assets/__main__.py", "nyx_assets/main_job_commands.py")
"""The command line, which is above everything."""

EXCEPTIONS = {
    ("nyx_assets/main_job_commands.py", "sample_crawl"): "the demo's crawl is generated on first use",
    (
        "nyx_assets/registering.py",
        "nyx_assets.corpus",
    ): "deliveries and their listing are the corpus stage's, used before any run",
    (
        "nyx_assets/planned_run.py",
        "nyx_assets.corpus",
    ): "a plan starts where a run does: at what lies in the crawl folder",
    ("nyx_assets/planned_calls.py", "nyx_assets.captions"): "a plan counts the requests that the stages would make,",
    ("nyx_assets/planned_calls.py", "nyx_assets.corpus"): "a plan counts the requests that the stages would make,",
    ("nyx_assets/planned_calls.py", "nyx_assets.nyxqa"): "by the functions that make them,",
    ("nyx_assets/planned_calls.py", "nyx_assets.feedback"): "so that plan and run cannot differ",
    ("nyx_assets/doctor/landing.py", "nyx_assets.corpus"): "the doctor looks at deliveries as a run does",
    ("nyx_assets/export/beir.py", "nyx_assets.evaluation"): "an exported suite is the one that evaluation reads",
}
"""Edges that break the rule, each with its reason."""


def imports_of(source: str, module: str) -> Iterator[tuple[str, bool]]:
    """Every dotted name that a module imports, and whether it does so when it is loaded; relative names are resolved.

    `from a import b` counts as a.b, since b may be a module.
    """
    package = module.rsplit(".", 1)[0]
    delayed = set()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        is_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if is_function or is_for_types:
            delayed |= {id(inner) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in delayed) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            prefix = ".".join(part for part in (start, node.module) if part)
            yield from ((f"{prefix}.{alias.name}", id(node) not in delayed) for alias in node.names)


def violations(root: Path) -> list[str]:
    """Every edge that the rule forbids, as "file imports name: why not"."""
    found = []
    for path in sorted(path for layer in LAYERS for path in (root / layer).rglob("*.py")):
        file = path.relative_to(root).as_posix()
        module = file.removesuffix(".py").replace("/", ".")
        for name, is_at_load in imports_of(path.read_text(encoding="utf-8"), module):
            if any(file == where and name.startswith(what) for where, what in EXCEPTIONS):
                continue
            if why := objection(file, name, is_at_load):
                found.append(f"{file} imports {name}: {why}")
    return found


def objection(file: str, name: str, is_at_load: bool) -> str | None:
    """Why a file may not import a name, or None."""
    layer, top = file.split("/")[0], name.split(".")[0]
    is_root = file == "nyx_assets/definitions.py"  # hands the sensors to Dagster
    if top in LAYERS and LAYERS.index(top) > LAYERS.index(layer) and not is_root:
        return f"{layer} is below {top}"
    if top in BESIDE:
        return f"{top} is no part of the house"
    above = (f"nyx_assets.{part}" for part in ("definitions", "__main__", "main_job_commands"))
    if name.startswith(tuple(above)) and file not in COMMANDS:
        return "definitions.py and the command line import everything, nothing imports them"
    if layer == "nyx_assets" and top == "dagster" and file.rsplit("/", 1)[1] not in DAGSTER_FILES:
        return "only wiring imports dagster"
    if layer == "resources" and top == "dagster":
        return "the outside world is reached without an orchestrator"
    if layer == "training_kernels" and top in NO_SERVICE:
        return "kernels run on a bare machine"
    if file in SEAMS and top in VENDORS:
        return "a seam names no vendor"
    if layer in ("nyx_assets", "resources", "sensors") and top in HEAVY and is_at_load:
        return "definitions are loaded without it: import it where it is used"
    return _stage_objection(file, name)


def _stage_objection(file: str, name: str) -> str | None:
    """Stages are the sub-packages of nyx_assets with assets of their own; they meet at table names."""
    own, other = file.split("/")[1:-1], name.split(".")[1:2]
    if not (file.startswith("nyx_assets/") and name.startswith("nyx_assets.") and is_stage(other[0])):
        return None
    if own[:1] == other or file in ("nyx_assets/definitions.py", *COMMANDS):
        return None
    return "stages do not import each other, and what is shared imports no stage"


def is_stage(name: str) -> bool:
    return (ROOT / "nyx_assets" / name / "assets.py").exists()


def test_no_module_imports_what_it_may_not() -> None:
    assert violations(ROOT) == []


def test_every_exception_is_used() -> None:
    """An exception that nothing needs is a hole."""
    for (file, name), _reason in EXCEPTIONS.items():
        module = file.removesuffix(".py").replace("/", ".")
        source = (ROOT / file).read_text(encoding="utf-8")
        assert any(one.startswith(name) for one, _ in imports_of(source, module)), (file, name)
    for name in DAGSTER_FILES:
        sources = [path.read_text(encoding="utf-8") for path in (ROOT / "nyx_assets").rglob(name)]
        assert any(one.split(".")[0] == "dagster" for source in sources for one, _ in imports_of(source, "")), name


def test_contributing_names_the_very_files_that_may_import_dagster() -> None:
    lines = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()
    [rule] = [line for line in lines if line.startswith("| in `nyx_assets`, only")]
    assert sorted(re.findall(r"`(\w+\.py)`", rule)) == sorted(DAGSTER_FILES)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("training_kernels/losses.py", "from resources.home import Home"),
        ("training_kernels/trainer.py", "def train():\n    import dagster"),
        ("resources/tables.py", "import nyx_assets.records"),
        ("resources/endpoint_client.py", "from openai import AsyncOpenAI"),
        ("resources/vlm.py", "def ask():\n    from openai import OpenAI"),
        ("resources/home.py", "import dagster as dg"),
        ("nyx_assets/recipes.py", "from dagster import asset"),
        ("nyx_assets/mining/negatives.py", "from nyx_assets.nyxqa.options import options_of"),
        ("nyx_assets/mining/negatives.py", "from ..nyxqa import options"),
        ("nyx_assets/rag/grading.py", "from nyx_assets.evaluation import metrics"),
        ("nyx_assets/searching.py", "from nyx_assets.definitions import resources_of"),
        ("nyx_assets/corpus/pages.py", "from sensors.landings import landings_sensor"),
        ("nyx_assets/corpus/pages.py", "import sample_crawl"),
        ("nyx_assets/index/embedding.py", "import torch"),
        ("sensors/landings.py", "from nyx_assets.definitions import defs"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, file: str, source: str) -> None:
    place = tmp_path / file
    place.parent.mkdir(parents=True)
    place.write_text(source)
    assert len(violations(tmp_path)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("nyx_assets/index/assets.py", "import dagster as dg\nfrom nyx_assets.index.building import build_version"),
        ("nyx_assets/definitions.py", "from nyx_assets.corpus.assets import chunked_corpus\nimport sensors.landings"),
        ("resources/embedder_checkpoint.py", "def open():\n    import torch"),
        ("training_kernels/losses.py", "import torch"),
    ],
)
def test_what_is_allowed_is_left_alone(tmp_path: Path, file: str, source: str) -> None:
    place = tmp_path / file
    place.parent.mkdir(parents=True)
    place.write_text(source)
    assert violations(tmp_path) == []


def loaded_by(module: str) -> set[str]:
    """Top-level modules in a fresh process after importing one."""
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_loading_the_definitions_loads_no_heavy_package() -> None:
    assert not loaded_by("nyx_assets.definitions") & HEAVY


def test_the_command_line_says_what_it_can_without_loading_dagster() -> None:
    assert not loaded_by("nyx_assets.__main__") & (HEAVY | {"dagster"})


@pytest.mark.parametrize("kernel", TORCH_FREE)
def test_light_kernels_load_without_torch(kernel: str) -> None:
    assert not loaded_by(f"training_kernels.{kernel}") & {"torch", "transformers"}
