"""One DuckDB file of views over everything, for people to ask."""
