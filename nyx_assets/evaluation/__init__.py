"""How good each retriever is, beside honest baselines."""
