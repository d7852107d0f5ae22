"""The outside world: one Protocol per need, one file per implementation."""
