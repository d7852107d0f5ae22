"""Runs whose process was killed are ended, so that nobody waits for what they hold and the daemon can start them again."""

import dagster as dg

from nyx_assets.recovery import bury_dead_runs
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
        ended = bury_dead_runs(context.instance, home, context.repository_def.asset_graph, log=context.log.warning)
        if not ended:
            return dg.SkipReason("no run has lost its process")
        return dg.SkipReason(f"ended {len(ended)} whose process was gone: {', '.join(run_id[:8] for run_id in ended)}")

    return killed_runs
