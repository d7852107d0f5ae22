"""What the UI asks Dagster of a job's launchpad, by GraphQL and without the HTTP between them."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from dagster import DagsterInstance
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster_graphql.schema import create_schema

from resources.home import Home

CODE = """
import os
from nyx_assets.definitions import build_pipeline
from resources.home import Home
from resources.settings import Settings

settings = Settings.from_env(os.environ)
defs = build_pipeline(settings, Home.at(settings.home)).defs
"""
RECORDS = """
telemetry: {enabled: false}
run_launcher: {module: dagster._core.launcher.sync_in_memory_run_launcher, class: SyncInMemoryRunLauncher}
run_coordinator: {module: dagster._core.run_coordinator.default_run_coordinator, class: DefaultRunCoordinator}
"""
SCHEMA = """
query Schema($job: PipelineSelector!) { runConfigSchemaOrError(selector: $job) { __typename ... on RunConfigSchema {
    rootConfigType { ... on CompositeConfigType { fields { name description isRequired configTypeKey defaultValueAsJson } } }
    allConfigTypes { key ... on EnumConfigType { values { value } } }
} } }"""
LAUNCH = """
mutation Launch($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
    ... on LaunchRunSuccess { run { runId } } ... on PythonError { message causes { message } }
    ... on RunConfigValidationInvalid { errors { message } }
} }"""
REPOSITORY = {"repositoryLocationName": "nyx", "repositoryName": "__repository__"}


class Launchpad:
    """The launchpad of one job. Runs are made in this process, as soon as they are asked for."""

    def __init__(self, home: Home, job: str, folder: Path) -> None:
        """
        Args:
            job: that is launched.
            folder: for the file with the definitions, which read the environment; else empty.
        """
        self.home, self.job = home, job
        (home.root / "dagster" / "dagster.yaml").write_text(RECORDS)
        code = folder / "code.py"
        code.write_text(CODE)
        self.instance = DagsterInstance.from_config(str(home.root / "dagster"))
        origin = LoadableTargetOrigin(executable_path=sys.executable, python_file=str(code), attribute="defs")
        target = InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(origin, location_name="nyx"))
        self._process = WorkspaceProcessContext(self.instance, target)
        self._schema = create_schema()

    def ask(self, query: str, **variables: Any) -> Any:
        context = self._process.create_request_context()
        answer = asyncio.run(self._schema.execute_async(query, variables=variables, context=context))
        assert not answer.errors, answer.errors
        [content] = answer.data.values()
        return content

    def launch(self, **config: Any) -> Any:
        selector = {**REPOSITORY, "jobName": self.job}
        return self.ask(LAUNCH, params={"selector": selector, "runConfigData": config, "mode": "default"})

    def ended(self, **config: Any) -> tuple[str, dict[str, Any]]:
        """How a run that was launched with this config has ended, and the metadata of its step or of its failure."""
        answer = self.launch(**config)
        assert answer["__typename"] == "LaunchRunSuccess", answer
        run_id = answer["run"]["runId"]
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        metadata: dict[str, Any] = {}
        for event in (entry.dagster_event for entry in self.instance.all_logs(run_id)):
            if event is not None and event.event_type_value == "STEP_OUTPUT":
                metadata |= event.step_output_data.metadata
            if event is not None and event.event_type_value == "STEP_FAILURE":
                metadata |= event.step_failure_data.user_failure_data.metadata
        return run.status.value, {name: value.value for name, value in metadata.items()}

    def failure(self, **config: Any) -> str:
        """What a person reads of a run that fails."""
        run_id = self.launch(**config)["run"]["runId"]
        events = (entry.dagster_event for entry in self.instance.all_logs(run_id))
        [failed] = [event for event in events if event is not None and event.event_type_value == "STEP_FAILURE"]
        return str(failed.step_failure_data.user_failure_data.description)

    def fields(self) -> dict[str, dict[str, Any]]:
        """The fields of the job's config by name, and the values of its enums by theirs."""
        answer = self.ask(SCHEMA, job={**REPOSITORY, "pipelineName": self.job})
        fields = {field["name"]: field for field in answer["rootConfigType"]["fields"]}
        enums = {kind["key"]: kind for kind in answer["allConfigTypes"] if "values" in kind}
        return fields | enums

    def close(self) -> None:
        self._process.__exit__(None, None, None)
        self.instance.dispose()
