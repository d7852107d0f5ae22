"""Embeddings of every chunk, and the live index."""
