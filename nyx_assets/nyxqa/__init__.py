"""Question-answer pairs written by a VLM, and what the filters make of them."""
