"""Runs whose process was killed are ended, so that nobody waits for what they hold and the daemon can start them again."""

import dagster as dg

from nyx_assets.recovery import bury_dead_runs, look_after_ended_runs
from resources.home import Home


def killed_runs_sensor(home: Home) -> dg.SensorDefinition:
    """The sensor of this home's records."""

    @dg.sensor(
        name="killed_runs",
        description="Ends runs whose process is gone, frees the pool slots that they hold, and has their unchecked tables made again.",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def killed_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        assert context.repository_def is not None
        graph = context.repository_def.asset_graph
        said = []
        if ended := bury_dead_runs(context.instance, home, graph, log=context.log.warning):
            said.append(f"ended {len(ended)} whose process was gone: {_short(ended)}")
        if left := look_after_ended_runs(context.instance, home, graph, log=context.log.warning):
            said.append(f"looked after what {len(left)} had left: {_short(left)}")
        return dg.SkipReason("; ".join(said) or "no run has lost its process")

    return killed_runs


def _short(run_ids: list[str]) -> str:
    return ", ".join(run_id[:8] for run_id in run_ids)
