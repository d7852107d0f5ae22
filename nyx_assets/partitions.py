"""The one way the pipeline is cut: by crawl partition, one for each landed delivery."""

import warnings

import dagster as dg

CRAWL = dg.DynamicPartitionsDefinition(name="crawl")

EVERY_CRAWL = dg.AllPartitionMapping()
"""For an input that is read whole, whatever partition is being made."""

# back-fill policies and freshness are beta in Dagster; its version is pinned, and its notes are not the user's
warnings.filterwarnings("ignore", category=dg.BetaWarning)

ONE_RUN = dg.BackfillPolicy.single_run()
"""For an asset whose partitions are cheap: a backfill makes them one after the other in one run, without a process each."""
