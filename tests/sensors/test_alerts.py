"""What failed is told to the webhook once and in order, also where its server is down when it happens."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterInstance
from pyarrow import ArrowInvalid

from nyx_assets.main_job import JobReport, Pipeline
from resources.home import Home
from resources.settings import Settings
from sensors.alerts import alerts_sensor
from sensors.failures import failures_sensor
from sensors.job_runs import metadata_or_failure
from tests.webhook import Webhook, serving_webhook
from training_kernels.errors import LeaseLost


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with serving_webhook() as server:
        yield server


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as in_memory:
        yield in_memory


class Deployment:
    """The two sensors of a home; a run fails when it is told to."""

    def __init__(self, home: Home, webhook: Webhook, instance: DagsterInstance) -> None:
        self.home, self.instance = home, instance
        self.settings = Settings.from_env({"NYX_ALERT_WEBHOOK": webhook.url})
        self.pipeline = Pipeline(defs=dg.Definitions(), specs={}, resources={}, siblings={})

    def fail(self, name: str, *faults: str) -> None:
        """A run fails, or a job of the launchpad in which these things failed."""

        @dg.op(name=name)
        def failing() -> None:
            if faults:
                metadata_or_failure(JobReport(failures=[*faults]), "")
            raise ValueError(f"row 3 of {name}")

        failed = dg.GraphDefinition(name="toy", node_defs=[failing]).execute_in_process(
            instance=self.instance, raise_on_error=False
        )
        failures_sensor(self.home, self.settings, lambda: self.pipeline)(
            dg.build_run_status_sensor_context(
                sensor_name="failures",
                dagster_event=failed.get_run_failure_event(),
                dagster_instance=self.instance,
                dagster_run=failed.dagster_run,
            ).for_run_failure()
        )

    def tick(self) -> str:
        said = alerts_sensor(self.home, self.settings)(dg.build_sensor_context(instance=self.instance))
        assert isinstance(said, dg.SkipReason)
        return str(said.skip_message)


@pytest.fixture
def deployment(tmp_path: Path, webhook: Webhook, instance: DagsterInstance) -> Deployment:
    return Deployment(Home.at(tmp_path / "home"), webhook, instance)


def test_of_a_job_each_thing_that_failed_is_told_once(deployment: Deployment, webhook: Webhook) -> None:
    first, second, third = "chunked_corpus of partition a failed", "negatives failed", "raw_qa was left out 3 times"
    deployment.fail("bring_everything_up_to_date", first, second)
    deployment.fail("bring_everything_up_to_date", second, third)
    assert webhook.told == [f"toy: {text}" for text in (first, second, third)]


@pytest.mark.parametrize("fault", [LeaseLost("another host took over"), ArrowInvalid("not a Parquet file")])
def test_what_failed_is_told_also_where_it_cannot_be_counted(
    deployment: Deployment, webhook: Webhook, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr("sensors.failures.note_failures", fails)
    with pytest.raises(type(fault)):
        deployment.fail("first")
    assert webhook.told == ["first failed: ValueError: row 3 of first"]


@pytest.mark.parametrize("failure", [503, 0])
def test_what_the_webhook_did_not_take_is_told_later_once_and_in_order(
    deployment: Deployment, webhook: Webhook, failure: int
) -> None:
    webhook.failures = [failure] * 3
    deployment.fail("first")
    deployment.fail("second")
    assert webhook.told == []
    assert deployment.tick() == "2 messages wait for NYX_ALERT_WEBHOOK"
    deployment.fail("third")
    for _ in range(2):
        assert deployment.tick() == "all is told"
    deployment.fail("first")  # it lasts
    assert [text.split(" failed: ")[0] for text in webhook.told] == ["first", "second", "third"]
    assert {message["job"] for message in webhook.posted} == {"toy"}


def test_a_message_that_the_webhook_refuses_holds_up_no_other(deployment: Deployment, webhook: Webhook) -> None:
    webhook.failures = [503, 400]
    deployment.fail("first")
    deployment.fail("second")
    assert deployment.tick() == "all is told"
    assert [text.split(" failed: ")[0] for text in webhook.told] == ["second"]
