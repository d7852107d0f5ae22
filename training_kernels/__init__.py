"""What the model reads and how it learns: torch and plain Python, no orchestrator, no service client."""
