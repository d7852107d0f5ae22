"""Taking pages down: out of every table, store and index version of a home."""
