"""Web pages in, chunks out."""
