"""What deploy/ says is what Dagster, its Kubernetes executor and this project understand; docs/deploying.md names all of it."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._config import post_process_config, validate_config
from dagster._core.execution.retries import auto_reexecution_should_retry_run

from nyx_assets import recovery
from nyx_assets.definitions import build_pipeline
from nyx_assets.doctor.device import examine_device
from nyx_assets.registering import open_instance, prepare_dagster_home
from nyx_assets.run_processes import mark_of, processes_of
from resources.home import Home
from resources.settings import Settings
from resources.stores import SharedHome
from sensors import backfill_job, retrain_job
from sensors.job_runs import run_pod_tags
from tests.nyx_assets.test_main_job import land
from tests.nyx_assets.test_recovery import ended, started, the_run
from training_kernels.device import pick_device
from training_kernels.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def loaded(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / name).read_text())


def require_valid(schema: Any, config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with defaults. Fails with Dagster's own words if it is none."""
    checked = validate_config(schema, config)
    assert checked.success, [error.message for error in checked.errors or ()]
    processed = post_process_config(schema, config)
    assert processed.success, processed.errors
    return processed.value


def snake_case(value: Any) -> Any:
    """Keys as dagster-k8s writes them, from keys as the chart does."""
    if isinstance(value, dict):
        return {re.sub(r"(?<!^)(?=[A-Z])", "_", key).lower(): snake_case(inner) for key, inner in value.items()}
    return value


def code_location() -> dict[str, Any]:
    (deployment,) = loaded("values.yaml")["dagster-user-deployments"]["deployments"]
    return deployment


# --- the image


def copied() -> list[str]:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    return [source for line in lines if line.startswith("COPY ") for source in line.split()[1:-1]]


def test_the_image_copies_what_is_there_and_every_package_of_the_project() -> None:
    assert [source for source in copied() if not (ROOT / source).exists()] == []
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert {name.partition(".")[0] for name in packages} <= set(copied())
    allowed = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert {f"!{source}" for source in copied()} <= set(allowed)


def test_the_image_installs_only_by_the_constraints_and_extras_that_there_are() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    installs = re.findall(r"pip install (.*)", text)
    assert installs
    assert all("-c constraints.txt" in install for install in installs)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (asked,) = re.findall(r"ARG EXTRAS=(\S+)", text)
    assert set(asked.split(",")) <= extras.keys()
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {requirement for extra in asked.split(",") for requirement in extras[extra]} <= pinned


def test_the_image_runs_as_nobody_special_on_the_python_of_the_project() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^FROM python:3\.11-slim$", text, re.M)
    assert text.index("USER nyx") < text.index("CMD [")
    assert "root" not in text.partition("USER nyx")[2].replace("root of", "")


# --- Kubernetes


def test_steps_pass_the_configuration_schema_of_the_kubernetes_executor(tmp_path: Path) -> None:
    from dagster_k8s import k8s_job_executor

    config = require_valid(k8s_job_executor.config_schema.config_type, loaded("steps.yaml"))
    assert config["per_step_k8s_config"]["gate"]["container_config"]["resources"]["limits"]["nvidia.com/gpu"] == 1
    settings = Settings.from_env({"NYX_HOME": str(tmp_path), "NYX_K8S_STEPS": str(DEPLOY / "steps.yaml")})
    job = build_pipeline(settings, Home.at(tmp_path)).defs.resolve_implicit_global_asset_job_def()
    assert job.executor_def.name == "k8s_steps"
    broken = tmp_path / "steps.yaml"
    broken.write_text("{max_concurrent: 8")
    with pytest.raises(ConfigError, match="NYX_K8S_STEPS=.*steps.yaml must be a YAML file"):
        build_pipeline(Settings.from_env({"NYX_HOME": str(tmp_path), "NYX_K8S_STEPS": str(broken)}), Home.at(tmp_path))


