"""Answering from documents and grading answers, shared by feedback, evaluation and serving."""
