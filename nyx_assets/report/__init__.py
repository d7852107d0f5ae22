"""The report: one HTML page that says how good the retriever is, from what, at what cost, with examples."""