def test_exactly_the_steps_of_the_gpu_pool_get_gpus(tmp_path: Path) -> None:
    steps = {
        name
        for name, config in loaded("steps.yaml")["per_step_k8s_config"].items()
        if config["container_config"]["resources"]["limits"].get("nvidia.com/gpu")
    }
    settings = Settings.from_env({"NYX_HOME": str(tmp_path), "NYX_RECIPE": "nyx", "NYX_MINER": "untrained"})
    job = build_pipeline(settings, Home.at(tmp_path)).defs.resolve_implicit_global_asset_job_def()
    nodes = {node.name: node.definition for node in job.graph.nodes}
    in_pool = {name for name, op in nodes.items() if isinstance(op, dg.OpDefinition) and op.pool == "gpu"}
    assert steps == in_pool | {retrain_job.STEP}


def test_what_gets_gpus_has_the_image_with_cuda_and_fails_where_it_finds_no_gpu() -> None:
    from dagster_k8s.job import DagsterK8sJobConfig, UserDefinedDagsterK8sConfig, construct_dagster_k8s_job

    image = code_location()["image"]
    everywhere = f"{image['repository']}:{image['tag']}"
    (with_cuda,) = re.findall(r"-t (\S+) --build-arg TORCH_INDEX", (ROOT / "docs" / "deploying.md").read_text())
    for name, config in loaded("steps.yaml")["per_step_k8s_config"].items():
        pod = construct_dagster_k8s_job(
            DagsterK8sJobConfig(job_image=everywhere),
            args=[],
            job_name="step",
            user_defined_k8s_config=UserDefinedDagsterK8sConfig.from_dict(config),
        )
        (container,) = pod.spec.template.spec.containers
        has_gpu = "nvidia.com/gpu" in container.resources.limits
        assert container.image == (with_cuda if has_gpu else everywhere), name
        assert ("NYX_DEVICE", "cuda") in [(one.name, one.value) for one in container.env] or not has_gpu, name
    assert with_cuda == f"{everywhere}-gpu"


def test_a_missing_gpu_is_an_error_where_one_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert pick_device().type == "cpu"
    assert examine_device(8, needs_gpu=False).verdict == "note"
    monkeypatch.setenv("NYX_DEVICE", "cuda")
    with pytest.raises(
        ConfigError, match=r"NYX_DEVICE=cuda, and there is no CUDA device here: torch .* is built .*unset"
    ):
        pick_device()
    assert Settings.from_env(os.environ).needs_gpu
    assert examine_device(8, needs_gpu=True).verdict == "bad"
    with pytest.raises(ConfigError, match="NYX_DEVICE must be auto or cuda, got 'gpu'"):
        Settings.from_env({"NYX_DEVICE": "gpu"})


