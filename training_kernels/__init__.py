"""What the model reads and how it learns: torch and plain Python, no orchestrator, no service client."""

import os

# torch looks at it once, when a process first multiplies on a GPU, which may be long before it trains repeatably; every
# process of this project imports this package before torch does anything. What the user has set stays.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
