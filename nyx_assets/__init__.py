"""The pipeline: one folder per stage, the thinking in plain modules beside the Dagster wiring."""