def test_every_pod_that_writes_to_the_volume_of_nyx_local_does_so_as_the_user_of_the_image() -> None:
    run = loaded("values.yaml")["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["podSpecConfig"]
    assert code_location()["podSecurityContext"] == run["securityContext"]
    (user,) = re.findall(r"useradd .*--uid (\d+)", (DEPLOY / "Dockerfile").read_text())
    assert run["securityContext"] == {"runAsUser": int(user), "runAsNonRoot": True, "fsGroup": int(user)}


def test_the_pod_of_the_code_server_sees_the_dagster_yaml_of_the_chart() -> None:
    """The chart mounts it in those of the webserver and the daemon alone, and names it after the release."""
    (release,) = re.findall(r"helm install (\S+) dagster/dagster", (ROOT / "docs" / "deploying.md").read_text())
    (volume,) = [one for one in code_location()["volumes"] if one["name"] == "instance"]
    assert volume["configMap"] == {"name": f"{release}-dagster-instance"}
    (mount,) = [one for one in code_location()["volumeMounts"] if one["name"] == "instance"]
    # not below NYX_LOCAL: runs get the mounts as well, and a file system may refuse root to make the place
    assert mount["mountPath"] == "/etc/dagster"
    assert f"cp {mount['mountPath']}/dagster.yaml" in (ROOT / "docs" / "deploying.md").read_text()


def test_the_pod_of_a_run_of_the_job_that_trains_in_it_gets_what_steps_that_train_get(tmp_path: Path) -> None:
    from dagster_k8s.job import get_user_defined_k8s_config

    settings = Settings.from_env({"NYX_HOME": str(tmp_path), "NYX_K8S_STEPS": str(DEPLOY / "steps.yaml")})
    defs = build_pipeline(settings, Home.at(tmp_path)).defs
    job = defs.resolve_job_def(retrain_job.JOB)
    assert job.executor_def.name == "in_process"
    pod = get_user_defined_k8s_config(job.run_tags)
    training = loaded("steps.yaml")["per_step_k8s_config"]["pretrained_checkpoint"]
    assert pod.container_config == training["container_config"]
    assert pod.container_config["resources"]["limits"]["nvidia.com/gpu"] == 8
    assert pod.pod_spec_config == training["pod_spec_config"]
    questions = get_user_defined_k8s_config(defs.resolve_job_def(backfill_job.JOB).run_tags)
    assert (
        questions.container_config == loaded("steps.yaml")["per_step_k8s_config"][backfill_job.STEP]["container_config"]
    )
    assert "nvidia.com/gpu" not in questions.container_config["resources"]["limits"]
    assert run_pod_tags({"step_k8s_config": {"labels": {}}}, "any") == {"dagster-k8s/config": {"labels": {}}}
    assert run_pod_tags(None, "any") == {}


def test_the_run_launcher_of_the_chart_passes_the_schema_of_dagster_k8s() -> None:
    from dagster_k8s import K8sRunLauncher

    launcher = loaded("values.yaml")["runLauncher"]
    assert launcher["type"] == "K8sRunLauncher"
    config = snake_case(launcher["config"]["k8sRunLauncher"])
    assert config["run_k8s_config"].keys() == {"container_config", "pod_spec_config", "job_spec_config"}
    # what the chart writes of its own accord
    config |= {
        "service_account_name": "dagster", "instance_config_map": "dagster-instance", "dagster_home": "/nyx/dagster",
        "postgres_password_secret": "nyx-postgresql",
    }  # fmt: skip
    require_valid(dg.Field(K8sRunLauncher.config_type()).config_type, config)


def test_every_setting_in_the_values_is_one_that_nyx_reads(tmp_path: Path) -> None:
    env = {row["name"]: row["value"] for row in code_location()["env"]}
    known = (ROOT / "resources" / "settings.py").read_text()
    suffixes = ("_BASE_URL", "_MODEL", "_MAX_IN_FLIGHT")
    for name in env:
        assert name in known or name.endswith(suffixes) or name == "HF_HOME", name
    settings = Settings.from_env(env)
    home = Home.at(settings.home)
    assert (home.store, home.root) == ("s3://bucket/nyx", Path("/nyx"))
    steps = loaded("steps.yaml")["per_step_k8s_config"]
    for training in ("pretrained_checkpoint", "finetuned_checkpoint"):
        gpus = steps[training]["container_config"]["resources"]["limits"]["nvidia.com/gpu"]
        assert gpus == settings.train_processes
    assert loaded("values.yaml")["global"]["dagsterHome"] == f"{env['NYX_LOCAL']}/dagster"
    assert set(settings.endpoints) == {"teacher", "generator", "judge"}
    mounts = {mount["mountPath"]: mount["name"] for mount in code_location()["volumeMounts"]}
    assert {volume["name"] for volume in code_location()["volumes"]} == set(mounts.values())
    read = {env["NYX_LOCAL"], env["NYX_CRAWL"], os.path.dirname(env["NYX_K8S_STEPS"])}
    assert mounts.keys() == read | {"/etc/dagster"}
    assert code_location()["codeServerArgs"] == ["-m", "nyx_assets.definitions"]


def test_the_chart_is_that_of_the_pinned_dagster() -> None:
    pinned = re.search(r"^dagster==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned is not None
    for text in ((DEPLOY / "values.yaml").read_text(), (ROOT / "docs" / "deploying.md").read_text()):
        assert set(re.findall(r"--version (\S+)", text)) == {pinned[1]}


# --- Dagster's records in Postgres


def test_what_the_values_add_to_dagster_yaml_passes_the_schema_of_an_instance() -> None:
    schema = dg.Shape(dagster_instance_config_schema())
    values = loaded("values.yaml")
    require_valid(schema, values["additionalInstanceConfig"])
    assert values["additionalInstanceConfig"]["run_retries"] == loaded("dagster.yaml")["run_retries"]
    assert not values["dagsterDaemon"]["runRetries"]["enabled"], "else the chart writes run_retries a second time"


def test_the_values_and_dagster_yaml_lead_to_postgres_alike() -> None:
    values, ours = loaded("values.yaml")["postgresql"], loaded("dagster.yaml")["storage"]["postgres"]["postgres_db"]
    assert (values["postgresqlScheme"], values["postgresqlParams"]) == (ours["scheme"], ours["params"])


def dagster_instance_config_schema() -> dict[str, dg.Field]:
    from dagster._core.instance.config import dagster_instance_config_schema as schema

    return schema()


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A server of Debian's Postgres on a free port, and what leads dagster.yaml to it."""
    if not POSTGRES:
        if os.environ.get("NYX_REQUIRE_POSTGRES"):
            pytest.fail("NYX_REQUIRE_POSTGRES is set and there is no /usr/lib/postgresql/*/bin/initdb")
        pytest.skip("no Postgres here: apt-get install postgresql")
    binaries = POSTGRES[-1].parent
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Postgres refuses to run as root, as which CI runs tests, and its own user cannot enter pytest's folders
    as_its_user = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    data = Path(tempfile.mkdtemp(prefix="nyx-postgres-"))
    if as_its_user:
        shutil.chown(data, "postgres")
    say: dict[str, Any] = {"check": True, "capture_output": True, "cwd": "/", **as_its_user}
    subprocess.run([binaries / "initdb", "-D", data, "-U", "nyx", "--auth=trust", "--no-sync"], **say)
    # a server keeps the time of its own country
    options = f"-p {port} -k {data} -h 127.0.0.1 -F -c TimeZone=Asia/Tokyo"
    start = ["-o", options, "-l", data / "log", "-w", "start"]
    try:
        server = [binaries / "pg_ctl", "-D", data]
        subprocess.run([*server, *start], **(say | {"capture_output": False, "stdout": subprocess.DEVNULL}))
        yield {
            "DAGSTER_PG_HOST": "127.0.0.1", "DAGSTER_PG_DB": "postgres", "DAGSTER_PG_USERNAME": "nyx",
            "DAGSTER_PG_PASSWORD": "secret", "DAGSTER_COMPUTE_LOGS": str(tmp_path / "logs"), "port": str(port),
        }  # fmt: skip
    finally:
        subprocess.run([*server, "-m", "fast", "-w", "stop"], **say)
        shutil.rmtree(data)


@pytest.fixture
def in_postgres(postgres: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[[Home], None]:
    """Puts the records of a home there, as docs/deploying.md has it."""
    for name, value in postgres.items():
        monkeypatch.setenv(name, value)

    def put(home: Home) -> None:
        place = prepare_dagster_home(home) / "dagster.yaml"
        place.write_text((DEPLOY / "dagster.yaml").read_text().replace("port: 5432", f"port: {postgres['port']}"))

    return put


def test_two_hosts_have_their_records_in_one_postgres_by_dagster_yaml(
    in_postgres: Callable[[Home], None], tmp_path: Path
) -> None:

    @dg.asset
    def seen() -> None:
        """Nothing but its record."""

    hosts = [
        Home.at(SharedHome(store=str(tmp_path / "store"), local=tmp_path / name, has_index_server=False))
        for name in ("one", "other")
    ]
    for host in hosts:
        in_postgres(host)
    with open_instance(hosts[0]) as instance:
        assert type(instance.event_log_storage).__module__.startswith("dagster_postgres")
        instance.add_dynamic_partitions("crawl", ["a"])
        assert dg.materialize([seen], instance=instance).success
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 1
    with open_instance(hosts[1]) as instance:
        assert instance.get_dynamic_partitions("crawl") == ["a"]
        assert instance.get_latest_materialization_event(dg.AssetKey("seen")) is not None
        [record] = instance.get_run_records()
        for moment in (record.create_timestamp, record.update_timestamp):
            assert abs(datetime.now(UTC) - moment) < timedelta(minutes=5)


def test_a_killed_worker_is_found_and_made_up_for_where_records_are_in_postgres(
    in_postgres: Callable[[Home], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home.at(tmp_path / "home")
    in_postgres(home)
    land(home, c1=[10, -40])
    with open_instance(home) as instance:
        instance.add_dynamic_partitions("crawl", ["c1"])
        with started(home) as process:
            run_id = the_run(instance).dagster_run.run_id
            assert [one.mark for one in processes_of(instance, run_id)] == [mark_of(process.pid)]
            assert ended(instance, home) == "no run has lost its process"
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            with monkeypatch.context() as patch:
                patch.setattr(recovery, "is_elsewhere", lambda mark: True)
                assert ended(instance, home) == "no run has lost its process", "it is for its own host to see"
        assert ended(instance, home).startswith("ended 1 whose process was gone: ")
        run = the_run(instance).dagster_run
        assert run.status == dg.DagsterRunStatus.FAILURE
        assert auto_reexecution_should_retry_run(instance, run, None)
        assert instance.run_retries_max_retries == 2
        assert not instance.run_retries_retry_on_asset_or_op_failure
        assert not instance.event_log_storage.get_concurrency_info("toy").claimed_slots


def test_a_table_whose_run_was_killed_on_another_host_or_in_a_pod_before_its_checks_is_not_believed(
    in_postgres: Callable[[Home], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubernetes ends the run; nobody can see the process of its pod."""
    home = Home.at(tmp_path / "home")
    in_postgres(home)
    land(home, c1=[10, -40])
    monkeypatch.setattr(recovery, "is_elsewhere", lambda mark: True)
    with open_instance(home) as instance:
        instance.add_dynamic_partitions("crawl", ["c1"])
        with started(home, dies_before_checks=True) as process:
            process.wait(60)
        run = the_run(instance).dagster_run
        instance.report_run_failed(run, "Detected run worker status FAILED")
        instance.add_run_tags(run.run_id, {"dagster/will_retry": "false"})
        assert ended(instance, home) == "no run has lost its process", "its pod may be about to end"
        assert instance.event_log_storage.get_concurrency_info("toy").claimed_slots
        monkeypatch.setattr(recovery, "PATIENCE_ELSEWHERE", timedelta(0))
        assert ended(instance, home) == f"looked after what 1 had left: {run.run_id[:8]}"
        assert "killed before its checks" in str(home.tables.quarantine_reason("cleaned", "c1"))
        assert not instance.event_log_storage.get_concurrency_info("toy").claimed_slots


# --- the page


def test_the_page_names_every_file_of_the_folder_and_only_settings_and_tests_that_there_are() -> None:
    page = (ROOT / "docs" / "deploying.md").read_text()
    for path in DEPLOY.iterdir():
        assert path.name in page or path.name == "Dockerfile.dockerignore", path.name
    known = (ROOT / "resources" / "settings.py").read_text()
    for name in set(re.findall(r"NYX_[A-Z0-9_]+", page)):
        assert name in known or name.startswith(("NYX_TEACHER_", "NYX_GENERATOR_", "NYX_JUDGE_")), name
    for path in re.findall(r"tests/[\w/]+\.py", page):
        assert (ROOT / path).is_file(), path
